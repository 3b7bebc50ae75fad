"""The facts of a run, read from its directory. The report does not compute what a stage should compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from octavo.analysis.answers import Answers, AnswersRecord, ObserverChoice
from octavo.analysis.compare import Compared
from octavo.analysis.distributions import Distributions
from octavo.analysis.evaluation import ClassTable, Comparison, Delivery, Evaluation, ModelEvaluation
from octavo.base.artefact import Artefact, Part
from octavo.base.border import border, parse_yaml
from octavo.base.errors import OctavoError
from octavo.base.provenance import Provenance
from octavo.base.stats import Interval
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.data.summary import DataSummary
from octavo.deployment.measured import Deployment
from octavo.quantization.proof import Proof
from octavo.quantization.ranges import RangesRecord
from octavo.recipe.schema import Recipe
from octavo.reports.wording import Figures
from octavo.runtime.benchmark import Timing
from octavo.runtime.litert import Latency
from octavo.source.own_model import OwnModel
from octavo.tflite.size import Sizes
from octavo.training.history import BaselineRecord, QatRecord, TrainingRecord
from octavo.tuning.tune import TuningRecord

Verdict = Literal["yes", "no", "open", "unknown"]

# The stages' files, by their field in `Facts`: first those of every finished run, then those that only some runs have,
# those that depend on where the float model came from (trained by the run, or before it), and those of a run that made
# the int8 model itself.
_NEEDED: dict[str, type[Artefact]] = {
    "manifest": Provenance,
    "data": DataSummary,
    "proof": Proof,
    "size": Sizes,
    "evaluation": Evaluation,
}
_BASELINE: dict[str, type[Artefact]] = {"history": BaselineRecord}
_OWN: dict[str, type[Artefact]] = {"model": OwnModel}
_CALIBRATED: dict[str, type[Artefact]] = {"ranges": RangesRecord}
_MADE: dict[str, type[Artefact]] = {
    "distributions": Distributions,
    "qat": QatRecord,
    "control": TrainingRecord,
    "tuning": TuningRecord,
}
_OPTIONAL: dict[str, type[Artefact]] = {
    "compare": Compared,
    "answers": AnswersRecord,
    "deployment": Deployment,
}
RECIPE = "recipe.yaml"
NEEDED = (RECIPE, *(kind.file for kind in (_NEEDED | _CALIBRATED).values()))
OPTIONAL = tuple(kind.file for kind in (_BASELINE | _OWN | _MADE | _OPTIONAL).values())


class Facts(Part):
    """The contents of a run directory, one field per file; None if the run has no such file."""

    recipe: Recipe
    manifest: Provenance
    data: DataSummary
    history: BaselineRecord | None = None
    model: OwnModel | None = None
    ranges: RangesRecord | None = None
    proof: Proof
    distributions: Distributions | None = None
    compare: Compared | None = None
    qat: QatRecord | None = None
    control: TrainingRecord | None = None
    tuning: TuningRecord | None = None
    answers: AnswersRecord | None = None
    deployment: Deployment | None = None
    size: Sizes
    evaluation: Evaluation

    def __repr__(self) -> str:
        shown = "no truth to score against"
        if self.known:
            before, after = (self.words.value(found.value) for found in self.scores)
            shown = f"int8 {after}, float {before}"
        return f"Facts('{self.recipe.name}': {shown}, non-inferior: {self.verdict})"

    @property
    def words(self) -> Figures:
        """Values and differences of the deciding figure as text."""
        return Figures(self.evaluation.metric)

    @property
    def sample(self) -> str:
        """What the model takes, as the report calls it: an image, or a sample of anything else."""
        return "image" if isinstance(self.preprocess, Preprocess) else "sample"

    @property
    def known(self) -> bool:
        """Whether the right answers are known, so that models are scored."""
        return self.compared.difference is not None

    @property
    def scores(self) -> tuple[Interval, Interval]:
        """The deciding figure of float and of int8.

        Raises:
            ValueError: The right answers are not known.
        """
        return score_of(self.before), score_of(self.after)

    @property
    def gap(self) -> Interval:
        """The deciding figure of int8 minus that of float.

        Raises:
            ValueError: The right answers are not known.
        """
        return gap_of(self.compared)

    @property
    def loss(self) -> Interval:
        """By how much int8 is worse than float."""
        return self.evaluation.metric.loss(self.gap)

    @property
    def by_class(self) -> tuple[ClassTable, ClassTable] | None:
        """The scores of every class, of float and of int8; None for tasks without them."""
        before, after = self.before.table, self.after.table
        return None if before is None or after is None else (before, after)

    @property
    def preprocess(self) -> Preprocessing:
        """From an image to the model's input; None for a model that takes no image."""
        return Preprocess.from_recipe(self.recipe.preprocess) if self.model is None else self.model.preprocess

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
    def controlled(self) -> TrainingRecord | None:
        """The record of the control's training; None if the recipe does not ask for one."""
        return self.control if self.trained is not None and self.recipe.qat.control else None

    @property
    def answered(self) -> Answers | None:
        """The comparison of the outputs on calibration images; None after training, which changes the model."""
        return self.answers.answers if self.answers is not None and self.trained is None else None

    @property
    def choice(self) -> ObserverChoice | None:
        """The choice of an observer because of the outputs; None if the first one was right, or was asked for."""
        return None if self.answered is None else self.answered.choice

    @property
    def verdict(self) -> Verdict:
        """Whether int8 is non-inferior to float at the margin: yes, no, open (not shown), or unknown without truth."""
        if not self.known:
            return "unknown"
        if self.compared.non_inferior:
            return "yes"
        return "no" if self.loss.low > self.compared.margin else "open"

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
        """The number of samples with another class; of the samples shown, for tasks without classes."""
        if self.evaluation.task != "single-label":
            return len(self.compared.disagreements)
        return round((1 - self.compared.agreement) * self.evaluation.images)


def score_of(model: ModelEvaluation) -> Interval:
    """A model's deciding figure.

    Raises:
        ValueError: The right answers are not known.
    """
    if model.score is None:
        raise ValueError("the model was not scored")
    return model.score


def gap_of(compared: Comparison) -> Interval:
    """The paired difference of two models.

    Raises:
        ValueError: The right answers are not known.
    """
    if compared.difference is None:
        raise ValueError("the models were not scored")
    return compared.difference


def read(run_dir: Path) -> Facts:
    """Reads a run directory.

    Raises:
        OctavoError: It is not a run directory, the run is not finished, a file is damaged, or a later version of
            Octavo wrote it.
    """
    again = f"octavo run RECIPE --out {run_dir}"
    missing = [name for name in NEEDED if not (run_dir / name).is_file()]
    given = missing == [RangesRecord.file] and _recipe(run_dir / RECIPE, again).quantize.path is not None
    if missing and not given:
        what = "is not a run directory" if len(missing) == len(NEEDED) else "is not a finished run"
        raise OctavoError(f"'{run_dir}' {what}: it has no {', '.join(missing)}.", f"Make it with: {again}")
    parts: dict[str, Any] = {"recipe": _recipe(run_dir / RECIPE, again)}
    # The folder may hold the file of an earlier run, from before its recipe was changed.
    trained = _BASELINE if parts["recipe"].model.path is None else _OWN
    made = _CALIBRATED | _MADE if parts["recipe"].quantize.path is None else {}
    for name, kind in (_NEEDED | trained | made | _OPTIONAL).items():
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
