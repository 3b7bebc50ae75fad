"""The choice of the scale of pixels where a model does not say it: by its input, its first op, or labelled images.

A model is only right with the scale of its training, and most are trained with one of three. On labelled images the
right one is plain to see. The images are never those that are scored afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from octavo.analysis.evaluate import evaluate
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.analysis.tasks.task import Scores, classes_of
from octavo.analysis.understood import understood
from octavo.base.errors import DataError
from octavo.base.evenly import evenly
from octavo.base.progress import Progress, Silent
from octavo.base.stats import paired_difference, proportion
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.recipe.options import Inputs
from octavo.runtime.litert import Model
from octavo.source.classes import class_names, outputs_of, to_calibrate
from octavo.source.load import Loaded, preprocess_for, scale_is_known
from octavo.tflite.graph import Graph

Scale = tuple[float, float]
Correct = npt.NDArray[np.bool_]

CANDIDATES: tuple[Scale, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# With fewer images no scale is tried, and a model is not said to guess.
_FEWEST = 20
# The most images that are tried.
_MOST = 100
# Two scales are the same within this share of their width.
_NEAR = 0.02


@dataclass(frozen=True)
class ScaleChoice:
    """How pixels become a model's inputs, and how that was found.

    Args:
        preprocess: The preprocessing. None for a model that does not take one image, and for arrays that already are
            its input.
        tried: How many images the model is right for with each scale. Empty if none was tried.
        images: How many images were tried.
        classes: How many classes the model tells apart; 0 if none was tried.
        best: The scale that is clearly right: it alone, and better than every other. None if there is none.
    """

    preprocess: Preprocess | None
    tried: tuple[tuple[Scale, int], ...] = ()
    images: int = 0
    classes: int = 0
    best: Scale | None = None

    @property
    def guesses(self) -> bool:
        """Whether the model is no better than guessing with any scale that was tried."""
        return bool(self.tried) and all(at_chance(right, self.images, self.classes) for _, right in self.tried)

    def checked(self) -> Preprocess | None:
        """The preprocessing.

        Raises:
            DataError: The model is no better than guessing with any scale that was tried.
        """
        if self.guesses:
            raise DataError(
                f"The scale of pixels is not known, and with none is the model better than guessing among "
                f"{self.classes} classes: it is right for {_figures(self.tried)} of {self.images} labelled images.",
                "Set `scale` to what it was trained with. If that is one of these, check the order of the classes "
                "(`labels`) and of the channels (`channels`), and that this is the trained model.",
            )
        return self.preprocess


def choose_scale(
    loaded: Loaded, inputs: Inputs, images: Callable[[], ImageSet | None], progress: Progress
) -> ScaleChoice:
    """Finds how pixels become a model's inputs, and says it unless an option or the sidecar does.

    Args:
        loaded: The model, float or int8.
        inputs: The caller's options.
        images: Gives images that are not scored later, or None. Called only if the scale is not known otherwise.
        progress: Receives what was found.

    Raises:
        OctavoError: As `octavo.source.load.preprocess_for`.
    """
    if scale_is_known(loaded, inputs):
        return ScaleChoice(preprocess_for(loaded, inputs, progress))
    if (scale := _of_input(loaded.graph)) is not None:
        return ScaleChoice(_with(loaded, inputs, scale, "its input was quantized for that", progress))
    given = images()
    if given is not None and len(given) and not are_pixels(given):
        # Arrays are the model's own input, and say nothing of how pixels would become it.
        return ScaleChoice(None)
    if given is not None and (found := _scored(loaded, inputs, given)) is not None:
        best, figures = found
        return ScaleChoice(_with(loaded, inputs, best, figures, progress))
    choice = None if given is None else _tried(loaded, inputs, given)
    if choice is not None and choice.best is not None:
        figures = f"it is right for {_figures(choice.tried)} of {choice.images} labelled images"
        return replace(choice, preprocess=_with(loaded, inputs, choice.best, figures, progress))
    if _rescales(loaded.graph):
        return ScaleChoice(_with(loaded, inputs, CANDIDATES[-1], "its first op rescales them", progress))
    if choice is None:
        return ScaleChoice(preprocess_for(loaded, inputs, progress))
    preprocess = preprocess_for(loaded, inputs)
    if preprocess is not None:
        progress.say(
            f"The model has no sidecar, and no scale is clearly right: {_figures(choice.tried)} of {choice.images} "
            f"labelled images. Pixels are scaled to {_text(preprocess.scale)}. This is a guess: set `scale` to what it "
            "was trained with."
        )
    return replace(choice, preprocess=preprocess)


def at_chance(right: int, images: int, classes: int) -> bool:
    """Whether a model is no better than guessing: the interval of its accuracy holds 1 / classes, or lies below."""
    return proportion(right, images).low <= 1 / classes


def are_pixels(images: ImageSet) -> bool:
    """Whether they are uint8 pictures; other arrays are the model's own input."""
    return not isinstance(images.images, Columns) and images.images[0].dtype == np.uint8


def warn_of_chance(scores: Scores, preprocess: Preprocess | None) -> None:
    """Warns about a model that is no better than guessing on the images that it was evaluated on.

    Args:
        scores: The model's.
        preprocess: How images became its inputs.

    Warns:
        OctavoWarning: It is no better than guessing.
    """
    if not isinstance(scores, SingleLabelScores):
        return
    right, images, classes = int(scores.correct.sum()), len(scores), len(scores.classes)
    if images < _FEWEST or classes < 2 or not at_chance(right, images, classes):
        return
    how = "" if preprocess is None else f" Pixels were scaled to {_text(preprocess.scale)} (`scale`)."
    warnings.warn(
        f"The model is right for {right} of {images} images, which is no better than guessing among {classes} classes."
        f"{how} Check the scale, the order of the classes (`labels`) and of the channels (`channels`), and that this "
        "is the trained model.",
        OctavoWarning,
        stacklevel=3,
    )


