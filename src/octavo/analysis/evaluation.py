"""The evaluation of float and int8 on the same images, as stored in a run's file."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from octavo.base.artefact import Artefact, Part
from octavo.base.stats import Interval
from octavo.runtime.litert import Latency


class ClassScore(Part):
    """The scores of one class.

    Args:
        name: The class.
        images: How many images of it there are.
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


class ModelScore(Part):
    """The accuracy of one model.

    Args:
        accuracy: The share of images whose most probable class is the true one, with its interval.
        top5: The share whose true class is among the five most probable; None for ten classes or fewer.
        per_class: The scores of every class.
        confusion: How many images of each true class (row) were classified as each class (column). Empty for
            more than 4,096 classes.
    """

    accuracy: Interval
    top5: Interval | None
    per_class: list[ClassScore]
    confusion: list[list[int]]


class ModelEvaluation(ModelScore):
    """The evaluation of one model of a run.

    Args:
        file: Its name in the run directory.
        sha256: Of the file.
        latency: Of one image on one thread, on XNNPACK, all models in turns.
    """

    file: str
    sha256: str
    latency: Latency


class McNemar(Part):
    """McNemar's exact test.

    Args:
        b: Images right before and wrong after.
        c: Images wrong before and right after.
        p: The two-sided p-value.
    """

    b: int
    c: int
    p: float


class Shift(Part):
    """How much the probabilities changed.

    Args:
        mean: The mean absolute difference over all images and classes.
        max: The largest.
    """

    mean: float
    max: float


class Comparison(Part):
    """Two models on the same images; the first is called before, the second after.

    Args:
        confidence: Of every interval.
        agreement: The share of images that get the same class.
        difference: The accuracy after minus that before, paired, as a share.
        mcnemar: McNemar's test of whether the two accuracies differ.
        margin: The largest acceptable loss of accuracy, as a share.
        non_inferior: Whether the whole interval of the difference lies above minus the margin.
        probability_shift: How much the probabilities changed.
    """

    confidence: float
    agreement: float
    difference: Interval
    mcnemar: McNemar
    margin: float
    non_inferior: bool
    probability_shift: Shift


class Disagreement(Part):
    """An image to which float and int8 give different classes.

    Args:
        id: The image.
        label: Its true class.
        before: The class that float gives.
        after: The class that int8 gives.
        before_probability: Float's probability of its answer.
        after_probability: Int8's probability of its answer.
        image: A small PNG as a data URI; None for float inputs, which are not pictures.
    """

    id: str
    label: str
    before: str = Field(alias="float")
    after: str = Field(alias="int8")
    before_probability: float = Field(alias="float_probability")
    after_probability: float = Field(alias="int8_probability")
    image: str | None = Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/=]+$")


class Delivery(Comparison):
    """The comparison of float with the int8 model that is delivered.

    Args:
        disagreements: Images to which they give different classes, float's most confident answers first; not all of
            them.
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
    """Float, int8 and the models to compare them with, on the same held-out images.

    Args:
        images: How many held-out images.
        classes: The classes' names.
        kernels: The kernel family that ran the models, in words.
        models: The evaluation of each: `float`, `int8`, and after training for int8 `ptq` and `control`.
        comparison: Float against int8.
        pairs: Other pairs of models.
    """

    file = "evaluation.json"
    what = "the evaluation of a run"

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
        return self

    def pair(self, before: str, after: str) -> PairComparison | None:
        """The comparison of two models by their names; None if the run did not make it."""
        return next((pair for pair in self.pairs if (pair.before, pair.after) == (before, after)), None)
