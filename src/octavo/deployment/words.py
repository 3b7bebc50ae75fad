"""What is said of a model by its task: in its metadata and on its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from octavo.data.preprocess import Preprocess
from octavo.recipe.choices import TaskName
from octavo.source.sidecar import Sidecar


@dataclass(frozen=True)
class Words:
    """The words for one task; ``{sample}`` stands for 'image' or 'sample', ``{classes}`` for the number of classes.

    Args:
        title: What the model is.
        about: What it does, as a sentence.
        answer: What its first output is, as a sentence.
        limits: What it cannot do, as sentences.
        use: What it is for, as the start of a sentence.
    """

    title: str
    about: str
    answer: str
    limits: tuple[str, ...]
    use: str


_UNCALIBRATED = "Its probabilities were not calibrated: 90% does not mean right nine times in ten."
_EXTRAPOLATES = "It gives an answer for any input, also for one unlike all that it was trained on."

WORDS: Mapping[str, Words] = {
    "single-label": Words(
        title="Classifier",
        about="Names the class of a {sample}.",
        answer="The score of each class.",
        limits=("It always gives one of its {classes} classes, also for a {sample} of something else.", _UNCALIBRATED),
        use="Classifying {sample}s",
    ),
    "multi-label": Words(
        title="Multi-label classifier",
        about="Says which labels fit a {sample}.",
        answer="The score of each label.",
        limits=("It knows its {classes} labels only. `predict.py` gives those above one half.", _UNCALIBRATED),
        use="Labelling {sample}s",
    ),
    "regression": Words(
        title="Regression network",
        about="Gives numbers for a {sample}.",
        answer="The numbers.",
        limits=(_EXTRAPOLATES, "It does not say how certain its numbers are."),
        use="Estimating these numbers of {sample}s",
    ),
    "segmentation": Words(
        title="Segmentation network",
        about="Names the class of every pixel.",
        answer="The score of each class of every pixel.",
        limits=("Every pixel gets one of its {classes} classes, also where the {sample} shows something else.",),
        use="Segmenting {sample}s",
    ),
    "detection": Words(
        title="Object detector",
        about="Finds objects in a {sample}: a box, a class and a score for each.",
        answer="One of the outputs of boxes, scores and classes.",
        limits=(
            "It finds objects of the classes it was trained on only, and may find some where there are none. "
            "`predict.py` gives boxes with a score of 0.3 or more; the right limit depends on the use.",
        ),
        use="Finding objects in {sample}s",
    ),
    "anomaly": Words(
        title="Anomaly detector",
        about="Rebuilds its input: the error is the anomaly score.",
        answer="The input as the model rebuilds it.",
        limits=(
            "Its score is a mean squared error, and no probability. Above which score a {sample} is an anomaly has to "
            "be chosen on {sample}s of one's own.",
            "It finds what it rebuilds badly, which need not be what is wrong.",
        ),
        use="Finding unusual {sample}s among those",
    ),
    "outputs": Words(
        title="Network",
        about="Gives its outputs as they are.",
        answer="The numbers.",
        limits=(_EXTRAPOLATES, "What its outputs mean is not known to Octavo."),
        use="Inputs",
    ),
}


def words_of(sidecar: Sidecar) -> Words:
    """The words for a model's task. Without a task, classes are those of a classifier."""
    return WORDS[_task(sidecar)]


def title(sidecar: Sidecar) -> str:
    """What a model is, in a few words.

    Example:
        >>> title(Sidecar(None, ("left", "right"), "single-label"))
        'Classifier of 2 classes'
        >>> title(Sidecar(None, (), "regression"))
        'Regression network'
    """
    name, count = words_of(sidecar).title, len(sidecar.classes)
    if isinstance(sidecar.preprocess, Preprocess) and _task(sidecar) == "single-label":
        name = "Image classifier"
    return f"{name} of {count} {'labels' if sidecar.task == 'multi-label' else 'classes'}" if count else name


def _task(sidecar: Sidecar) -> TaskName:
    return sidecar.task or ("single-label" if sidecar.classes else "outputs")


def filled(text: str, sidecar: Sidecar) -> str:
    """A text of `Words` with the words that belong to a model.

    Example:
        >>> filled("Names the class of a {sample}.", Sidecar(None, (), "single-label"))
        'Names the class of a sample.'
    """
    if not isinstance(sidecar.preprocess, Preprocess):
        return text.format(sample="sample", classes=len(sidecar.classes))
    return text.replace(" a {sample}", " an {sample}").format(sample="image", classes=len(sidecar.classes))