def _with(loaded: Loaded, inputs: Inputs, scale: Scale, why: str, progress: Progress) -> Preprocess | None:
    progress.say(f"The model has no sidecar: pixels are scaled to {_text(scale)}, since {why}.")
    return preprocess_for(loaded, replace(inputs, scale=scale))


def _tried(loaded: Loaded, inputs: Inputs, images: ImageSet) -> ScaleChoice | None:
    """How often the model is right with each scale. None if the images cannot tell."""
    classes = outputs_of(loaded.graph)
    if classes is None or images.labels is None or len(images) < _FEWEST or not are_pixels(images):
        return None
    if not class_names(loaded, inputs) and len(images.classes) != classes:
        return None
    ordered = to_calibrate(loaded, images, inputs)
    if ordered.labels is None or len(np.unique(ordered.labels)) < 2:
        return None
    chosen = ordered.take(evenly(len(ordered), _MOST))
    assert chosen.labels is not None
    model = Model(loaded.graph)
    correct = {}
    for scale in CANDIDATES:
        outputs = model.run(Feed(chosen, preprocess_for(loaded, replace(inputs, scale=scale)), model.inputs))
        correct[scale] = np.asarray(classes_of(loaded.graph, outputs.reshape(len(outputs), -1)) == chosen.labels)
    # The most common class, which a model often gives for every image of a wrong scale.
    common = float(np.bincount(chosen.labels).max()) / len(chosen)
    best = max(CANDIDATES, key=lambda scale: int(correct[scale].sum()))
    sure = proportion(int(correct[best].sum()), len(chosen)).low > common and all(
        _better(correct[best], correct[scale]) for scale in CANDIDATES if scale != best
    )
    tried = tuple((scale, int(correct[scale].sum())) for scale in CANDIDATES)
    return ScaleChoice(None, tried, len(chosen), classes, best if sure else None)


def _scored(loaded: Loaded, inputs: Inputs, images: ImageSet) -> tuple[Scale, str] | None:
    """The scale whose score is clearly the best, with the figures, for a task other than one class per image.

    Returns:
        The scale. None if the images have no truth, or no scale is clearly the best.
    """
    if images.truth is None or len(images) < _FEWEST:
        return None
    images, task = understood(loaded, images, inputs, Silent(), calibrate=True)
    chosen = images.take(evenly(len(images), _MOST))
    scores: dict[Scale, Scores] = {
        scale: evaluate(loaded.graph, chosen, preprocess_for(loaded, replace(inputs, scale=scale)), task=task)
        for scale in CANDIDATES
    }
    metric = task.scores.metric
    if not all(one.known for one in scores.values()):
        return None
    sign = 1 if metric.higher else -1
    best = max(CANDIDATES, key=lambda scale: sign * scores[scale].value(metric))
    gaps = [scores[scale].difference(scores[best]) for scale in CANDIDATES if scale != best]
    if not all(gap is not None and metric.loss(gap).high < 0 for gap in gaps):
        return None
    ordered = sorted(CANDIDATES, key=lambda scale: -sign * scores[scale].value(metric))
    figures = ", ".join(f"{metric.text(scores[scale].value(metric))} with {_text(scale)}" for scale in ordered)
    return best, f"the {metric.title} of {len(chosen)} labelled images is {figures}"


def _better(one: Correct, other: Correct) -> bool:
    """Whether the first is right more often than the second, on the same images, beyond chance."""
    return paired_difference(int((other & ~one).sum()), int((one & ~other).sum()), len(one)).low > 0


def _of_input(graph: Graph) -> Scale | None:
    """The scale whose ends are those of a quantized input."""
    params = graph.tensors[graph.inputs[0]].qparams
    if params is None or params.scale.size != 1:
        return None
    step, zero = float(params.scale[0]), int(params.zero_point[0])
    low, high = (-128 - zero) * step, (127 - zero) * step
    return next(
        (
            scale
            for scale in CANDIDATES
            if max(abs(low - scale[0]), abs(high - scale[1])) <= _NEAR * (scale[1] - scale[0])
        ),
        None,
    )


def _rescales(graph: Graph) -> bool:
    """Whether the first op multiplies the input by 1/255 or 1/127.5, as Keras' Rescaling does."""
    entry = graph.inputs[0]
    readers = [op for op in graph.ops if entry in op.inputs]
    if len(readers) != 1 or readers[0].kind not in ("MUL", "DIV"):
        return False
    constants = [graph.tensors[index].constant for index in readers[0].inputs if index != entry]
    if len(constants) != 1 or constants[0] is None or constants[0].size not in (1, 3):
        return False
    factors = constants[0].astype(np.float64).ravel()
    if readers[0].kind == "DIV":
        factors = 1 / np.where(factors == 0, np.inf, factors)
    return any(bool(np.all(np.abs(factors * side - 1) < _NEAR)) for side in (255.0, 127.5))


def _figures(tried: tuple[tuple[Scale, int], ...]) -> str:
    """How often the model is right with each scale, the best first."""
    ordered = sorted(tried, key=lambda item: -item[1])
    return ", ".join(f"{right} with {_text(scale)}" for scale, right in ordered)


def _text(scale: Scale) -> str:
    return f"[{scale[0]:g}, {scale[1]:g}]"
