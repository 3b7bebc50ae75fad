"""The facts of a run, read from its directory. The report does not compute what a stage should compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from octavo.analysis.compare import Compared
from octavo.analysis.distributions import Distributions
from octavo.analysis.evaluation import Delivery, Evaluation, ModelEvaluation
from octavo.base.artefact import Artefact, Part
from octavo.base.border import border, parse_yaml
from octavo.base.errors import OctavoError
from octavo.base.provenance import Provenance
from octavo.data.summary import DataSummary
from octavo.deployment.measured import Deployment
from octavo.quantization.proof import Proof
from octavo.quantization.ranges import RangesRecord
from octavo.recipe.schema import Recipe
from octavo.runtime.benchmark import Timing
from octavo.runtime.litert import Latency
from octavo.tflite.size import Sizes
from octavo.training.history import BaselineRecord, QatRecord, TrainingRecord
from octavo.tuning.tune import TuningRecord

Verdict = Literal["yes", "no", "open"]

# The stages' files, by their field in `Facts`: first those of every finished run, then those that only some runs have.
_NEEDED: dict[str, type[Artefact]] = {
    "manifest": Provenance,
    "data": DataSummary,
    "ranges": RangesRecord,
    "proof": Proof,
    "size": Sizes,
    "evaluation": Evaluation,
}
_OPTIONAL: dict[str, type[Artefact]] = {
    "history": BaselineRecord,
    "distributions": Distributions,
    "compare": Compared,
    "qat": QatRecord,
    "tuning": TuningRecord,
    "deployment": Deployment,
}
RECIPE = "recipe.yaml"
NEEDED = (RECIPE, *(kind.file for kind in _NEEDED.values()))
OPTIONAL = tuple(kind.file for kind in _OPTIONAL.values())


class Facts(Part):
    """The contents of a run directory, one field per file; None if the run has no such file."""

    recipe: Recipe
    manifest: Provenance
    data: DataSummary
    history: BaselineRecord | None = None
    ranges: RangesRecord
    proof: Proof
    distributions: Distributions | None = None
    compare: Compared | None = None
    qat: QatRecord | None = None
    tuning: TuningRecord | None = None
    deployment: Deployment | None = None
    size: Sizes
    evaluation: Evaluation

    def __repr__(self) -> str:
        before, after = self.before.accuracy.value, self.after.accuracy.value
        return f"Facts('{self.recipe.name}': int8 {after:.2%}, float {before:.2%}, non-inferior: {self.verdict})"

    @property
    def before(self) -> ModelEvaluation:
        """The evaluation of the float model."""
        return self.evaluation.models["float"]

    @property
    def after(self) -> ModelEvaluation:
        """The evaluation of the int8 model."""
        return self.evaluation.models["int8"]

    @property
    def compared(self) -> Delivery:
        """The paired comparison of both models, image by image."""
        return self.evaluation.comparison

    @property
    def trained(self) -> TrainingRecord | None:
        """The record of quantization-aware training; None if the recipe does not ask for it."""
        return self.qat if self.recipe.quantize.method == "qat" else None

    @property
    def verdict(self) -> Verdict:
        """Whether int8 is non-inferior to float at the margin: yes, no, or open (not shown)."""
        if self.compared.non_inferior:
            return "yes"
        return "no" if self.compared.difference.high < -self.compared.margin else "open"

    @property
    def ratio(self) -> float:
        """How many times larger the float `.tflite` is than the int8 one."""
        return self.size.files.float_tflite / self.size.files.int8_tflite

    @property
    def deployed(self) -> Deployment | None:
        """The deployment measurements; None without any, or if they are of other models than the evaluated ones."""
        found = self.deployment
        hashes = {"float.tflite": self.before.sha256, "int8.tflite": self.after.sha256}
        return found if found is not None and found.sha256 == hashes else None

    @property
    def timed(self) -> tuple[Timing, Timing] | None:
        """Float and int8 in the benchmark on XNNPACK; None without a benchmark."""
        return self.deployed.pair("xnnpack") if self.deployed else None

    @property
    def latencies(self) -> tuple[Latency, Latency]:
        """Latency of float and int8: from the benchmark, or else measured during evaluation."""
        return (
            (self.timed[0].latency, self.timed[1].latency) if self.timed else (self.before.latency, self.after.latency)
        )

    @property
    def speedup(self) -> float:
        """How many times longer float takes than int8: median over pairs of runs, or else the ratio of the medians."""
        before, after = self.latencies
        return 1 / self.timed[1].ratio.value if self.timed else before.median_ms / after.median_ms

    @property
    def disagreeing(self) -> int:
        """The number of images for which the two models give different classes; the gallery shows the first of them."""
        return round((1 - self.compared.agreement) * self.evaluation.images)


def read(run_dir: Path) -> Facts:
    """Reads a run directory.

    Raises:
        OctavoError: It is not a run directory, the run is not finished, a file is damaged, or a later version of
            Octavo wrote it.
    """
    again = f"octavo run RECIPE --out {run_dir}"
    missing = [name for name in NEEDED if not (run_dir / name).is_file()]
    if missing:
        what = "is not a run directory" if len(missing) == len(NEEDED) else "is not a finished run"
        raise OctavoError(f"'{run_dir}' {what}: it has no {', '.join(missing)}.", f"Make it with: {again}")
    parts: dict[str, Any] = {"recipe": _recipe(run_dir / RECIPE, again)}
    for name, kind in (_NEEDED | _OPTIONAL).items():
        path = run_dir / kind.file
        if path.is_file():
            parts[name] = kind.read(path)
    return Facts(**parts)


def _recipe(path: Path, again: str) -> Recipe:
    problem, todo = f"'{path}' is not the recipe of a run", f"Delete it and run again: {again}"
    with border(problem, todo):
        value = dict(parse_yaml(path.read_text("utf-8"))[0])
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        details = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:10]]
    raise OctavoError(f"{problem}.", todo, details=details)
