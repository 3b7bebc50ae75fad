"""Post-training quantization, and the choice of an observer where the user made none.

Min-max is a good observer for most networks. For some, a few rare values make ranges so wide that the outputs lose much
or are noise, and an observer that clips these values mends them. So if an output with min-max is not very close to that
of the float model, all observers are compared: without tuning passes, which can take long, and on calibration images
that do not set their ranges, if there are enough. The best one is taken if its answers are clearly better in the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.answers import SAMPLES, Answers, ObserverChoice, compared, sampled, traced
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.quantization.calibrate import Survey, calibrate, calibrations
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import build
from octavo.recipe.choices import OBSERVERS
from octavo.recipe.options import Quantization
from octavo.source.tried import Trials
from octavo.tflite.graph import Graph
from octavo.tuning.tune import Tuning, tune

Array = npt.NDArray[Any]

# Another observer is taken if the worst output gains this many dB, half of its error, or if all outputs hold with it.
_GAIN = 3.0


@dataclass(frozen=True)
class Made:
    """An int8 model of post-training quantization.

    Args:
        ranges: The ranges of the activations, as calibration found them.
        tuned: The float graph after the tuning passes.
        int8: The int8 model.
        answers: Its outputs beside those of the float model.
    """

    ranges: Ranges
    tuned: Tuning
    int8: Quantized
    answers: Answers


def quantized(
    graph: Graph,
    ranges: Ranges,
    images: Feed,
    wanted: Quantization,
    seen: Survey | None = None,
    progress: Progress | None = None,
    trials: Trials | None = None,
) -> Made:
    """Makes an int8 model, and compares its outputs with the float model's.

    If `wanted` names no observer, and an output is not very close, another observer is taken if it is clearly better.

    Args:
        graph: The float graph.
        ranges: The ranges that `wanted.first_observer` finds.
        images: The calibration images.
        wanted: How to quantize.
        seen: What calibration kept, if it has just run: the outputs of the images of `sampled`, and what
            `octavo.tuning.tune.read_first` asks for.
        progress: Receives progress messages.
        trials: The child process that runs int8 models first, if the caller has one.

    Raises:
        OctavoError: As `octavo.quantization.quantize.quantize`, `octavo.tuning.tune.tune` and
            `octavo.source.tried.Trials.made`.
    """
    with Trials() if trials is None else nullcontext(trials) as child:
        maker = _Maker(graph, images, wanted, seen, progress or Silent(), child)
        made = maker.made(ranges)
        if wanted.observer is None and not made.answers.is_clear:
            made = maker.best(made)
        if not made.answers.hold:
            # The tensors inside it are read and fed.
            child.made(made.int8.content, graph.name, ["xnnpack"])
    return replace(made, answers=traced(graph, made.int8.graph, images, made.answers))


@dataclass(frozen=True)
class _Maker:
    """What all int8 models of one call share: the arguments of `quantized`, except the ranges."""

    graph: Graph
    images: Feed
    wanted: Quantization
    seen: Survey | None
    progress: Progress
    trials: Trials

    @property
    def _outputs(self) -> Mapping[int, Sequence[Array]] | None:
        """The float model's raw outputs for the images of `sampled`, by their place, if it has run already."""
        return None if self.seen is None else self.seen.outputs

    def made(self, ranges: Ranges) -> Made:
        """The int8 model of some ranges."""
        allow_float, precision = self.wanted.allow_float, self.wanted.precision
        plan = partial(build, allow_float=allow_float, precision=precision)
        kept = () if self.seen is None else self.seen.excerpts
        tuned = tune(self.graph, ranges, self.images, self.wanted.tune, plan, self.progress, kept)
        int8 = quantize(tuned.graph, tuned.ranges, allow_float, precision)
        self.trials.made(int8.content, self.graph.name, ["xnnpack"], "kept")
        return Made(ranges, tuned, int8, compared(self.graph, int8.graph, self.images, self._outputs))

    def best(self, first: Made) -> Made:
        """The int8 model of the best observer: the first one, unless another is clearly better."""
        tried = self._tried()
        best = max(tried, key=lambda name: tried[name].quality)
        made = first
        if best != first.ranges.observer:
            with self.progress.track(f"calibrate, {best}", len(self.images)) as advance:
                ranges = calibrate(self.graph, self.images, best, advance)
            other = self.made(ranges)
            hold, sqnr, agreement = first.answers.quality
            made = other if other.answers.quality > (hold, sqnr + _GAIN, agreement) else first
        sqnrs = {name: answers.worst.sqnr for name, answers in tried.items()}
        choice = ObserverChoice(made.ranges.observer, first.ranges.observer, first.answers.worst, sqnrs)
        return replace(made, answers=replace(made.answers, choice=choice))

    def _tried(self) -> dict[str, Answers]:
        """The answers with each observer, without tuning passes."""
        judging = sampled(len(self.images))
        others = np.setdiff1d(np.arange(len(self.images)), judging)
        # With too few others, all samples set the ranges.
        calibrating = self.images.take(others) if len(others) >= SAMPLES else self.images
        samples = self.images.take(np.array(judging))[:]
        outputs = self._outputs
        known = None if outputs is None else {at: outputs[place] for at, place in enumerate(judging)}
        tried = {}
        with self.progress.track("try all observers", len(calibrating) + len(OBSERVERS)) as advance:
            for name, ranges in calibrations(self.graph, calibrating, tuple(OBSERVERS), advance).items():
                # It has the ops of the first model, which has run in a child process.
                int8 = quantize(self.graph, ranges, self.wanted.allow_float, self.wanted.precision)
                tried[name] = compared(self.graph, int8.graph, samples, known)
                advance(1)
        return tried
