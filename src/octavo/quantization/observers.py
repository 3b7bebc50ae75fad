"""Observers: how the values of one tensor, over many images, become the range that int8 must hold.

An observer is a few pure functions, after optax's style: `init` makes a state, `update` folds in the values of one
image, `merge` joins two states (so that cores can work apart), `finish` makes the range. All observers give the same
result, bit for bit, whatever the order of the images and however many cores share them.

`minmax` keeps every value inside. The others clip: they weigh the values that are cut off against the finer steps that
all the rest get, and differ in how they weigh.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import QuantizationError
from octavo.quantization.histogram import HALF, Histogram
from octavo.quantization.ranges import Range, Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Tensor
from octavo.tflite.op_table import clips

Array = npt.NDArray[Any]
Progress = Callable[[int], None]
# Raw inputs of a model, one an item; tuples where the model takes several.
Images = Sequence[Array | tuple[Array, ...]] | Array

# The share of the values that `percentile` keeps inside: the one that Wu et al. 2020 (arXiv 2004.09602, table 5) find
# best, or nearly so, for most networks.
KEPT = 0.9999
_CODES = 256
# Candidates for an end of a range, as shares of the extreme value: each 4% below the one before, down to 1/256; and 0.
_ENDS = np.append(0.0, 2.0 ** (np.arange(-128, 1) / 16))
# Candidates that `entropy` leaves out between two that it tries, in bins: at most 1/128 of the range.
_STRIDE = 8


@dataclass(frozen=True)
class Observer:
    """How the values seen in one tensor become its range.

    Args:
        init: Makes the state of a tensor that has seen nothing.
        update: ``(state, values) -> state``, for one image's values, any shape.
        merge: ``(state, state) -> state``; commutative and associative.
        finish: ``state -> (lowest, highest)``; NaN or infinity where such values came.
        settled: ``(state, (lowest, highest)) -> bool``: whether no values within these bounds can change the state.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Array], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Range]
    settled: Callable[[Any, Range], bool] = lambda state, bounds: False


def _minmax_update(state: Range, values: Array) -> Range:
    if values.size == 0:
        return state
    return _minmax_merge(state, (float(values.min()), float(values.max())))


def _minmax_merge(first: Range, second: Range) -> Range:
    # np.minimum, unlike min(), lets a NaN through whichever side it is on, so that it cannot hide.
    return float(np.minimum(first[0], second[0])), float(np.maximum(first[1], second[1]))


MINMAX = Observer(
    init=lambda: (np.inf, -np.inf),
    update=_minmax_update,
    merge=_minmax_merge,
    finish=lambda state: state,
    settled=lambda state, bounds: state[0] <= bounds[0] and state[1] >= bounds[1],
)


def _of_histogram(choose: Callable[[Histogram], Range]) -> Observer:
    """An observer that sees a histogram, and never gives more than the values' own range, widened to hold 0."""

    def finish(seen: Histogram) -> Range:
        if not (np.isfinite(seen.low) and np.isfinite(seen.high)):
            return seen.low, seen.high
        low, high = choose(seen)
        return max(low, min(seen.low, 0.0)), min(high, max(seen.high, 0.0))

    return Observer(
        init=Histogram.empty,
        update=lambda state, values: state.merged(Histogram.of(values)),
        merge=Histogram.merged,
        finish=finish,
    )


def percentile(kept: float) -> Observer:
    """Cuts off the same share of the values at both ends together: ``(1 - kept) / 2`` at each.

    Wu et al. 2020, "Integer quantization for deep learning inference" (arXiv 2004.09602, section 5), there of
    magnitudes. The ends are right to within a bin of the histogram, 1/1024 of the largest magnitude, and lie outside.

    Args:
        kept: The share to keep inside, above 0.5.

    Example:
        >>> rules = percentile(0.98)
        >>> low, high = rules.finish(rules.update(rules.init(), np.arange(-100, 101, dtype=np.float32)))
        >>> round(low), round(high)
        (-98, 98)
    """

    def choose(seen: Histogram) -> Range:
        most = (1 - kept) / 2 * seen.counts.sum()
        # How many values lie in a bin or beyond it; the bins of which that is too many to cut off stay.
        beyond = (np.cumsum(side[::-1])[::-1] for side in (seen.below, seen.above))
        below, above = (int(np.count_nonzero(count > most)) for count in beyond)
        return -below * seen.width, above * seen.width

    return _of_histogram(choose)


def _least_error(power: int) -> Callable[[Histogram], Range]:
    """Chooses the range with the least mean error to some power, clipping and rounding together.

    Banner et al. 2019, "Post-training 4-bit quantization" (arXiv 1810.05723, section 3): a value beyond an end is off
    by its distance to it; rounding errors of the values inside are uniform over a step, whence ``(step/2)^p / (p+1)``
    each, the ``step^2 / 12`` of their equation 4 for squares. All pairs of 130 low and 130 high ends are compared.
    """

    def choose(seen: Histogram) -> Range:
        magnitudes = (np.arange(HALF) + 0.5) * seen.width
        ends, cut, inside = [], [], []
        for counts, extreme in ((seen.below, -seen.low), (seen.above, seen.high)):
            # The bin of 0 is left out: 0 has a code of its own in every range.
            weights = np.append(0, counts[1:])
            ends.append(_ENDS * max(extreme, 0.0))
            beyond = magnitudes - ends[-1][:, None]
            cut.append(np.maximum(beyond, 0.0) ** power @ weights)
            inside.append((beyond < 0) @ weights)
        steps = (ends[0][:, None] + ends[1]) / (_CODES - 1)
        error = cut[0][:, None] + cut[1] + (steps / 2) ** power / (power + 1) * (inside[0][:, None] + inside[1])
        low, high = np.unravel_index(np.argmin(error), error.shape)
        return -float(ends[0][low]), float(ends[1][high])

    return choose


