"""What was measured of float and int8 on the same images, as a run's file holds it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from octavo.base.artefact import Artefact, Part
from octavo.base.stats import Interval
from octavo.runtime.litert import Latency


class ClassScore(Part):
    """How one class fared.

    Args:
        name: The class.
        images: How many images of it there are.
        correct: How many of these are called by its name.
        recall: Their share.
        precision: The share of right answers among all that name this class.
        f1: The harmonic mean of recall and precision.
    """

    name: str = Field(alias="class")
    images: int
    correct: int
    recall: float
    precision: float
    f1: float


class ModelScore(Part):
    """How right one model is.

    Args:
        accuracy: The share of images whose most probable class is the true one, with its interval.
        top5: The share whose true class is among the five most probable; None for ten classes or fewer.
        per_class: The same class by class.
        confusion: How many images of each true class (row) got each answer (column).
    """

    accuracy: Interval
    top5: Interval | None
    per_class: list[ClassScore]
    confusion: list[list[int]]


class ModelEvaluation(ModelScore):
    """What was measured of one model of a run.

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
    """How far probabilities moved.

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
        agreement: The share of images that get the same answer.
        difference: The accuracy after minus that before, paired, as a share.
        mcnemar: Whether so uneven a split of the changed answers could be chance.
        margin: The largest loss of accuracy, as a share, that counts as none.
        non_inferior: Whether the whole interval of the difference lies above minus the margin.
        probability_shift: How far probabilities moved.
    """

    confidence: float
    agreement: float
    difference: Interval
    mcnemar: McNemar
    margin: float
    non_inferior: bool
    probability_shift: Shift


class Disagreement(Part):
    """An image that float and int8 call differently.

    Args:
        id: The image.
        label: Its true class.
        before: What float calls it.
        after: What int8 calls it.
        before_probability: Float's probability of its answer.
        after_probability: Int8's probability of its answer.
        image: A small PNG as a data URI; None for float inputs, which are no pictures.
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
        disagreements: Images that they call differently, the surest of float's answers first; not all of them.
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
    """Float, int8 and what they are to be compared with, on the same held-out images.

    Args:
        images: How many held-out images.
        classes: The classes' names.
        kernels: The kernel family that ran the models, in words.
        models: What was measured of each: `float`, `int8`, and after training for int8 `ptq` and `control`.
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
        """The comparison of two models by their names, where the run made it."""
        return next((pair for pair in self.pairs if (pair.before, pair.after) == (before, after)), None)
