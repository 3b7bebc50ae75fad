"""AdaRound: learns op by op whether to round each weight up or down, so that the op's output error is lowest.

Nagel et al. 2020, "Up or down? Adaptive rounding for post-training quantization" (arXiv 2004.10568, section 3.3). An op
with rounded weights gets as inputs the outputs of the ops before it with their rounded weights. Learning minimizes the
squared difference of its output, after the activation function, from the float network's (equation 25). A weight is its
lower code plus a learned share of a step, the rectified sigmoid of a variable (equation 23). A penalty drives that
share to 0 or 1 (equation 24).

With few codes the largest weight is not worth a code of its own. Where a format's scales may be chosen freely, each
channel's has the least squared error, and each weight counts by the variance of the input that it multiplies.

`octavo.tuning.compensate` minimizes a simpler error in a fraction of the time: that of each op alone, on the float
network's inputs, before the activation function. At 8 bits the two are about equally good. At 4 bits AdaRound is
better, because later ops compensate for the error of earlier ones.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from octavo.base.progress import Progress
from octavo.quantization.clipped_weights import least_squares
from octavo.quantization.observers import Images
from octavo.quantization.precision import format_of
from octavo.quantization.ranges import Ranges
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import TABLE, bias_of, clips
from octavo.tuning.content_order import Ordered
from octavo.tuning.im2col import from_kernels, kernels, known, windows
from octavo.tuning.op_by_op import OpByOp, starts_of
from octavo.tuning.tuning_pass import Plan, Tuned, TuningPass, error_left

Array = npt.NDArray[Any]

# How many output positions of an op learning uses, over all images together, and how many of them in one step. A
# quarter of the positions is enough for a depthwise kernel, which has few weights per channel.
_PLACES = 16384
_BATCH = 256
_STEPS = 1000
# Adam's learning rate, and the share of the steps at the start without the penalty.
_RATE = 1e-2
_WARM = 0.2
# The penalty's weight, relative to an error of 1 for rounding to nearest; and its exponent at the start and the end.
_PENALTY = 1.0
_EXPONENTS = (20.0, 2.0)
# An op is not learned if rounding to nearest adds less than this share to the error that its inputs already cause.
_ADDED = 0.05
# A squared error below this counts as zero.
_NOTHING = 1e-18
# The bounds to which the sigmoid is stretched, so that it reaches 0 and 1 (equation 23).
_LOW, _HIGH = -0.1, 1.1
# How many weights are learned at once: as many as fit into a core's cache with their gradients and moments.
_AT_ONCE = 32768


@dataclass(frozen=True)
class Reconstruction:
    """The data from which the rounding of some output channels' weights is learned.

    The channels of a depthwise convolution are groups of one output each; any other op is one group.

    Args:
        inputs: The op's input rows (im2col) when the ops before it are rounded, ``(groups, places, columns)``, float32.
        wanted: The float network's outputs at the same positions, ``(groups, places, outputs)``.
        offset: Added to the products of inputs and weights, ``(groups, 1, outputs)``.
        caps: The bounds at which the activation function clips.
    """

    inputs: Array
    wanted: Array
    offset: Array
    caps: tuple[float, float]

    def part(self, channels: slice) -> Reconstruction:
        """The same data for some of the channels."""
        if len(self.inputs) > 1:
            return Reconstruction(self.inputs[channels], self.wanted[channels], self.offset[channels], self.caps)
        return Reconstruction(self.inputs, self.wanted[..., channels], self.offset[..., channels], self.caps)

    def error(self, weights: Array) -> Array:
        """The mean squared error of every output, ``(groups, outputs, 1)``.

        Args:
            weights: ``(groups, outputs, columns)``, float32.
        """
        off, _ = self._off(weights, slice(None))
        return np.asarray(np.square(off).mean(axis=1, dtype=np.float64)[..., None])

    def slope(self, weights: Array, places: slice) -> Array:
        """The gradient of the error at some positions with respect to the weights, in their shape."""
        off, inside = self._off(weights, places)
        return np.asarray(2 / off.shape[1] * ((off * inside).transpose(0, 2, 1) @ self.inputs[:, places]))

    def _off(self, weights: Array, places: slice) -> tuple[Array, Array]:
        products = self.inputs[:, places] @ weights.transpose(0, 2, 1) + self.offset
        low, high = self.caps
        return np.clip(products, low, high) - self.wanted[:, places], (products > low) & (products < high)


def adaround(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Rounds each weight of a float graph up or down, whichever learning found to lower the output error.

    The new weights are exactly the values of the chosen codes, so quantization finds the same codes again. Where scales
    are chosen too, the ranges hold them (`Ranges.weights`). Learning uses the images in an order that depends only on
    their content, so the order of `images` has no effect.
    """
    images, table = Ordered(images), plan(graph, ranges)
    ops, unchanged = known(graph, table)
    starts = starts_of(graph)
    float_run, rounded_run = OpByOp(images), OpByOp(images)
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}
    learned: list[str] = []
    # One part of the weights per core. BLAS would use several cores too, and they would wait for each other.
    with progress.track("adaround", len(ops)) as advance, threadpool_limits(1, "blas"):
        for op in ops:
            weights, bias = graph.tensors[op.inputs[1]], bias_of(graph, op)
            entry = table.at(op, graph.tensors[op.inputs[0]])
            assert entry is not None and weights.constant is not None
            rows = _input_rows(graph, op, float_run, starts[op.index])
            rounded = _input_rows(graph.replaced(changed), op, rounded_run, starts[op.index])
            rounded = entry.dequantize(entry.quantize(rounded))
            real = _grouped(op, kernels(op, weights.constant))
            # The scales that training learns are those that need not hold the largest weight.
            if format_of(graph, op, table.precision).learned:
                ranges = _with_range(ranges, weights.name, real, rounded, table.stored[weights.name].qmax)
                table = plan(graph, ranges)
            stored = table.stored[weights.name]
            nearest = _grouped(op, kernels(op, stored.quantize(weights.constant)))
            # One scale per channel, or one for all.
            scale = np.broadcast_to(stored.scale.astype(np.float64).reshape(-1, 1), (real[..., 0].size, 1))
            scale = scale.reshape(*real.shape[:2], 1)
            task = _task(op, real, None if bias is None else bias.constant, rows, rounded)
            least = task.error((nearest * scale).astype(np.float32)).sum()
            codes = nearest
            if least > (1 + _ADDED) * task.error(real.astype(np.float32)).sum():
                codes = learn(task, real / scale, nearest, scale, stored.qmax)
                learned.append(weights.name)
            made = codes * scale
            changed[weights.name] = from_kernels(op, made.reshape(-1, made.shape[2]), weights.shape).astype(np.float32)
            if bias is not None and bias.constant is not None:
                # The bias corrects the mean shift that the rounded weights cause.
                shift = (made * _mean(rounded) - real * _mean(rows)).sum(axis=2)
                changed[bias.name] = (bias.constant - shift.ravel()).astype(np.float32)
            figures[weights.name] = {
                "moved": int(np.count_nonzero(codes != nearest)),
                "error_left": float(task.error(made.astype(np.float32)).sum() / max(least, 1e-300)),
            }
            advance(1)
    summary = f"Learned whether to round up or down the weights of {len(learned)} ops"
    if rest := len(ops) - len(learned):
        summary += f" (for {rest} more, rounding adds next to nothing to the error of their inputs)"
    summary += error_left({name: figures[name] for name in learned})
    return Tuned(graph.replaced(changed), ranges, summary, tuple(unchanged), figures)