def _least_divergence(seen: Histogram) -> Range:
    """Chooses the range whose 256 codes keep the distribution best: the least Kullback-Leibler divergence.

    Migacz 2017, "8-bit inference with TensorRT" (GTC 2017, slides 29 to 38). There magnitudes get 128 levels; here the
    bins of both signs share the 256 codes of int8, as far as there are values on either side. A candidate cuts both
    sides at one magnitude, counts what lies beyond into its last bins, and is compared with what 256 groups of bins
    keep of it. The bin of 0 counts as its neighbours do: zeros, exact in every range, would drown all other values.
    """
    sides = [np.trim_zeros(side[1:], "b").astype(np.float64) for side in (seen.below, seen.above)]
    widest = max(len(side) for side in sides)
    best, chosen = np.inf, widest + 1
    for bins in range(widest, 0, -_STRIDE):
        kept = [side[:bins] for side in sides]
        zero = np.mean([side[0] for side in kept if len(side)])
        inside = np.concatenate([kept[0][::-1], [zero], kept[1]])
        if len(inside) < _CODES:
            break
        clipped = inside.copy()
        clipped[0] += sides[0][bins:].sum()
        clipped[-1] += sides[1][bins:].sum()
        divergence = _divergence(clipped, _regrouped(inside))
        if divergence < best:
            best, chosen = divergence, bins + 1
    return -chosen * seen.width, chosen * seen.width


def _regrouped(counts: Array) -> Array:
    """What 256 codes keep of a distribution: every group's count, spread evenly over its bins that are not empty."""
    starts = np.arange(_CODES) * len(counts) // _CODES
    sizes = np.diff(starts, append=len(counts))
    filled = np.maximum(np.add.reduceat(counts > 0, starts, dtype=np.int64), 1)
    return np.where(counts > 0, np.repeat(np.add.reduceat(counts, starts) / filled, sizes), 0.0)


def _divergence(first: Array, second: Array) -> float:
    """Kullback-Leibler's, of two histograms; infinite where the second has nothing of what the first has."""
    some = first > 0
    if not np.all(second[some] > 0):
        return np.inf
    p, q = first[some] / first.sum(), second[some] / second.sum()
    return float(np.sum(p * np.log(p / q)))


OBSERVERS: Mapping[str, Observer] = {
    "minmax": MINMAX,
    "percentile": percentile(KEPT),
    "mse": _of_histogram(_least_error(2)),
    "mae": _of_histogram(_least_error(1)),
    "entropy": _of_histogram(_least_divergence),
}


def run_observers(
    graph: Graph,
    tensors: Sequence[Tensor],
    images: Images,
    rules: Sequence[Observer],
    progress: Progress = lambda done: None,
) -> list[Any]:
    """The state of every tensor's observer after the images, in one pass on all cores.

    The tensors are exposed as outputs of a copy of the graph, so that the runtime's own fast kernels compute them;
    nothing is kept of an image but what the states hold. What an activation function clips is not looked at once it has
    reached both ends: of MobileNetV2's values, these are seven in eight.

    Args:
        graph: A float graph.
        tensors: Which of its activations to watch.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        rules: The observer of each tensor.
        progress: Called after each image with 1.
    """
    # One list of states per thread: no lock in the loop, and merging makes the order immaterial.
    local: dict[int, list[Any]] = {}
    makers = [graph.producers.get(tensor.index) for tensor in tensors]
    bounds = [(-np.inf, np.inf) if maker is None else clips(maker) for maker in makers]

    def look(place: int, outputs: list[Array]) -> None:
        states = local.setdefault(threading.get_ident(), [rule.init() for rule in rules])
        for index, (rule, within, values) in enumerate(zip(rules, bounds, outputs, strict=True)):
            if not rule.settled(states[index], within):
                states[index] = rule.update(states[index], values)
        progress(1)

    Model(graph.exposed(tensors)).each(images, look)
    merged = [rule.init() for rule in rules]
    for states in local.values():
        merged = [rule.merge(a, b) for rule, a, b in zip(rules, merged, states, strict=True)]
    return merged


def rules_for(graph: Graph, tensors: Sequence[Tensor], observer: str) -> list[Observer]:
    """The observer of each tensor: the one that is named, but min-max for the graph's inputs.

    Pixels take 256 values with known ends, and 256 codes hold them all: to clip an input would lose and gain nothing.

    Raises:
        QuantizationError: There is no such observer.
    """
    if observer not in OBSERVERS:
        raise QuantizationError(f"There is no observer '{observer}'.", f"Use one of {', '.join(OBSERVERS)}.")
    return [MINMAX if tensor.index in graph.inputs else OBSERVERS[observer] for tensor in tensors]


def observe(graph: Graph, images: Images, observer: str = "minmax", progress: Progress = lambda done: None) -> Ranges:
    """The range of every activation over the images; NaN or infinite where such values came.

    Args:
        graph: A float graph.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        observer: A name in `OBSERVERS`.
        progress: Called after each image with 1.

    Raises:
        QuantizationError: There is no such observer.
    """
    tensors = graph.activations
    rules = rules_for(graph, tensors, observer)
    states = run_observers(graph, tensors, images, rules, progress)
    found = {tensor.name: rule.finish(state) for tensor, rule, state in zip(tensors, rules, states, strict=True)}
    return Ranges(observer, len(images), found)
