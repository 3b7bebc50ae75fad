"""Compensation: weights are rounded so that an op's outputs, not its weights, come out nearest.

Rounding each weight to the nearest code is best for the weights, and seldom for what they compute: the errors of
weights that meet correlated values can make up for one another. The squared output error of weights that are off by e
is ``e H e^T``, with ``H = E[x x^T]`` over the values x that they meet (Nagel et al. 2020, AdaRound, arXiv 2004.10568,
equation 20). It is lowered as GPTQ does it (Frantar et al. 2022, arXiv 2210.17323, section 3): weights are rounded in
turn, and those still to come make up for what the rounded ones are off. No gradients, no training.

What the weights shift on average the bias takes out, so that H is the covariance of x.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from octavo.act import Plan, Tuned, error_left
from octavo.affine import QParams
from octavo.graph import Graph, Op
from octavo.observers import Images
from octavo.ops import bias_of
from octavo.progress import Progress
from octavo.ranges import Ranges
from octavo.runtime import Model
from octavo.windows import from_kernels, kernels, known, windows

Array = npt.NDArray[Any]

# How many images are looked at, drawn by what they hold, and at how many places of an op's output in each. Few tell
# enough of what varies with what (docs/results.md); the ranges are those of all images.
_IMAGES = 24
_PLACES = 49
# Added to the diagonal of H, as a share of its mean: what is left undetermined stays near the weights (GPTQ, section
# 3.3, step 3, has 0.01 for many more places). More where fewer places were seen than there are columns.
_DAMPING = 0.1
# How many products of two codes, each at most 255, float32 sums exactly: up to 2**24.
_EXACT = 258
# Columns that are rounded before all others are told: few enough for a core's cache (GPTQ, section 3.3, step 2).
_BLOCK = 64


@dataclass(frozen=True)
class Moments:
    """What an op's weights meet, in codes.

    Args:
        mean: ``(columns,)``; of a depthwise convolution ``(output channels, columns)``.
        covariance: ``(columns, columns)``, or ``(output channels, columns, columns)``.
        count: At how many places.
    """

    mean: Array
    covariance: Array
    count: int

    @classmethod
    def of(cls, met: Array) -> Moments:
        """Of what was met: int16, ``(places, columns)``, or ``(places, columns, output channels)``."""
        rows = np.ascontiguousarray(met.transpose(2, 0, 1) if met.ndim == 3 else met, np.float32)
        count = rows.shape[-2]
        parts = [rows[..., start : start + _EXACT, :] for start in range(0, count, _EXACT)]
        products = sum(((part.swapaxes(-1, -2) @ part).astype(np.float64) for part in parts), np.float64(0))
        mean = rows.mean(axis=-2, dtype=np.float64)
        return cls(mean, products / count - mean[..., :, None] * mean[..., None, :], count)

    @property
    def damped(self) -> Array:
        """The covariance, safe to decompose."""
        places = np.arange(self.covariance.shape[-1])
        made = self.covariance.copy()
        diagonal = made[..., places, places]
        diagonal += _DAMPING * max(1.0, len(places) / self.count) * diagonal.mean(axis=-1, keepdims=True)
        # A column that never varies is rounded to the nearest code.
        made[..., places, places] = np.where(diagonal > 0, diagonal, 1.0)
        return made

    def error(self, off: Array) -> float:
        """The squared error of the outputs, summed over channels, of weights that are off: up to a factor of the op."""
        times = off @ self.covariance if self.covariance.ndim == 2 else np.einsum("oj,ojk->ok", off, self.covariance)
        return float((off * times).sum())


def compensate(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Moves the weights of a float graph to the codes that bring its ops' outputs nearest.

    The weights of the graph then are what the codes stand for, and quantization finds the codes again.
    """
    table = plan(graph, ranges)
    ops, left = known(graph, table)
    params = [table.at(op, graph.tensors[op.inputs[0]]) for op in ops]
    entries = [(op, at) for op, at in zip(ops, params, strict=True) if at is not None]
    met = _met(graph, entries, _drawn(images), progress)
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}

    def one(place: int) -> None:
        op, at = entries[place]
        weights = graph.tensors[op.inputs[1]]
        assert weights.constant is not None
        stored, moments = table.of[weights.name], Moments.of(np.concatenate(met[place]))
        met[place].clear()
        nearest = kernels(op, stored.quantize(weights.constant))
        # One scale a channel, or one for all.
        scale = stored.scale.astype(np.float64)[:, None]
        wanted = kernels(op, weights.constant) / scale
        codes = round_in_turn(wanted, nearest, moments.damped, stored.qmax)
        changed[weights.name] = stored.dequantize(from_kernels(op, codes.astype(np.int8), weights.shape))
        off = (codes - wanted) * scale
        if (bias := bias_of(graph, op)) is not None and bias.constant is not None:
            shift = (off * moments.mean).sum(axis=1) * float(at.scale[0])
            changed[bias.name] = (bias.constant - shift).astype(np.float32)
        before = moments.error((nearest - wanted) * scale)
        figures[weights.name] = {
            "moved": int(np.count_nonzero(codes != nearest)),
            "error_left": moments.error(off) / max(before, 1e-300),
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


def _drawn(images: Images) -> list[Any]:
    """Some of the images: the same, in the same order, in whatever order they come."""

    def key(image: Any) -> bytes:
        parts = image if isinstance(image, tuple) else (image,)
        return blake2b(b"".join(np.ascontiguousarray(part).tobytes() for part in parts), digest_size=16).digest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = list(pool.map(lambda place: key(images[place]), range(len(images))))
    return [images[place] for place in sorted(range(len(images)), key=keys.__getitem__)[:_IMAGES]]


def _met(graph: Graph, entries: list[tuple[Op, QParams]], images: list[Any], progress: Progress) -> list[list[Array]]:
    """What every op's weights meet, image by image, in codes less their zero point, int16."""
    seen: list[list[Array]] = [[np.empty(0)] * len(images) for _ in entries]

    def look(place: int, outputs: list[Array]) -> None:
        for (op, params), values, rows in zip(entries, outputs, seen, strict=True):
            zero_point = int(params.zero_point[0])
            codes = np.rint(windows(graph, op, values, _PLACES) / params.scale[0])
            rows[place] = np.clip(codes, params.qmin - zero_point, params.qmax - zero_point).astype(np.int16)
        advance(1)

    with progress.track("compensation: what weights meet", len(images)) as advance:
        Model(graph.exposed([graph.tensors[op.inputs[0]] for op, _ in entries])).each(images, look)
    return seen


def round_in_turn(wanted: Array, nearest: Array, metric: Array, largest: int) -> Array:
    """Rounds weights one input after the other, each so as to make up for what those before it are off.

    With ``H = R^T R`` and R upper triangular, the error ``e H e^T`` is the sum of the squares of R's rows times e. The
    last row holds the last input alone, the one before it two inputs, and so on. So the last input is rounded first,
    and each other one to the integer that brings its own row nearest to 0, given those after it. Those that vary most
    come first, while many are left to make up for them (GPTQ's "act-order").

    The channel's largest code stays: by it quantization will find the channel's scale again.

    Args:
        wanted: The weights in units of their scale, ``(output channels, columns)``.
        nearest: Their nearest codes, of the same shape.
        metric: H, positive definite, ``(columns, columns)``, or one for each output channel.
        largest: The largest code; the smallest is its negative.

    Returns:
        The codes, float64.

    Example:
        Two inputs that are nearly equal: the second weight makes up for the first.

        >>> round_in_turn(np.array([[0.4, 0.4, 127.0]]), np.array([[0.0, 0.0, 127.0]]), np.array(
        ...     [[1.1, 1.0, 0.0], [1.0, 1.2, 0.0], [0.0, 0.0, 1.0]]), largest=127)
        array([[  1.,   0., 127.]])
    """
    shared = metric.ndim == 2
    # Groups of output channels that meet the same values: (groups, columns, columns) and (groups, columns, outputs).
    metric = metric[None] if shared else metric
    order = np.argsort(np.diagonal(metric, axis1=1, axis2=2), axis=1, kind="stable")
    each = np.arange(len(metric))[:, None]
    goal, alone = ((rows.T[None] if shared else rows[..., None])[each, order] for rows in (wanted, nearest))
    metric = metric[each[..., None], order[:, :, None], order[:, None, :]]
    # NumPy's factor is the lower one, R^T. Rows are divided by their diagonal.
    rows = np.linalg.cholesky(metric).swapaxes(1, 2)
    rows = rows / np.diagonal(rows, axis1=1, axis2=2)[..., None]
    size = goal.shape[1]
    held = np.abs(alone).argmax(axis=1)[:, None] == np.arange(size)[:, None]
    off, codes = np.zeros_like(goal), np.zeros_like(goal)
    for stop in range(size, 0, -_BLOCK):
        start = max(0, stop - _BLOCK)
        block = goal[:, start:stop] - rows[:, start:stop, stop:] @ off[:, stop:]
        for k in range(stop - 1, start - 1, -1):
            best = np.clip(np.rint(block[:, k - start]), -largest, largest)
            codes[:, k] = np.where(held[:, k], alone[:, k], best)
            off[:, k] = codes[:, k] - goal[:, k]
            block[:, : k - start] -= rows[:, start:k, k, None] * off[:, k, None]
    made = np.empty_like(codes)
    made[each, order] = codes
    return made[0].T if shared else made[..., 0]
