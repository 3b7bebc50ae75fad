"""Compensation: weights are rounded so that an op's outputs, not its weights, come out nearest.

Rounding each weight to the nearest code is best for the weights, and seldom for what they compute: the errors of
weights that meet correlated values can make up for one another. The squared output error of weights that are off by e
is ``e H e^T``, with ``H = E[x x^T]`` over the values x that they meet (Nagel et al. 2020, AdaRound, arXiv 2004.10568,
equation 20). It is lowered as GPTQ does it (Frantar et al. 2022, arXiv 2210.17323, section 3): weights are rounded in
turn, and those still to come make up for what the rounded ones are off. No gradients, no training. Inputs make up for
each other in groups of up to 128, which a few hundred places tell apart.

What the weights shift on average the bias takes out, so that H is the covariance of x.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from octavo.base.affine import QParams
from octavo.base.progress import Progress
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import TABLE, bias_of
from octavo.tuning.content_order import Ordered
from octavo.tuning.im2col import from_kernels, kernels, known, windows
from octavo.tuning.tuning_pass import Plan, Tuned, error_left

Array = npt.NDArray[Any]

# How many images are looked at, drawn by what they hold, and at how many places of an op's output in each. Few tell
# enough of what varies with what (docs/results.md); the ranges are those of all images.
_IMAGES = 16
_PLACES = 25
# How many inputs make up for each other, at most. Of more, so few places could not tell what varies with what.
_TOGETHER = 128
# Added to the diagonal of H, as a share of its mean: what is left undetermined stays near the weights (GPTQ, section
# 3.3, step 3, has 0.01 for many more places). More where fewer places were seen than there are columns.
_DAMPING = 0.1
# How many products of two codes, each at most 255, float32 sums exactly: up to 2**24.
_EXACT = 258
# Columns that are rounded before all others are told: few enough for a core's cache (GPTQ, section 3.3, step 2).
_BLOCK = 16


@dataclass(frozen=True)
class Moments:
    """What an op's weights meet, in codes, group by group of inputs that are told from each other.

    Args:
        mean: ``(groups, columns)``.
        covariance: ``(groups, columns, columns)``.
        count: At how many places.
    """

    mean: Array
    covariance: Array
    count: int

    @classmethod
    def of(cls, met: Array) -> Moments:
        """Of what was met, integers: ``(groups, places, columns)``."""
        rows = np.ascontiguousarray(met, np.float32)
        count = rows.shape[1]
        parts = [rows[:, start : start + _EXACT] for start in range(0, count, _EXACT)]
        products = sum(((part.swapaxes(1, 2) @ part).astype(np.float64) for part in parts), np.float64(0))
        mean = rows.mean(axis=1, dtype=np.float64)
        return cls(mean, products / count - mean[:, :, None] * mean[:, None, :], count)

    @property
    def damped(self) -> Array:
        """The covariance, safe to decompose."""
        places = np.arange(self.covariance.shape[-1])
        made = self.covariance.copy()
        diagonal = made[:, places, places]
        diagonal += _DAMPING * max(1.0, len(places) / self.count) * diagonal.mean(axis=1, keepdims=True)
        # A column that never varies is rounded to the nearest code.
        made[:, places, places] = np.where(diagonal > 0, diagonal, 1.0)
        return made

    def error(self, off: Array) -> Array:
        """What a group adds to every output's squared error, ``(groups, outputs)``, by weights that are off.

        Args:
            off: By how much, ``(groups, outputs, columns)``.
        """
        return np.asarray(((off @ self.covariance) * off).sum(axis=-1))


def compensate(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Moves the weights of a float graph to the codes that bring its ops' outputs nearest.

    The weights of the graph then are what the codes stand for, and quantization finds the codes again.
    """
    table = plan(graph, ranges)
    ops, left = known(graph, table)
    params = [table.at(op, graph.tensors[op.inputs[0]]) for op in ops]
    entries = [(op, at) for op, at in zip(ops, params, strict=True) if at is not None]
    met = _met(graph, entries, Ordered(images, _IMAGES), progress)
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}

    def one(place: int) -> None:
        op, at = entries[place]
        weights = graph.tensors[op.inputs[1]]
        assert weights.constant is not None
        stored, moments = table.stored[weights.name], Moments.of(_grouped(op, np.concatenate(met[place])))
        met[place].clear()
        # One scale a channel, or one for all.
        scale = stored.scale.astype(np.float64)[:, None]
        nearest, wanted = kernels(op, stored.quantize(weights.constant)), kernels(op, weights.constant) / scale
        # The channel's largest code stays: by it quantization will find the channel's scale again.
        held = np.abs(nearest).argmax(axis=1)[:, None] == np.arange(nearest.shape[1])
        goal, alone, kept = (_grouped(op, each) for each in (wanted, nearest, held))
        turned = round_in_turn(goal, alone, kept, moments.damped, stored.qmax)
        before, after = moments.error(alone - goal), moments.error(turned - goal)
        # Rounding in turn is no search of all codes: where it did not help, the nearest ones stay.
        turned = np.where((after < before)[..., None], turned, alone)
        codes = _flat(op, turned, nearest.shape)
        changed[weights.name] = stored.dequantize(from_kernels(op, codes.astype(np.int8), weights.shape))
        if (bias := bias_of(graph, op)) is not None and bias.constant is not None:
            shift = _flat(op, (turned - goal) * moments.mean[:, None], nearest.shape) * scale
            changed[bias.name] = (bias.constant - shift.sum(axis=1) * float(at.scale[0])).astype(np.float32)
        size = _grouped(op, np.square(scale))[..., 0]
        figures[weights.name] = {
            "moved": int(np.count_nonzero(codes != nearest)),
            "error_left": float((np.minimum(before, after) * size).sum() / max((before * size).sum(), 1e-300)),
        }
        advance(1)

    # An op a core: matrices this small lose time on several cores, and all of it where others want those too.
    with (
        progress.track("compensation: weights", len(ops)) as advance,
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for done in [pool.submit(one, place) for place in range(len(entries))]:
            done.result()
    said = f"Moved the weights of {len(entries)} ops to the codes that bring their outputs nearest"
    return Tuned(graph.replaced(changed), ranges, f"{said}{error_left(figures)}", tuple(left), figures)


def _grouped(op: Op, rows: Array) -> Array:
    """Rows of an op's inputs, ``(rows, columns)``, as groups of inputs that are told from each other.

    Those of a depthwise convolution are its channels: ``(channels, 1, taps)``, or of what they meet, ``(places, taps,
    channels)``, ``(channels, places, taps)``. Those of any other op lie side by side: ``(groups, rows, columns)``, with
    columns of 0 where the last one has fewer.
    """
    if TABLE[op.kind].depthwise:
        return rows[:, None] if rows.ndim == 2 else rows.transpose(2, 0, 1)
    count = -(-rows.shape[1] // _TOGETHER)
    filled = np.pad(rows, [(0, 0), (0, -rows.shape[1] % count)])
    return filled.reshape(len(rows), count, -1).swapaxes(0, 1)


def _flat(op: Op, groups: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_grouped` for an op's weights."""
    if TABLE[op.kind].depthwise:
        return groups[:, 0]
    return groups.swapaxes(0, 1).reshape(shape[0], -1)[:, : shape[1]]


def _met(graph: Graph, entries: list[tuple[Op, QParams]], images: Images, progress: Progress) -> list[list[Array]]:
    """What every op's weights meet, image by image, in codes less their zero point, int16."""
    seen: list[list[Array]] = [[np.empty(0)] * len(images) for _ in entries]
    looks = [windows(graph, op, _PLACES) for op, _ in entries]

    def look(place: int, outputs: list[Array]) -> None:
        for (_, params), at, values, rows in zip(entries, looks, outputs, seen, strict=True):
            zero_point = int(params.zero_point[0])
            codes = np.rint(at(values) / params.scale[0])
            rows[place] = codes.clip(params.qmin - zero_point, params.qmax - zero_point).astype(np.int16)
        advance(1)

    with progress.track("compensation: what weights meet", len(images)) as advance:
        Model(graph.exposed([graph.tensors[op.inputs[0]] for op, _ in entries])).each(images, look)
    return seen


def round_in_turn(wanted: Array, nearest: Array, held: Array, metric: Array, largest: int) -> Array:
    """Rounds weights one input after the other, each so as to make up for what those before it are off.

    With ``H = R^T R`` and R upper triangular, the error ``e H e^T`` is the sum of the squares of R's rows times e. The
    last row holds the last input alone, the one before it two inputs, and so on. So the last input is rounded first,
    and each other one to the integer that brings its own row nearest to 0, given those after it. Those that vary most
    come first, while many are left to make up for them (GPTQ's "act-order").

    Args:
        wanted: The weights in units of their scale, ``(groups, outputs, columns)``: inputs make up for each other in
            their group.
        nearest: Their nearest codes, of the same shape.
        held: Where the nearest code is to stay, of the same shape.
        metric: H, positive definite, ``(groups, columns, columns)``.
        largest: The largest code; the smallest is its negative.

    Returns:
        The codes, float32.

    Example:
        Two inputs that are nearly equal: the second weight makes up for the first.

        >>> wanted = np.array([[[0.4, 0.4, 127.0]]])
        >>> metric = np.array([[[1.1, 1.0, 0.0], [1.0, 1.2, 0.0], [0.0, 0.0, 1.0]]])
        >>> round_in_turn(wanted, np.rint(wanted), wanted == 127, metric, largest=127)
        array([[[  1.,   0., 127.]]], dtype=float32)
    """
    order = np.argsort(np.diagonal(metric, axis1=1, axis2=2), axis=1, kind="stable")
    each = np.arange(len(metric))[:, None]
    goal, alone, kept = (rows.swapaxes(1, 2)[each, order] for rows in (wanted.astype(np.float32), nearest, held))
    # NumPy's factor is the lower one, R^T. Rows are divided by their diagonal.
    lower = np.linalg.cholesky(metric[each[..., None], order[:, :, None], order[:, None, :]])
    rows = (lower / np.diagonal(lower, axis1=1, axis2=2)[:, None]).swapaxes(1, 2).astype(np.float32)
    size = goal.shape[1]
    off, codes = np.zeros_like(goal), np.zeros_like(goal)
    for stop in range(size, 0, -_BLOCK):
        start = max(0, stop - _BLOCK)
        block = goal[:, start:stop] - rows[:, start:stop, stop:] @ off[:, stop:]
        for k in range(stop - 1, start - 1, -1):
            code = codes[:, k]
            np.rint(block[:, k - start], out=code)
            np.minimum(code, largest, out=code)
            np.maximum(code, -largest, out=code)
            np.copyto(code, alone[:, k], where=kept[:, k])
            np.subtract(code, goal[:, k], out=off[:, k])
            block[:, : k - start] -= rows[:, start:k, k, None] * off[:, k, None]
    made = np.empty_like(codes)
    made[each, order] = codes
    return made.swapaxes(1, 2)
