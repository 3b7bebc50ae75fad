"""Compensation: weights are rounded so that an op's outputs, not its weights, come out nearest.

Rounding each weight to the nearest code is best for the weights, and seldom for what they compute: the errors of
weights that meet correlated values can make up for one another. The squared output error of weights that are off by e
is ``e H e^T``, with ``H = E[x x^T]`` over the values x that they meet (Nagel et al. 2020, AdaRound, arXiv 2004.10568,
equation 20; Frantar et al. 2022, GPTQ, arXiv 2210.17323, section 3). Here codes are moved one input at a time, each to
the best integer while all others stay, over and over (coordinate descent, as Behdin et al. 2023, QuantEase, arXiv
2309.01885, section 3): every move lowers the error. No gradients, no training.

What the weights shift on average the bias takes out, so that H is the covariance of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.act import Plan, Tuned
from octavo.affine import QParams
from octavo.graph import Graph, Op
from octavo.observers import Images, Observer, fold
from octavo.progress import Progress
from octavo.ranges import Ranges
from octavo.windows import from_kernels, kernels, known, windows

Array = npt.NDArray[Any]

# Added to the diagonal of H, as a share of its mean: what too few images leave undetermined stays near the weights
# (GPTQ, section 3.3, step 3).
_DAMPING = 0.01
# Passes over all inputs of an op; the error hardly falls in later ones.
_SWEEPS = 6


@dataclass(frozen=True)
class Moments:
    """First and second moments of what an op's weights meet, in codes: exact integers held in float64.

    Args:
        count: How many places were seen.
        first: Sums, ``(columns,)``; of a depthwise convolution ``(output channels, taps)``.
        second: Sums of products, ``(columns, columns)``, or ``(output channels, taps, taps)``.
    """

    count: int
    first: Array
    second: Array

    def merged(self, other: Moments) -> Moments:
        """Both together."""
        second = np.add(self.second, other.second, dtype=np.float64)
        return Moments(self.count + other.count, self.first + other.first, second)

    @property
    def mean(self) -> Array:
        """Of the values, in codes."""
        return np.asarray(self.first / self.count)

    @property
    def covariance(self) -> Array:
        """Of the values, in codes squared."""
        return np.asarray(self.second / self.count - self.mean[..., :, None] * self.mean[..., None, :])


def compensate(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Moves the weights of a float graph to the codes that bring its ops' outputs nearest.

    The weights of the graph then are what the codes stand for, and quantization finds the codes again.
    """
    table = plan(graph, ranges)
    ops, left = known(graph, table)
    entries = [graph.tensors[op.inputs[0]] for op in ops]
    params = [table.at(op, entry) for op, entry in zip(ops, entries, strict=True)]
    rules = [_observer(graph, op, at) for op, at in zip(ops, params, strict=True) if at is not None]
    with progress.track("compensation: what weights meet", len(images)) as advance:
        states: list[Moments] = fold(graph, entries, images, rules, advance)
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}
    with progress.track("compensation: weights", len(ops)) as advance:
        for op, at, moments in zip(ops, params, states, strict=True):
            weights = graph.tensors[op.inputs[1]]
            assert at is not None and weights.constant is not None
            stored = table.of[weights.name]
            nearest = stored.quantize(weights.constant)
            # One scale a channel, or one for all.
            wanted = kernels(op, weights.constant) / stored.scale.astype(np.float64)[:, None]
            codes = descend(wanted, kernels(op, nearest), moments.covariance, stored.qmax)
            made = stored.dequantize(from_kernels(op, codes.astype(np.int8), weights.shape))
            changed[weights.name] = made
            off = kernels(op, made) - kernels(op, weights.constant)
            if len(op.inputs) > 2 and op.inputs[2] >= 0:
                bias = graph.tensors[op.inputs[2]]
                shift = (off * moments.mean).sum(axis=1) * float(at.scale[0])
                changed[bias.name] = (bias.constant - shift).astype(np.float32)
            before = kernels(op, stored.dequantize(nearest)) - kernels(op, weights.constant)
            figures[weights.name] = {
                "moved": int(np.count_nonzero(codes != kernels(op, nearest))),
                "error_left": _error(off, moments.covariance) / max(_error(before, moments.covariance), 1e-300),
            }
            advance(1)
    said = f"Moved the weights of {len(ops)} ops to the codes that bring their outputs nearest"
    if figures:
        said += f": {np.median([f['error_left'] for f in figures.values()]):.0%} of the squared error is left (median)"
    return Tuned(graph.replaced(changed), ranges, f"{said}.", tuple(left), figures)


