"""Compensation: rounds weights so that the error of an op's outputs, not of its weights, is small.

Rounding each weight to the nearest code gives the smallest error of the weights, but seldom of the outputs: if two
inputs are correlated, the errors of their weights can cancel. With weight errors e the squared output error is
``e H e^T``, with ``H = E[x x^T]`` over input rows x (Nagel et al. 2020, AdaRound, arXiv 2004.10568, equation 20). It is
lowered as in GPTQ (Frantar et al. 2022, arXiv 2210.17323, section 3): weights are rounded one after the other, and each
rounding takes into account the error made so far. There are no gradients and no training. Compensation runs within
groups of at most 128 input columns: a few hundred positions are enough to estimate their covariance.

The bias corrects the mean shift that the rounded weights cause, so H is the covariance of x.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from octavo.base.affine import QParams
from octavo.base.progress import Progress
from octavo.quantization.excerpts import Excerpt
from octavo.quantization.observers import Images
from octavo.quantization.ranges import Ranges
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import TABLE, bias_of
from octavo.tuning.content_order import Ordered
from octavo.tuning.im2col import from_kernels, kernels, known, readable, windows
from octavo.tuning.tuning_pass import Plan, Tuned, TuningPass, error_left

Array = npt.NDArray[Any]

# How many images are used, chosen by a hash of their content, and how many positions of an op's output in each. Few
# are enough to estimate the covariance (docs/results.md). The ranges still come from all images.
_IMAGES = 16
_PLACES = 25
# The most input columns in a group. For more, so few positions could not estimate the covariance.
_TOGETHER = 128
# Added to the diagonal of H, as a share of its mean, so that undetermined directions stay near the weights (GPTQ,
# section 3.3, step 3, has 0.01 for many more positions). Larger if there are fewer positions than columns.
_DAMPING = 0.1
# How many products of two codes, each at most 255, float32 can sum exactly: the sum must stay below 2**24.
_EXACT = 258
# About how many weights of an op are rounded at once: rounding takes many times their memory. They are those of a
# multiple of so many output channels, for which matrix products are fastest.
_WEIGHTS = 1 << 17
_OUTPUTS = 64
# How many columns are rounded before the others are updated: few enough for a core's cache (GPTQ, section 3.3, step 2).
_BLOCK = 16


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of an op's input rows, in codes, for each group of input columns.

    Args:
        mean: ``(groups, columns)``.
        covariance: ``(groups, columns, columns)``.
        count: The number of positions.
    """

    mean: Array
    covariance: Array
    count: int

    @classmethod
    def of(cls, rows: Array) -> Moments:
        """The moments of input rows of integers, ``(groups, places, columns)``."""
        rows = np.ascontiguousarray(rows, np.float32)
        count = rows.shape[1]
        parts = [rows[:, start : start + _EXACT] for start in range(0, count, _EXACT)]
        products = sum(((part.swapaxes(1, 2) @ part).astype(np.float64) for part in parts), np.float64(0))
        mean = rows.mean(axis=1, dtype=np.float64)
        return cls(mean, products / count - mean[:, :, None] * mean[:, None, :], count)

    @property
    def damped(self) -> Array:
        """The covariance, made positive definite for the Cholesky decomposition."""
        places = np.arange(self.covariance.shape[-1])
        made = self.covariance.copy()
        diagonal = made[:, places, places]
        diagonal += _DAMPING * max(1.0, len(places) / self.count) * diagonal.mean(axis=1, keepdims=True)
        # The weight of a column that never varies is rounded to the nearest code.
        made[:, places, places] = np.where(diagonal > 0, diagonal, 1.0)
        return made

    def error(self, off: Array) -> Array:
        """The squared error of every output that each group causes, ``(groups, outputs)``, for given weight errors.

        Args:
            off: The weight errors, ``(groups, outputs, columns)``.
        """
        return np.asarray(((off @ self.covariance) * off).sum(axis=-1))


# The rows of every op's input in one image, by the op's index, float32.
Rows = Mapping[int, Array]


