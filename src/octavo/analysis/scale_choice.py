"""The choice of the scale of pixels where a model does not say it: by its input, its first op, or labelled images.

A model is only right with the scale of its training, and most are trained with one of three. On labelled images the
right one is plain to see. The images are never those that are scored afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

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
from octavo.data.columns import Sample
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.recipe.options import Inputs, Scale
from octavo.runtime.litert import Model, Port
from octavo.source.classes import class_names, outputs_of, to_calibrate
from octavo.source.load import Loaded, known_preprocess_for, preprocess_for, scale_is_known, takes_an_image, unscaled
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]
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
        preprocess: The preprocessing. None for a model that takes no images, and for arrays that already are its input.
            Of a model with several inputs, it has only the images whose scale is known or was found.
        tried: How many images the model is right for with each scale. Empty if none was tried.
        images: How many images were tried.
        classes: How many classes the model tells apart; 0 if none was tried.
        best: The scale that is clearly right: it alone, and better than every other. None if there is none.
    """

    preprocess: Preprocessing
    tried: tuple[tuple[Scale, int], ...] = ()
    images: int = 0
    classes: int = 0
    best: Scale | None = None

    @property
    def guesses(self) -> bool:
        """Whether the model is no better than guessing with any scale that was tried."""
        return bool(self.tried) and all(at_chance(right, self.images, self.classes) for _, right in self.tried)

    def checked(self) -> Preprocessing:
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
    inputs = _with_each(loaded, inputs, _of_input, "its input was quantized for that", progress)
    if scale_is_known(loaded, inputs):
        return ScaleChoice(preprocess_for(loaded, inputs))
    given = images()
    ports = () if given is None else pictured(given, unscaled(loaded, inputs))
    if given is not None and len(given) and not ports:
        # Arrays are the model's own input, and say nothing of how pixels would become it.
        return ScaleChoice(known_preprocess_for(loaded, inputs))
    if given is not None and (found := _scored(loaded, inputs, given, ports)) is not None:
        best, figures = found
        _say(loaded, ports, best, figures, progress)
        return ScaleChoice(_scaled(loaded, inputs, ports, best))
    choice = None if given is None else _tried(loaded, inputs, given, ports)
    if choice is not None and choice.best is not None:
        figures = f"it is right for {_figures(choice.tried)} of {choice.images} labelled images"
        _say(loaded, ports, choice.best, figures, progress)
        return replace(choice, preprocess=_scaled(loaded, inputs, ports, choice.best))
    inputs = _with_each(loaded, inputs, partial(_rescaled, loaded.graph), "its first op rescales them", progress)
    if scale_is_known(loaded, inputs):
        return ScaleChoice(preprocess_for(loaded, inputs))
    if not takes_an_image(loaded.graph):
        # No guess for one of several inputs: `Feed` asks for the scale of the one that gets pixels.
        return replace(choice or ScaleChoice(None), preprocess=known_preprocess_for(loaded, inputs))
    if choice is None:
        return ScaleChoice(preprocess_for(loaded, inputs, progress))
    preprocess = preprocess_for(loaded, inputs)
    if isinstance(preprocess, Preprocess):
        progress.say(
            f"The model has no sidecar, and no scale is clearly right: {_figures(choice.tried)} of {choice.images} "
            f"labelled images. Pixels are scaled to {_text(preprocess.scale)}. This is a guess: set `scale` to what it "
            "was trained with."
        )
    return replace(choice, preprocess=preprocess)


def at_chance(right: int, images: int, classes: int) -> bool:
    """Whether a model is no better than guessing: the interval of its accuracy holds 1 / classes, or lies below."""
    return proportion(right, images).low <= 1 / classes


def pictured(images: ImageSet, ports: Sequence[Port]) -> tuple[Port, ...]:
    """Those of some inputs for which samples have uint8 pictures; other arrays are the model's own input."""
    if not len(images):
        return ()
    first = images.images[0]
    return tuple(port for port in ports if any(array.dtype == np.uint8 for array in _arrays(first, port)))


def _arrays(sample: Sample | Array, port: Port) -> list[Array]:
    """What a sample has for an input."""
    return [sample[name] for name in port.names if name in sample] if isinstance(sample, dict) else [sample]


def warn_of_chance(scores: Scores, preprocess: Preprocessing) -> None:
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
    how = f" Pixels were scaled to {_scales(preprocess)} (`scale`)." if preprocess else ""
    warnings.warn(
        f"The model is right for {right} of {images} images, which is no better than guessing among {classes} classes."
        f"{how} Check the scale, the order of the classes (`labels`) and of the channels (`channels`), and that this "
        "is the trained model.",
        OctavoWarning,
        stacklevel=3,
    )