def _observer(graph: Graph, op: Op, params: QParams) -> Observer:
    scale, zero_point = params.scale[0], int(params.zero_point[0])

    def update(state: Moments | None, values: Array) -> Moments:
        # Codes less their zero point, in float32: the products of one image's places sum to less than 2**24, exactly.
        met = np.clip(np.rint(windows(graph, op, values) / scale), params.qmin - zero_point, params.qmax - zero_point)
        if op.kind == "DEPTHWISE_CONV_2D":
            met = met.transpose(2, 1, 0)
            seen = Moments(met.shape[2], met.sum(axis=2, dtype=np.float64), met @ met.transpose(0, 2, 1))
        else:
            seen = Moments(len(met), met.sum(axis=0, dtype=np.float64), met.T @ met)
        return seen if state is None else state.merged(seen)

    def merge(first: Moments | None, second: Moments | None) -> Moments | None:
        return first if second is None else second if first is None else first.merged(second)

    return Observer(init=lambda: None, update=update, merge=merge, finish=lambda state: (0.0, 0.0))


def _error(off: Array, covariance: Array) -> float:
    """The squared error of the outputs, summed over channels, up to a factor that all weights of the op share."""
    return float((off * _times(off, covariance)).sum())


def _times(rows: Array, covariance: Array) -> Array:
    """Every output channel's row times the covariance, or times its own."""
    return rows @ covariance if covariance.ndim == 2 else np.einsum("oj,ojk->ok", rows, covariance)


def descend(wanted: Array, codes: Array, covariance: Array, largest: int) -> Array:
    """Moves codes until none can be moved alone to a lesser error ``(codes - wanted) H (codes - wanted)^T``.

    The channel's largest code stays: by it quantization will find the channel's scale again.

    Args:
        wanted: The weights in units of their scale, ``(output channels, columns)``.
        codes: Where to start, of the same shape.
        covariance: H, ``(columns, columns)``, or one for each output channel.
        largest: The largest code; the smallest is its negative.

    Returns:
        The codes.

    Example:
        Two inputs that are always equal: the second weight makes up for the first.

        >>> descend(np.array([[0.4, 0.4, 127.0]]), np.array([[0.0, 0.0, 127.0]]), np.array(
        ...     [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), largest=127)
        array([[  1.,   0., 127.]])
    """
    codes = codes.copy()
    places = np.arange(wanted.shape[1])
    diagonal = covariance[..., places, places]
    damping = _DAMPING * diagonal.mean(axis=-1, keepdims=True)
    curves = diagonal + damping
    off = codes - wanted
    pull = _times(off, covariance) + damping * off
    held = np.zeros(codes.shape, bool)
    held[np.arange(len(codes)), np.abs(codes).argmax(axis=1)] = True
    for _ in range(_SWEEPS):
        moved = False
        for k in places:
            curve = curves[..., k]
            best = np.clip(np.rint(codes[:, k] - pull[:, k] / np.where(curve > 0, curve, 1.0)), -largest, largest)
            step = np.where(held[:, k] | (curve <= 0), 0.0, best - codes[:, k])
            rows = np.flatnonzero(step)
            if len(rows) == 0:
                continue
            moved = True
            codes[rows, k] += step[rows]
            line = covariance[k] if covariance.ndim == 2 else covariance[rows, k]
            pull[rows] += step[rows, None] * line
            pull[rows, k] += step[rows] * (damping[0] if covariance.ndim == 2 else damping[rows, 0])
        if not moved:
            break
    return codes