def _with_range(ranges: Ranges, name: str, real: Array, inputs: Array, largest: int) -> Ranges:
    """The ranges with those of some weights, ``(groups, outputs, columns)``, that suit their inputs best."""
    variance = np.square(inputs - _mean(inputs)).mean(axis=1, keepdims=True)
    rows, importance = (np.broadcast_to(a, real.shape).reshape(-1, real.shape[2]).T for a in (real, variance))
    found = tuple(least_squares(rows, largest, importance).tolist())
    return replace(ranges, weights={**ranges.weights, name: found})


ADAROUND = TuningPass(adaround)


def _grouped(op: Op, rows: Array) -> Array:
    """Rows of weights, ``(output channels, columns)``, as ``(groups, outputs, columns)``."""
    return rows[:, None] if TABLE[op.kind].depthwise else rows[None]


def _mean(rows: Array) -> Array:
    """The mean of the input rows, ``(groups, 1, columns)``."""
    return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64))


def _input_rows(graph: Graph, op: Op, run: OpByOp, start: Tensor | None) -> Array:
    """An op's input rows, ``(groups, places, columns)``; the positions do not depend on the graph's constants."""
    each: list[Array] = [np.empty(0)] * len(run)
    places = _PLACES // 4 if TABLE[op.kind].depthwise else _PLACES
    most, to_rows = max(1, places // len(run)), windows(graph, op)

    def look(place: int, outputs: list[Array]) -> None:
        rows = to_rows(outputs[0])
        if len(rows) > most:
            rows = rows[np.random.default_rng(place).choice(len(rows), most, replace=False)]
        each[place] = rows.astype(np.float32, copy=True)

    run.start(graph, start)
    run.each(graph, graph.tensors[op.inputs[0]], look)
    rows = np.concatenate(each)
    # Shuffled once, so that each batch has rows of many images.
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return np.ascontiguousarray(rows.transpose(2, 0, 1)) if rows.ndim == 3 else rows[None]


def _task(op: Op, real: Array, bias: Array | None, rows: Array, rounded: Array) -> Reconstruction:
    products = rows @ real.transpose(0, 2, 1).astype(np.float32)
    offset = np.zeros((len(real), 1, real.shape[1]), np.float32)
    if bias is not None:
        products += bias.reshape(offset.shape)
        # The bias corrects the mean later, whatever the weights are, so it is left out of the error.
        rounded, offset = rounded - _mean(rounded).astype(np.float32), products.mean(axis=1, keepdims=True)
    caps = clips(op)
    return Reconstruction(rounded, np.clip(products, *caps), offset, caps)


def learn(task: Reconstruction, wanted: Array, nearest: Array, scale: Array, largest: int) -> Array:
    """Learns for each weight which of its two neighbouring codes lowers the error of its output.

    Every output is learned separately. An output that learning did not improve keeps its nearest codes. So does a
    weight at or beyond the largest code: if a channel's largest weight sets the scale, quantization finds it again.

    Args:
        task: The data to learn from.
        wanted: The weights in units of their scale, ``(groups, outputs, columns)``.
        nearest: The nearest codes, of the same shape.
        scale: Of every output, ``(groups, outputs, 1)``.
        largest: The largest code; the smallest is its negative.

    Returns:
        The codes, float64.

    Example:
        Two inputs that are always equal, so that one weight can compensate for the other:

        >>> one = np.random.default_rng(0).normal(size=(1, 512, 1)).astype(np.float32)
        >>> rows = one * np.array([1, 1, 0], np.float32)
        >>> wanted, scale = np.array([[[0.3, 0.4, 7.0]]]), np.ones((1, 1, 1))
        >>> task = Reconstruction(rows, rows @ wanted.transpose(0, 2, 1), np.zeros((1, 1, 1)), (-np.inf, np.inf))
        >>> learn(task, wanted, np.rint(wanted), scale, largest=7)
        array([[[0., 1., 7.]]])
    """
    # The outputs are divided in the same way for any number of cores, so the result is the same.
    size = max(1, _AT_ONCE // wanted.shape[2])
    axis = 0 if len(wanted) > 1 else 1
    parts = [slice(first, first + size) for first in range(0, wanted.shape[axis], size)]

    def one(part: slice) -> Array:
        mine = (part,) if axis == 0 else (slice(None), part)
        mine_nearest, mine_scale = nearest[mine], scale[mine].astype(np.float32)
        part_task = task.part(part)
        before = part_task.error(mine_nearest.astype(np.float32) * mine_scale)
        codes = _learned(part_task, wanted[mine], mine_nearest, mine_scale, before, largest)
        return np.where(part_task.error(codes.astype(np.float32) * mine_scale) < before, codes, mine_nearest)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(one, parts)), axis=axis)


