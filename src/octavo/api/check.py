"""`octavo check`: judges a model file by the limits of a policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack, get_args

import numpy as np

from octavo.analysis.scale_choice import warn_of_chance
from octavo.analysis.tasks.task import Scores
from octavo.analysis.understood import understood
from octavo.api.evaluate import measured
from octavo.api.opened import opened, scale_of
from octavo.api.samples import draw_samples
from octavo.base.errors import DataError, ModelError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import Dataset, ImageSet
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.data.split import draw_test
from octavo.deployment import gate
from octavo.deployment.gate import Checked, Judgement
from octavo.recipe.options import InputFields, Inputs, Source, inputs_of
from octavo.recipe.policy import Policy, load_policy
from octavo.rewrite.slim import encoded
from octavo.runtime.litert import Kernels
from octavo.runtime.litert import inputs_of as ports_of
from octavo.source.classes import class_names
from octavo.source.load import Loaded, load_model, scale_is_known


def check(
    model: Path | str,
    policy: Path | str | Policy,
    data: Source | Inputs | None = None,
    *,
    float_model: Path | str | None = None,
    reference: Path | str | None = None,
    seconds: float = 4.0,
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Checked:
    """Judges a model file by the limits of a policy, as a gate for continuous integration.

    Args:
        model: A `.tflite` model, of any converter.
        policy: The limits: a YAML file, or a record.
        data: Labelled samples, for the limits that need them: their test samples, as `octavo.evaluate` draws them.
            `images` of them; all when left out. `signature` and `size` are for the files that need them.
        float_model: The float model that `max_drop` is measured against.
        reference: The model that `max_latency_ratio` is measured against; `float_model` when left out.
        seconds: About how long models are timed.
        progress: Receives progress messages.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: A limit needs data or a model that was not given, one of them cannot be read, or the samples do not
            fit the models.

    Example:
        >>> import octavo
        >>> made = octavo.check("int8.tflite", octavo.Policy(max_size=10_000, max_float_ops=0))
        >>> made
        Checked('int8.tflite' passes: 2 limits)
        >>> octavo.check("int8.tflite", "budget.yaml", "photos", float_model="float.tflite").passed
        True
    """
    asked = _Asked(
        policy if isinstance(policy, Policy) else load_policy(policy),
        inputs_of(data, fields),
        None if float_model is None else Path(float_model),
        None if reference is None else Path(reference),
        seconds,
        progress or Silent(),
    )
    asked.require()
    path = Path(model)
    if path.is_file() and path.suffix != ".tflite":
        raise ModelError(f"'{path}' is not a .tflite file.", "Quantize or export it first: `octavo quantize`.")
    families = {"xnnpack", *(asked.policy.bit_equal or ())}
    loaded = asked.load(path, [family for family in get_args(Kernels) if family in families])
    judgements = tuple(asked.judge(loaded))
    return Checked(str(model), hashlib.sha256(loaded.content).hexdigest(), asked.policy.undecided, judgements)


@dataclass(frozen=True)
class _Asked:
    """What a caller gave: the arguments of `check`, but the model."""

    policy: Policy
    inputs: Inputs
    float_model: Path | None
    reference: Path | None
    seconds: float
    progress: Progress

    def require(self) -> None:
        """Refuses, before any work, a limit that needs what was not given."""
        limits = set(self.policy.limits)
        if not 0 < self.seconds < float("inf"):
            raise OctavoError(f"`seconds` should be above 0, and is {self.seconds:g}.")
        if self.inputs.data is None and (scored := limits & {"max_drop", "worst_score"}):
            raise DataError(f"The limit {min(scored)} is measured on labelled samples.", "Set `data` to some.")
        if self.float_model is None and "max_drop" in limits:
            raise OctavoError(
                "The limit max_drop is measured against the float model that the model was made from.",
                "Set `float_model` to it.",
            )
        if self.float_model is None and self.reference is None and "max_latency_ratio" in limits:
            raise OctavoError(
                "The limit max_latency_ratio is measured against another model.",
                "Set `reference` to it, or `float_model`.",
            )

    def load(self, path: Path, families: list[Kernels]) -> Loaded:
        """A model. It gets `signature` and `size` only if its file needs them, which int8 files do not."""
        signature, size = self.inputs.signature, self.inputs.size
        try:
            return load_model(path, progress=self.progress, kernels=families)
        except ModelError:
            if signature is None and size is None:
                raise
            return load_model(path, signature, size, progress=self.progress, kernels=families)

    def judge(self, loaded: Loaded) -> Iterator[Judgement]:
        """The judgement of each limit, in the order of the policy's keys."""
        policy, graph = self.policy, loaded.graph
        timed = policy.max_latency_ratio is not None and self.reference is None
        before = source = None
        if self.float_model is not None and (policy.max_drop is not None or timed):
            before = self.load(self.float_model, ["xnnpack"])
        if self.inputs.data is not None and {"max_drop", "worst_score", "bit_equal"} & set(policy.limits):
            source = opened(self.inputs, self.progress, loaded, tests=True)
        if source is not None and (policy.max_drop is not None or policy.worst_score is not None):
            yield from self._scored(loaded, None if policy.max_drop is None else before, source)
        if policy.max_size is not None:
            yield gate.size(loaded.content, policy.max_size)
        if policy.max_arena is not None:
            yield gate.arena(graph, policy.max_arena)
        if policy.max_cpu_ops is not None:
            yield gate.cpu_ops(graph, policy.max_cpu_ops)
        if policy.max_float_ops is not None:
            yield gate.float_ops(graph, policy.max_float_ops)
        if policy.bit_equal is not None:
            yield self._bit_equal(loaded, before, source)
        if policy.max_latency_ratio is not None:
            other = before if self.reference is None else self.load(self.reference, ["xnnpack"])
            assert other is not None
            self.progress.say(f"timing {graph.name} and {other.graph.name}")
            yield gate.latency_ratio(graph, other.graph, policy.max_latency_ratio, self.seconds)

    def _scored(self, loaded: Loaded, before: Loaded | None, source: Dataset) -> Iterator[Judgement]:
        names = class_names(loaded, self.inputs)
        others = names if before is None else class_names(before, self.inputs)
        if before is not None and names and others and names != others:
            raise DataError(
                f"The classes of {loaded.graph.name} and {before.graph.name} differ, or are in another order.",
                "Set `labels` to the class names in the order of the outputs of both.",
            )
        test = draw_test(source, self.inputs.images, self.inputs.seed)
        # A model without class names has those of the other.
        known = loaded if names or before is None else before
        samples, task = understood(known, test, self.inputs, self.progress)

        def scores(one: Loaded, other: Loaded | None) -> Scores:
            preprocess = self._preprocess(one, other, source, test)
            found = measured(one.graph, samples, task, preprocess, "xnnpack", self.progress)
            warn_of_chance(found, preprocess)
            return found

        after = scores(loaded, before)
        if before is not None and self.policy.max_drop is not None:
            yield gate.drop(scores(before, loaded), after, self.policy.max_drop)
        if self.policy.worst_score is not None:
            yield gate.score(after, self.policy.worst_score)

    def _bit_equal(self, loaded: Loaded, before: Loaded | None, source: Dataset | None) -> Judgement:
        preprocess = self._preprocess(loaded, before, source)
        samples = draw_samples(loaded.graph, preprocess, replace(self.inputs, images=None), source)
        raw = samples.inputs
        if isinstance(preprocess, Preprocess):
            raw = encoded(ports_of(loaded.graph)[0], preprocess, np.asarray(raw))
        assert self.policy.bit_equal is not None
        return gate.bit_equal(loaded.graph, raw, samples.about, self.policy.bit_equal)

    def _preprocess(
        self, own: Loaded, other: Loaded | None, source: Dataset | None, scored: ImageSet | None = None
    ) -> Preprocessing:
        """The preprocessing of a model. One that does not say its scale has that of the other, if that one says it."""
        known = other is None or scale_is_known(own, self.inputs) or not scale_is_known(other, self.inputs)
        chosen = own if known or other is None else other
        return scale_of(chosen, self.inputs, source, self.progress, scored).preprocess