def _asking(inputs: Inputs, ports: Sequence[Port], scale: Scale) -> Inputs:
    """The caller's options, with a scale for some inputs of which they say none."""
    given = inputs.scale if isinstance(inputs.scale, Mapping) else {}
    return replace(inputs, scale={**given, **{port.label: scale for port in ports}})


def _scaled(loaded: Loaded, inputs: Inputs, ports: Sequence[Port], scale: Scale) -> Preprocessing:
    """The preprocessing with a scale for some inputs of which nothing says it."""
    return known_preprocess_for(loaded, _asking(inputs, ports, scale))


def _with_each(
    loaded: Loaded, inputs: Inputs, find: Callable[[Port], Scale | None], why: str, progress: Progress
) -> Inputs:
    """The caller's options, with the scale of each input for which it is found and nothing else says it."""
    for port in unscaled(loaded, inputs):
        if (scale := find(port)) is not None:
            _say(loaded, [port], scale, why, progress)
            inputs = _asking(inputs, [port], scale)
    return inputs


def _say(loaded: Loaded, ports: Sequence[Port], scale: Scale, why: str, progress: Progress) -> None:
    if takes_an_image(loaded.graph):
        progress.say(f"The model has no sidecar: pixels are scaled to {_text(scale)}, since {why}.")
    else:
        names = " and ".join(f"'{port.label}'" for port in ports)
        progress.say(f"The pixels of {names} are scaled to {_text(scale)}, since {why}.")


def _tried(loaded: Loaded, inputs: Inputs, images: ImageSet, ports: Sequence[Port]) -> ScaleChoice | None:
    """How often the model is right with each scale. None if the images cannot tell."""
    classes = outputs_of(loaded.graph)
    if classes is None or images.labels is None or len(images) < _FEWEST:
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
        outputs = model.run(Feed(chosen, _scaled(loaded, inputs, ports, scale), model.inputs))
        correct[scale] = np.asarray(classes_of(loaded.graph, outputs.reshape(len(outputs), -1)) == chosen.labels)
    # The most common class, which a model often gives for every image of a wrong scale.
    common = float(np.bincount(chosen.labels).max()) / len(chosen)
    best = max(CANDIDATES, key=lambda scale: int(correct[scale].sum()))
    sure = proportion(int(correct[best].sum()), len(chosen)).low > common and all(
        _better(correct[best], correct[scale]) for scale in CANDIDATES if scale != best
    )
    tried = tuple((scale, int(correct[scale].sum())) for scale in CANDIDATES)
    return ScaleChoice(None, tried, len(chosen), classes, best if sure else None)


def _scored(loaded: Loaded, inputs: Inputs, images: ImageSet, ports: Sequence[Port]) -> tuple[Scale, str] | None:
    """The scale whose score is clearly the best, with the figures, for a task other than one class per image.

    Returns:
        The scale. None if the images have no truth, or no scale is clearly the best.
    """
    if images.truth is None or len(images) < _FEWEST:
        return None
    images, task = understood(loaded, images, inputs, Silent(), calibrate=True)
    chosen = images.take(evenly(len(images), _MOST))
    scores: dict[Scale, Scores] = {
        scale: evaluate(loaded.graph, chosen, _scaled(loaded, inputs, ports, scale), task=task) for scale in CANDIDATES
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


def _of_input(port: Port) -> Scale | None:
    """The scale whose ends are those of a quantized input."""
    params = port.qparams
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


def _rescaled(graph: Graph, port: Port) -> Scale | None:
    """The scale of unchanged pixels, if the input's first op multiplies by 1/255 or 1/127.5, as Rescaling does."""
    entry = next(index for index in graph.inputs if graph.tensors[index].name == port.name)
    return CANDIDATES[-1] if _rescales(graph, entry) else None


def _rescales(graph: Graph, entry: int) -> bool:
    """Whether the only op that reads a tensor does so."""
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


def _scales(preprocess: Preprocessing) -> str:
    """The scales of pixels, in words."""
    if preprocess is None or isinstance(preprocess, Preprocess):
        return "" if preprocess is None else _text(preprocess.scale)
    return ", ".join(f"{_text(one.scale)} for '{name}'" for name, one in preprocess.items())


def _text(scale: Scale) -> str:
    return f"[{scale[0]:g}, {scale[1]:g}]"
