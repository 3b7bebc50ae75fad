"""The evaluation of float and int8 on the same samples, as stored in a run's file."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from octavo.base.artefact import Artefact, Part
from octavo.base.metric import Metric
from octavo.base.stats import Interval
from octavo.runtime.litert import Latency


class ClassScore(Part):
    """The scores of one class.

    Args:
        name: The class.
        images: How many samples of it there are.
        correct: How many of these are classified correctly.
        recall: Their share.
        precision: The share of right answers among all answers with this class.
        f1: The harmonic mean of recall and precision.
    """

    name: str = Field(alias="class")
    images: int
    correct: int
    recall: float
    precision: float
    f1: float


class ClassTable(Part):
    """How a classifier does on every class.

    Args:
        top5: The share whose true class is among the five most probable; None for ten classes or fewer.
        per_class: The scores of every class.
        confusion: How many samples of each true class (row) were classified as each class (column). Empty for more than
            4,096 classes.
    """

    top5: Interval | None
    per_class: list[ClassScore]
    confusion: list[list[int]]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.confusion and {len(self.confusion), *map(len, self.confusion)} != {len(self.per_class)}:
            raise ValueError("the confusion matrix needs a row and a column for each class")
        return self


class ModelScore(Part):
    """The score of one model.

    Args:
        score: The deciding figure, with its interval; None if the right answers are not known.
        figures: The other figures by name; empty if the right answers are not known.
        by_class: The deciding figure of each class, where the task has it (segmentation, detection).
        table: The scores of every class; only for the task single-label with labels.
    """

    score: Interval | None
    figures: dict[str, float]
    by_class: dict[str, float]
    table: ClassTable | None


class ModelEvaluation(ModelScore):
    """The evaluation of one model of a run.

    Args:
        file: Its name in the run directory.
        sha256: Of the file.
        latency: Of one sample on one thread, on XNNPACK, all models in turns.
    """

    file: str
    sha256: str
    latency: Latency


class McNemar(Part):
    """McNemar's exact test.

    Args:
        b: Samples right before and wrong after.
        c: Samples wrong before and right after.
        p: The two-sided p-value.
    """

    b: int
    c: int
    p: float


class Shift(Part):
    """How much the probabilities changed.

    Args:
        mean: The mean absolute difference over all samples and classes.
        max: The largest.
    """

    mean: float
    max: float


class Comparison(Part):
    """Two models on the same samples; the first is called before, the second after.

    Args:
        confidence: Of every interval.
        agreement: How alike the answers are, as `likeness` of the evaluation says.
        difference: The deciding figure after minus that before, paired; None if the right answers are not known.
        margin: The largest acceptable loss of the deciding figure.
        non_inferior: Whether the whole interval of the loss lies below the margin; None if the right answers are not
            known.
        mcnemar: McNemar's test of whether two accuracies differ; only for the task single-label with labels.
        probability_shift: How much the probabilities changed; only for the task single-label.
    """

    confidence: float
    agreement: float
    difference: Interval | None
    margin: float
    non_inferior: bool | None
    mcnemar: McNemar | None
    probability_shift: Shift | None


class Disagreement(Part):
    """A sample for which float and int8 give different answers.

    Args:
        id: The sample.
        label: The right answer; empty if it is not known.
        before: What float gives.
        after: What int8 gives.
        before_probability: Float's probability of its answer; None where a task has none.
        after_probability: Int8's.
        image: A small PNG as a data URI; for segmentation the image, and the masks beside it; for detection the image
            with the right boxes, float's and int8's. None for samples that are not pictures.
    """

    id: str
    label: str
    before: str = Field(alias="float")
    after: str = Field(alias="int8")
    before_probability: float | None = Field(alias="float_probability")
    after_probability: float | None = Field(alias="int8_probability")
    image: str | None = Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/=]+$")


class Delivery(Comparison):
    """The comparison of float with the int8 model that is delivered.

    Args:
        disagreements: Samples for which they give different answers, the most telling first; not all of them.
    """

    disagreements: list[Disagreement]


class PairComparison(Comparison):
    """The comparison of two models of a run.

    Args:
        before: The first model.
        after: The second model.
    """

    before: str
    after: str


class Evaluation(Artefact):
    """Float, int8 and the models to compare them with, on the same held-out samples.

    Args:
        task: How the outputs are scored.
        metric: The deciding figure.
        others: The other figures.
        likeness: What `agreement` measures.
        images: How many held-out samples.
        classes: The classes' names; empty where the task has none.
        kernels: The kernel family that ran the models, in words.
        models: The evaluation of each: `float`, `int8`, and after training for int8 `ptq` and `control`.
        comparison: Float against int8.
        pairs: Other pairs of models.
    """

    file = "evaluation.json"
    what = "the evaluation of a run"
    version = 2

    task: str
    metric: Metric
    others: list[Metric]
    likeness: Metric
    images: int = Field(ge=1)
    classes: list[str]
    kernels: str
    models: dict[str, ModelEvaluation]
    comparison: Delivery
    pairs: list[PairComparison]

    @model_validator(mode="after")
    def _both(self) -> Self:
        if missing := {"float", "int8"} - self.models.keys():
            raise ValueError(f"no model named {' or '.join(sorted(missing))}")
        tables = [model.table for model in self.models.values() if model.table is not None]
        known, matrices = {len(table.per_class) for table in tables}, {len(table.confusion) for table in tables}
        if not known <= {len(self.classes)} or len(matrices) > 1:
            raise ValueError("the models have scores of different classes")
        return self

    def pair(self, before: str, after: str) -> PairComparison | None:
        """The comparison of two models by their names; None if the run did not make it."""
        return next((pair for pair in self.pairs if (pair.before, pair.after) == (before, after)), None)

    @property
    def trained_in_vain(self) -> bool:
        """Whether int8 was trained, and needed no training.

        That is: post-training quantization is within the margin of float too, and int8 is not shown to be better.
        """
        without, gained = self.pair("float", "ptq"), self.pair("ptq", "int8")
        if without is None or not without.non_inferior or gained is None or gained.difference is None:
            return False
        return self.metric.loss(gained.difference).high >= 0