def input_rows(graph: Graph, images: Images) -> Excerpt:
    """The input rows of the ops that compensation may change, at some positions of some images."""
    looks = {op.index: windows(graph, op, _PLACES) for op in readable(graph)}
    return Excerpt(
        Ordered(images, _IMAGES).places,
        [graph.ops[index].inputs[0] for index in looks],
        lambda values: {index: look(one) for (index, look), one in zip(looks.items(), values, strict=True)},
    )


def compensate(graph: Graph, ranges: Ranges, rows: Sequence[Rows], plan: Plan, progress: Progress) -> Tuned:
    """Rounds the weights of a float graph to the codes that keep its ops' output error small.

    The new weights are exactly the values of the chosen codes, so quantization finds the same codes again.
    """
    table = plan(graph, ranges)
    ops, unchanged = known(graph, table)
    params = [table.at(op, graph.tensors[op.inputs[0]]) for op in ops]
    entries = [(op, at) for op, at in zip(ops, params, strict=True) if at is not None]
    if not entries:
        return Tuned(graph, ranges, "Nothing to compensate: no op has weights that it can round.", tuple(unchanged))
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}

    def one(place: int) -> None:
        op, at = entries[place]
        weights = graph.tensors[op.inputs[1]]
        assert weights.constant is not None
        stored = table.stored[weights.name]
        moments = Moments.of(_grouped(op, np.concatenate([_offsets(at, one[op.index]) for one in rows])))
        turns = Turns.of(moments.damped)
        few = _parts(op, weights.constant, stored)
        parts = [_rounded(op, values, params, moments, turns) for values, params in few]
        changed[weights.name] = np.concatenate([part.weights for part in parts])
        if (bias := bias_of(graph, op)) is not None and bias.constant is not None:
            shift = np.concatenate([part.shift for part in parts])
            changed[bias.name] = (bias.constant - shift * float(at.scale[0])).astype(np.float32)
        left, before = (np.concatenate(each, axis=1) for each in zip(*(part.errors for part in parts), strict=True))
        figures[weights.name] = {
            "moved": sum(part.moved for part in parts),
            "error_left": float(left.sum() / max(before.sum(), 1e-300)),
        }
        advance(1)

    # One op per core: on several cores matrices this small are slower, and much slower if the cores are busy.
    with (
        progress.track("compensation: weights", len(ops)) as advance,
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for done in [pool.submit(one, place) for place in range(len(entries))]:
            done.result()
    # The pool ends its work in any order.
    figures = {name: figures[name] for name in (graph.tensors[op.inputs[1]].name for op, _ in entries)}
    summary = f"Rounded the weights of {len(entries)} ops to the codes that keep their output error small"
    return Tuned(graph.replaced(changed), ranges, f"{summary}{error_left(figures)}", tuple(unchanged), figures)


COMPENSATE = TuningPass(compensate, reads=input_rows)


def _offsets(params: QParams, values: Array) -> Array:
    """Values as codes minus zero point, int16."""
    zero_point = int(params.zero_point[0])
    codes = np.rint(values / params.scale[0])
    return np.asarray(codes.clip(params.qmin - zero_point, params.qmax - zero_point).astype(np.int16))


@dataclass(frozen=True)
class _Rounded:
    """Some output channels of an op, with rounded weights.

    Args:
        weights: The weights, float32: the values of their codes.
        shift: What they add to the mean of each output, in units of the input's scale, ``(outputs,)``.
        moved: How many weights have another code than the nearest one.
        errors: The squared error of every output that each group causes, ``(groups, outputs)``: with these weights,
            and with the nearest codes.
    """

    weights: Array
    shift: Array
    moved: int
    errors: tuple[Array, Array]


def _rounded(op: Op, weights: Array, stored: QParams, moments: Moments, turns: Turns) -> _Rounded:
    """Rounds the weights of some output channels; the parameters are those of these channels."""
    # One scale per channel, or one for all.
    scale = stored.scale.astype(np.float64)[:, None]
    nearest = kernels(op, stored.quantize(weights)).astype(np.float32)
    wanted = kernels(op, weights) / scale
    # The channel's largest code is kept, because quantization computes the channel's scale from it.
    held = np.abs(nearest).argmax(axis=1)[:, None] == np.arange(nearest.shape[1])
    goal, alone, kept = (_grouped(op, each) for each in (wanted, nearest, held))
    turned = round_in_turn(goal, alone, kept, turns, stored.qmax)
    before, after = moments.error(alone - goal), moments.error(turned - goal)
    # Rounding in turn does not search all codes. If it did not lower the error, the nearest codes are kept.
    turned = np.where((after < before)[..., None], turned, alone)
    codes = _flat(op, turned, nearest.shape)
    shift = _flat(op, (turned - goal) * moments.mean[:, None], nearest.shape) * scale
    size = _grouped(op, np.square(scale))[..., 0]
    return _Rounded(
        stored.dequantize(from_kernels(op, codes.astype(np.int8), weights.shape)),
        shift.sum(axis=1),
        int(np.count_nonzero(codes != nearest)),
        (np.minimum(before, after) * size, before * size),
    )


def _parts(op: Op, weights: Array, stored: QParams) -> Iterator[tuple[Array, QParams]]:
    """An op's weights and their parameters, a few output channels at a time; all at once for a depthwise kernel."""
    if TABLE[op.kind].depthwise:
        yield weights, stored
        return
    step = max(_OUTPUTS, _WEIGHTS // weights[0].size // _OUTPUTS * _OUTPUTS)
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        yield weights[part], stored.part(part)


def _grouped(op: Op, rows: Array) -> Array:
    """Rows of weights or inputs, ``(rows, columns)``, divided into groups of columns.

    The groups of a depthwise convolution are its channels: weights become ``(channels, 1, taps)``, and input rows,
    ``(places, taps, channels)``, become ``(channels, places, taps)``. For any other op a group is a block of columns:
    ``(groups, rows, columns)``, where the last group is filled up with columns of 0.
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


@dataclass(frozen=True)
class Turns:
    """The order in which the columns of a group are rounded, and how the error of each depends on those before it.

    With ``H = R^T R`` and R upper triangular, the error ``e H e^T`` is the sum of the squares of R's rows times e. The
    last row depends only on the last input, the row before it on two inputs, and so on. So the last input is rounded
    first. Each other input is rounded to the integer that brings its row nearest to 0, given the inputs after it.
    Inputs that vary most are rounded first, while many others can still compensate for them (GPTQ's "act-order").

    Args:
        order: The columns, the last to be rounded first, ``(groups, columns)``.
        rows: R for columns in this order, each row divided by its diagonal, ``(groups, columns, columns)``.
    """

    order: Array
    rows: Array

    @classmethod
    def of(cls, metric: Array) -> Turns:
        """The turns for H, positive definite, ``(groups, columns, columns)``."""
        order = np.argsort(np.diagonal(metric, axis1=1, axis2=2), axis=1, kind="stable")
        each = np.arange(len(metric))[:, None, None]
        # NumPy returns the lower factor, R^T.
        lower = np.linalg.cholesky(metric[each, order[:, :, None], order[:, None, :]])
        rows = (lower / np.diagonal(lower, axis1=1, axis2=2)[:, None]).swapaxes(1, 2)
        return cls(order, rows.astype(np.float32))


def round_in_turn(wanted: Array, nearest: Array, held: Array, turns: Turns, largest: int) -> Array:
    """Rounds weights one input column after the other, each time taking the error made so far into account.

    Args:
        wanted: The weights in units of their scale, ``(groups, outputs, columns)``; compensation runs within a
            group.
        nearest: Their nearest codes, of the same shape.
        held: Where the nearest code is kept, of the same shape.
        turns: What `Turns.of` makes of H, which is positive definite.
        largest: The largest code; the smallest is its negative.

    Returns:
        The codes, float32.

    Example:
        Two inputs that are nearly equal: the second weight compensates for the first.

        >>> wanted = np.array([[[0.4, 0.4, 127.0]]])
        >>> metric = np.array([[[1.1, 1.0, 0.0], [1.0, 1.2, 0.0], [0.0, 0.0, 1.0]]])
        >>> round_in_turn(wanted, np.rint(wanted), wanted == 127, Turns.of(metric), largest=127)
        array([[[  1.,   0., 127.]]], dtype=float32)
    """
    order, rows, each = turns.order, turns.rows, np.arange(len(turns.order))[:, None]
    given = (wanted.astype(np.float32), nearest.astype(np.float32), held)
    goal, alone, kept = (one.swapaxes(1, 2)[each, order] for one in given)
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