def _learned(task: Reconstruction, wanted: Array, nearest: Array, scale: Array, before: Array, largest: int) -> Array:
    lower = np.floor(wanted)
    # Scales are float32, so the largest weight can be a little below its code.
    held = np.abs(wanted) >= largest * (1 - 1e-6)
    share = np.clip((wanted - lower - _LOW) / (_HIGH - _LOW), 1e-3, 1 - 1e-3)
    # Equation 23: each share starts at the weight's own value.
    variables = np.log(share / (1 - share)).astype(np.float32)
    base = lower.astype(np.float32)
    # If rounding to nearest has no error, as in a channel that is always clipped, there is nothing to learn.
    unit = np.where(before > _NOTHING, scale / np.maximum(before, _NOTHING), 0.0).astype(np.float32)
    first, second = np.zeros_like(variables), np.zeros_like(variables)
    batches = [slice(start, start + _BATCH) for start in range(0, task.inputs.shape[1], _BATCH)]
    for step in range(_STEPS):
        sigmoid = 1 / (1 + np.exp(-variables))
        soft = np.clip(sigmoid * (_HIGH - _LOW) + _LOW, 0, 1)
        slope = task.slope((base + soft) * scale, batches[step % len(batches)]) * unit
        slope -= _PENALTY / wanted.shape[2] * _pull(soft, step / _STEPS)
        slope *= (_HIGH - _LOW) * sigmoid * (1 - sigmoid) * ((soft > 0) & (soft < 1))
        # Adam (Kingma & Ba 2014, arXiv 1412.6980, algorithm 1).
        first += 0.1 * (slope - first)
        second += 0.001 * (slope * slope - second)
        rate = _RATE * float(np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1)))
        variables -= rate * first / (np.sqrt(second) + np.float32(1e-12))
    return np.where(held, nearest, lower + (variables >= 0))


def _pull(soft: Array, done: float) -> Array:
    """The gradient of ``|2 soft - 1| ** exponent``, which equation 24 drives to 1; zero during the warm-up."""
    if done < _WARM:
        return np.zeros_like(soft)
    exponent = float(np.interp(done, (_WARM, 1), _EXPONENTS))
    signed = 2 * soft - 1
    return np.asarray(2 * exponent * np.sign(signed) * np.abs(signed) ** (exponent - 1))
