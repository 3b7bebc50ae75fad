"""The float kernels of all operators in Keras' backend-neutral ops: one function per kind, in one table.

A graph is written for a batch of 1, but here it runs on any batch. Every activation therefore has one more axis than in
the file, in front: ``(batch, *shape)``. An op on axis ``a`` of the file works on axis ``a + 1`` here, whatever it does
with the file's own first axis. Constants have the file's shape and broadcast from the right.

The formulas are those of TFLite's float reference kernels. Rounding to int8 is not done here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import activation, same_padding

Shape = tuple[int, ...]
Tensor = Any


@dataclass(frozen=True)
class Site:
    """One op in its graph: all that its kernel needs besides the values.

    Args:
        op: The op.
        inputs: Static shapes of its inputs in the file, ``()`` for an absent one.
        outputs: Static shapes of its outputs in the file.
        constants: For each input, its values if it is a constant, else None.
    """

    op: Op
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    constants: tuple[npt.NDArray[Any] | None, ...]

    @classmethod
    def of(cls, graph: Graph, op: Op) -> Site:
        """The site of an op."""

        def shape(index: int) -> Shape:
            return tuple(abs(n) for n in graph.tensors[index].shape) if index >= 0 else ()

        return cls(
            op,
            tuple(shape(i) for i in op.inputs),
            tuple(shape(i) for i in op.outputs),
            tuple(graph.tensors[i].constant if i >= 0 else None for i in op.inputs),
        )

    def integers(self, place: int) -> list[int]:
        """A constant input as integers: axes, sizes, paddings.

        Raises:
            ValueError: That input is computed.
        """
        values = self.constants[place]
        if values is None:
            raise ValueError(f"input {place} of {self.op} is computed, and must be constant")
        return [int(n) for n in values.ravel()]

    def axes(self, place: int) -> list[int]:
        """A constant input as axes of a batched value."""
        rank = len(self.inputs[0])
        return [axis % rank + 1 for axis in self.integers(place)]


Kernel = Callable[..., Tensor]


def batched(value: Tensor, shape: Sequence[int]) -> Tensor:
    """A value of another shape as ``(batch, *shape)``."""
    return ops.reshape(value, (-1, *shape))


def images(value: Tensor) -> Tensor:
    """A batched image tensor ``(batch, n, height, width, channels)`` with its first two axes as one."""
    return ops.reshape(value, (-1, *value.shape[2:]))


def fused(site: Site, value: Tensor) -> Tensor:
    """The activation function that the op's options ask for (schema: ActivationFunctionType)."""
    kind = activation(site.op)
    return value if kind is None else KERNELS[kind](site, value)


def without_activation(site: Site) -> Site:
    """The same op without the activation function that its options ask for."""
    options = copy.copy(site.op.options)
    if getattr(options, "fusedActivationFunction", 0):
        options.fusedActivationFunction = 0
    return replace(site, op=replace(site.op, options=options))


def add_bias(value: Tensor, bias: Tensor) -> Tensor:
    """``value + bias`` on the last axis."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Its gradient is one fused sum. The gradient of a broadcast + takes a large part of a training step.
        return tf.nn.bias_add(value, bias)
    return value + bias


def _padding(options: Any) -> str:
    return "same" if options.padding == 0 else "valid"


def _window(kernel: Callable[..., Tensor]) -> Kernel:
    """An op on images: `kernel` gets ``(batch, height, width, channels)``; its result gets the original axes again."""

    def run(site: Site, value: Tensor, *rest: Tensor) -> Tensor:
        return batched(kernel(site, images(value), *rest), site.outputs[0])

    return run


def _conv(site: Site, value: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights ``(height, width, in / groups, out)``."""
    o = site.op.options
    made = ops.conv(
        value,
        weights,
        strides=(o.strideH, o.strideW),
        padding=_padding(o),
        data_format="channels_last",
        dilation_rate=(o.dilationHFactor, o.dilationWFactor),
    )
    return fused(site, made if bias is None else add_bias(made, bias))


def _depthwise(site: Site, value: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights ``(height, width, in * multiplier)``: the file's channel order is Keras' own, flattened."""
    o = site.op.options
    height, width, channels = weights.shape
    made = ops.depthwise_conv(
        value,
        ops.reshape(weights, (height, width, value.shape[-1], channels // value.shape[-1])),
        strides=(o.strideH, o.strideW),
        padding=_padding(o),
        data_format="channels_last",
        dilation_rate=(o.dilationHFactor, o.dilationWFactor),
    )
    return fused(site, made if bias is None else add_bias(made, bias))


def _transpose_conv(site: Site, shape: Any, weights: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weights ``(height, width, in, out)``: the image with zeros between its pixels, under the flipped kernel."""
    o = site.op.options
    _, height, width, _ = site.outputs[0]
    x = images(value)
    for axis, stride in ((1, o.strideH), (2, o.strideW)):
        x = _dilated(x, axis, stride)
    pads = [
        _transpose_pads(size, stride, kernel, inner, o.padding == 0)
        for size, stride, kernel, inner in zip(
            (height, width), (o.strideH, o.strideW), weights.shape[:2], x.shape[1:3], strict=True
        )
    ]
    x = ops.pad(x, [(0, 0), *pads, (0, 0)])
    made = ops.conv(x, ops.flip(weights, (0, 1)), padding="valid", data_format="channels_last")
    return batched(fused(site, made if bias is None else add_bias(made, bias)), site.outputs[0])


def _dilated(value: Tensor, axis: int, stride: int) -> Tensor:
    """Zeros between the elements along an axis: ``(n - 1) * stride + 1`` of them in all."""
    if stride == 1:
        return value
    count = value.shape[axis]
    spread = ops.expand_dims(value, axis + 1)
    spread = ops.pad(spread, [(0, stride - 1) if a == axis + 1 else (0, 0) for a in range(len(spread.shape))])
    flat = ops.reshape(spread, (-1, *spread.shape[1:axis], count * stride, *spread.shape[axis + 2 :]))
    return flat[tuple(slice((count - 1) * stride + 1) if a == axis else slice(None) for a in range(len(flat.shape)))]


def _transpose_pads(size: int, stride: int, kernel: int, inner: int, same: bool) -> tuple[int, int]:
    """Zeros before and after, so that a valid convolution gives `size` elements, aligned as in the forward one."""
    # The padding of the convolution that this one transposes, as seen from its output.
    before = same_padding(size, kernel, stride)[1] if same else 0
    first = kernel - 1 - before
    return first, size + kernel - 1 - inner - first


def _dense(site: Site, value: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Constant weights are ``(in, out)``; computed ones, as in the file and batched, ``(out, in)``."""
    depth = site.inputs[1][-1]
    if site.constants[1] is None:
        made = ops.matmul(ops.reshape(value, (-1, _count(site.inputs[0]) // depth, depth)), ops.swapaxes(weights, 1, 2))
        return batched(fused(site, made if bias is None else made + bias), site.outputs[0])
    made = ops.matmul(ops.reshape(value, (-1, depth)), weights)
    return batched(fused(site, made if bias is None else add_bias(made, bias)), site.outputs[0])


def _matmul(site: Site, first: Tensor, second: Tensor) -> Tensor:
    first, second = _aligned(site, (first, second))
    if site.op.options.adjX:
        first = ops.swapaxes(first, -1, -2)
    if site.op.options.adjY:
        second = ops.swapaxes(second, -1, -2)
    return ops.matmul(first, second)


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _aligned(site: Site, values: Sequence[Tensor]) -> list[Tensor]:
    """Batched values with 1s after their batch axis up to the output's rank, so that they broadcast."""
    rank = len(site.outputs[0])
    return [
        value
        if constant is not None or len(shape) == rank
        else ops.reshape(value, (-1, *(1,) * (rank - len(shape)), *shape))
        for value, shape, constant in zip(values, site.inputs, site.constants, strict=False)
    ]


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda site, *values: fused(site, function(*_aligned(site, values)))


def _each(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda site, value: function(value)


def _reduce(function: Callable[..., Tensor]) -> Kernel:
    def run(site: Site, value: Tensor, axes: Any) -> Tensor:
        return function(value, axis=tuple(site.axes(1)), keepdims=bool(site.op.options.keepDims))

    return run


def _floor_divide(first: Tensor, second: Tensor) -> Tensor:
    """The quotient, rounded down. Unlike `ops.floor_divide`, it rounds a quotient that was rounded already."""
    quotient = first / second
    whole = ops.trunc(quotient)
    return whole - ops.cast(whole > quotient, whole.dtype)


def _prelu(site: Site, value: Tensor, slope: Tensor) -> Tensor:
    return ops.maximum(value, 0.0) + slope * ops.minimum(value, 0.0)


def _hard_swish(value: Tensor) -> Tensor:
    return value * ops.relu6(value + 3.0) * (1.0 / 6.0)


def _l2(site: Site, value: Tensor) -> Tensor:
    # The reference kernel applies the lower bound to the norm, not to its square.
    norm = ops.sqrt(ops.sum(ops.square(value), axis=-1, keepdims=True))
    return fused(site, value / ops.maximum(norm, 1e-6))


def _softmax(site: Site, value: Tensor) -> Tensor:
    return ops.softmax(value * site.op.options.beta, axis=-1)


def _pool(function: Callable[..., Tensor]) -> Kernel:
    def run(site: Site, value: Tensor) -> Tensor:
        o = site.op.options
        window, strides = (o.filterHeight, o.filterWidth), (o.strideH, o.strideW)
        return fused(site, function(value, window, strides, _padding(o), "channels_last"))

    return _window(run)


def _pad(site: Site, value: Tensor, paddings: Any, fill: Tensor | None = None) -> Tensor:
    widths = [(0, 0), *np.reshape(site.integers(1), (-1, 2)).tolist()]
    if fill is None:
        return ops.pad(value, widths)
    # Padding with a value that is itself rounded: shift, pad with 0, shift back.
    fill = ops.reshape(fill, ())
    return ops.pad(value - fill, widths) + fill


def _mirror_pad(site: Site, value: Tensor, paddings: Any) -> Tensor:
    widths = [(0, 0), *np.reshape(site.integers(1), (-1, 2)).tolist()]
    return ops.pad(value, widths, mode="reflect" if site.op.options.mode == 0 else "symmetric")


def _to_output(site: Site, value: Tensor, *shape: Any) -> Tensor:
    """Reshape, squeeze and similar ops: the output shape is in the file."""
    return batched(value, site.outputs[0])


def _transpose(site: Site, value: Tensor, order: Any) -> Tensor:
    return ops.transpose(value, (0, *(axis + 1 for axis in site.integers(1))))


def _concat(site: Site, *values: Tensor) -> Tensor:
    axis = site.op.options.axis % len(site.outputs[0])
    return fused(site, ops.concatenate(_all_batched(site, values), axis=axis + 1))


def _pack(site: Site, *values: Tensor) -> Tensor:
    axis = site.op.options.axis % len(site.outputs[0])
    return ops.stack(_all_batched(site, values), axis=axis + 1)


def _all_batched(site: Site, values: Sequence[Tensor]) -> list[Tensor]:
    """Gives constants among the values the batch of the others."""
    like = next(v for v, constant in zip(values, site.constants, strict=True) if constant is None)
    count = ops.shape(like)[0]
    return [
        v if constant is None else ops.broadcast_to(ops.expand_dims(v, 0), (count, *constant.shape))
        for v, constant in zip(values, site.constants, strict=True)
    ]


def _unpack(site: Site, value: Tensor) -> list[Tensor]:
    axis = site.op.options.axis % len(site.inputs[0])
    return list(ops.unstack(value, num=site.inputs[0][axis], axis=axis + 1))


def _split(site: Site, axis: Any, value: Tensor) -> list[Tensor]:
    place = site.integers(0)[0] % len(site.inputs[1])
    return list(ops.split(value, len(site.outputs), axis=place + 1))


def _split_v(site: Site, value: Tensor, sizes: Any, axis: Any) -> list[Tensor]:
    place = site.integers(2)[0] % len(site.inputs[0])
    ends = np.cumsum([shape[place] for shape in site.outputs])[:-1].tolist()
    return list(ops.split(value, ends, axis=place + 1))


def _slice(site: Site, value: Tensor, begin: Any, size: Any) -> Tensor:
    starts = site.integers(1)
    return value[(slice(None), *(slice(a, a + n) for a, n in zip(starts, site.outputs[0], strict=True)))]


def _strided_slice(site: Site, value: Tensor, begin: Any, end: Any, strides: Any) -> Tensor:
    o = site.op.options
    key: list[Any] = [slice(None)]
    begins, ends, steps = (site.integers(place) for place in (1, 2, 3))
    for bit, (first, last, step) in enumerate(zip(begins, ends, steps, strict=True)):
        flag = 1 << bit
        if o.ellipsisMask & flag:
            left = len(begins) - bit - 1
            key += [slice(None)] * (len(site.inputs[0]) - (len(key) - 1) - left)
        elif o.newAxisMask & flag:
            key.append(None)
        elif o.shrinkAxisMask & flag:
            key.append(first)
        else:
            key.append(slice(None if o.beginMask & flag else first, None if o.endMask & flag else last, step))
    return value[tuple(key)]


def _gather(site: Site, value: Tensor, indices: Any) -> Tensor:
    axis = site.op.options.axis % len(site.inputs[0])
    # Of a constant, such as a table of embeddings, computed indices choose, whose batch is that of what comes out.
    return ops.take(value, indices, axis=axis if site.constants[0] is not None else axis + 1)


def _gather_nd(site: Site, value: Tensor, indices: Any) -> Tensor:
    """Constant indices, whose last axis walks the file's first axes."""
    places = np.reshape(np.asarray(site.constants[1]), (-1, site.inputs[1][-1]))
    depth = places.shape[1]
    flat = np.ravel_multi_index(tuple(places.T), site.inputs[0][:depth])
    rows = ops.reshape(value, (-1, _count(site.inputs[0][:depth]), *site.inputs[0][depth:]))
    return batched(ops.take(rows, flat, axis=1), site.outputs[0])


def _one_hot(site: Site, indices: Tensor, depth: Any, on: Tensor, off: Tensor) -> Tensor:
    rank = len(site.inputs[0])
    axis = site.op.options.axis
    made = ops.one_hot(indices, site.integers(1)[0], axis=(axis if axis >= 0 else rank) + 1, dtype="float32")
    return ops.where(made > 0.5, on, off)


def _top_k(site: Site, value: Tensor, count: Any) -> list[Tensor]:
    return list(ops.top_k(value, site.integers(1)[0], sorted=True))


def _best(function: Callable[..., Tensor]) -> Kernel:
    return lambda site, value, axis: function(value, axis=site.axes(1)[0])


def _select(site: Site, chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    shape = site.inputs[0]
    if site.op.kind == "SELECT" and len(shape) == 1 < len(site.outputs[0]):
        # A vector chooses among rows.
        chosen = ops.reshape(chosen, (-1, *shape, *(1,) * (len(site.outputs[0]) - 1)))
        return ops.where(chosen, first, second)
    return ops.where(*_aligned(site, (chosen, first, second)))


def _tile(site: Site, value: Tensor, repeats: Any) -> Tensor:
    return ops.tile(value, (1, *site.integers(1)))


def _broadcast(site: Site, value: Tensor, shape: Any) -> Tensor:
    (value,) = _aligned(site, (value,))
    return ops.broadcast_to(value, (ops.shape(value)[0], *site.outputs[0]))


def _reverse(site: Site, value: Tensor, axes: Any) -> Tensor:
    return ops.flip(value, axis=site.axes(1))


def resize_weights(size: int, out: int, align_corners: bool, half_pixel: bool, nearest: bool) -> npt.NDArray[Any]:
    """Linear resampling along one axis as a matrix ``(out, size)``.

    TFLite's ``reference_ops::ComputeInterpolationValues`` and ``GetNearestNeighbor``.

    Example:
        >>> resize_weights(2, 4, False, True, nearest=False).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    scale = (size - 1) / (out - 1) if align_corners and out > 1 else size / out
    place = np.arange(out, dtype=np.float64)
    if nearest:
        ideal = (place + 0.5 if half_pixel else place) * scale
        chosen = np.floor(ideal + 0.5) if align_corners else np.floor(ideal)
        return np.asarray(np.eye(size, dtype=np.float32)[np.clip(chosen, 0, size - 1).astype(int)])
    ideal = (place + 0.5) * scale - 0.5 if half_pixel else place * scale
    low = np.clip(np.floor(ideal), 0, size - 1).astype(int)
    high = np.minimum(np.ceil(ideal), size - 1).clip(0).astype(int)
    share = np.clip(ideal - np.floor(ideal), 0, 1)
    weights = np.zeros((out, size))
    np.add.at(weights, (np.arange(out), low), 1 - share)
    np.add.at(weights, (np.arange(out), high), share)
    return weights.astype(np.float32)


def resize_matrices(site: Site, nearest: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """What `resample` needs to resize as an op asks: its `resize_weights` along height and width."""
    o = site.op.options
    height, width = (
        resize_weights(size, out, o.alignCorners, o.halfPixelCenters, nearest)
        for size, out in zip(site.inputs[0][1:3], site.outputs[0][1:3], strict=True)
    )
    return height, width


def resample(site: Site, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images resampled along both axes by matrices ``(out, size)``."""
    tall = ops.einsum("oh,nhwc->nowc", rows, images(value))
    return batched(ops.einsum("pw,nowc->nopc", columns, tall), site.outputs[0])


def _resize(nearest: bool) -> Kernel:
    def run(site: Site, value: Tensor, size: Any) -> Tensor:
        return resample(site, value, *map(ops.convert_to_tensor, resize_matrices(site, nearest)))

    return run


def _space_to_depth(site: Site, value: Tensor) -> Tensor:
    b = site.op.options.blockSize
    _, height, width, depth = value.shape
    split = ops.reshape(value, (-1, height // b, b, width // b, b, depth))
    return ops.transpose(split, (0, 1, 3, 2, 4, 5))


def _depth_to_space(site: Site, value: Tensor) -> Tensor:
    b = site.op.options.blockSize
    _, height, width, depth = value.shape
    split = ops.reshape(value, (-1, height, width, b, b, depth // (b * b)))
    return ops.transpose(split, (0, 1, 3, 2, 4, 5))


def _space_to_batch(site: Site, value: Tensor, block: Any, paddings: Any) -> Tensor:
    blocks = site.integers(1)
    value = ops.pad(value, [(0, 0), (0, 0), *np.reshape(site.integers(2), (-1, 2)).tolist(), (0, 0)])
    count, *inner, depth = value.shape[1:]
    spread = [part for n, b in zip(inner, blocks, strict=True) for part in (n // b, b)]
    split = ops.reshape(value, (-1, count, *spread, depth))
    # (batch, n, y, by, x, bx, c) -> (batch, by, bx, n, y, x, c)
    sizes = range(2, 2 + 2 * len(blocks), 2)
    return batched(ops.transpose(split, (0, *(a + 1 for a in sizes), 1, *sizes, len(split.shape) - 1)), site.outputs[0])


def _batch_to_space(site: Site, value: Tensor, block: Any, crops: Any) -> Tensor:
    blocks = site.integers(1)
    count, *inner, depth = value.shape[1:]
    split = ops.reshape(value, (-1, *blocks, count // _count(blocks), *inner, depth))
    # (batch, by, bx, n, y, x, c) -> (batch, n, y, by, x, bx, c)
    k = len(blocks)
    order = [axis for place in range(k) for axis in (k + 2 + place, 1 + place)]
    joined = ops.transpose(split, (0, k + 1, *order, 2 * k + 2))
    full = [n * b for n, b in zip(inner, blocks, strict=True)]
    whole = ops.reshape(joined, (-1, count // _count(blocks), *full, depth))
    cuts = np.reshape(site.integers(2), (-1, 2)).tolist()
    return whole[(slice(None), slice(None), *(slice(a, n - b) for (a, b), n in zip(cuts, full, strict=True)))]


KERNELS: Mapping[str, Kernel] = {
    "CONV_2D": _window(_conv),
    "DEPTHWISE_CONV_2D": _window(_depthwise),
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "BATCH_MATMUL": _matmul,
    "ADD": _pairwise(ops.add),
    "SUB": _pairwise(ops.subtract),
    "MUL": _pairwise(ops.multiply),
    "DIV": _pairwise(ops.divide),
    "POW": _pairwise(ops.power),
    "FLOOR_DIV": _pairwise(_floor_divide),
    "FLOOR_MOD": _pairwise(ops.mod),
    "ATAN2": _pairwise(ops.arctan2),
    "MAXIMUM": _pairwise(ops.maximum),
    "MINIMUM": _pairwise(ops.minimum),
    "SQUARED_DIFFERENCE": _pairwise(lambda a, b: ops.square(a - b)),
    "MEAN": _reduce(ops.mean),
    "SUM": _reduce(ops.sum),
    "REDUCE_MAX": _reduce(ops.max),
    "REDUCE_MIN": _reduce(ops.min),
    "EQUAL": _pairwise(ops.equal),
    "NOT_EQUAL": _pairwise(ops.not_equal),
    "GREATER": _pairwise(ops.greater),
    "GREATER_EQUAL": _pairwise(ops.greater_equal),
    "LESS": _pairwise(ops.less),
    "LESS_EQUAL": _pairwise(ops.less_equal),
    "LOGICAL_AND": _pairwise(ops.logical_and),
    "LOGICAL_OR": _pairwise(ops.logical_or),
    "LOGICAL_NOT": _each(ops.logical_not),
    "ARG_MAX": _best(ops.argmax),
    "ARG_MIN": _best(ops.argmin),
    "ABS": _each(ops.abs),
    "NEG": _each(ops.negative),
    "SQUARE": _each(ops.square),
    "SQRT": _each(ops.sqrt),
    "RSQRT": _each(ops.rsqrt),
    "EXP": _each(ops.exp),
    "LOG": _each(ops.log),
    "SIN": _each(ops.sin),
    "COS": _each(ops.cos),
    "FLOOR": _each(ops.floor),
    "CEIL": _each(ops.ceil),
    "ROUND": _each(ops.round),
    "SIGN": _each(ops.sign),
    "RELU": _each(ops.relu),
    "RELU6": _each(ops.relu6),
    "RELU_N1_TO_1": _each(lambda x: ops.clip(x, -1.0, 1.0)),
    "RELU_0_TO_1": _each(lambda x: ops.clip(x, 0.0, 1.0)),
    "LEAKY_RELU": lambda site, x: ops.leaky_relu(x, negative_slope=site.op.options.alpha),
    "PRELU": _prelu,
    "HARD_SWISH": _each(_hard_swish),
    "GELU": lambda site, x: ops.gelu(x, approximate=bool(site.op.options.approximate)),
    "ELU": _each(ops.elu),
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _each(ops.log_softmax),
    "LOGISTIC": _each(ops.sigmoid),
    "TANH": _each(ops.tanh),
    "L2_NORMALIZATION": _l2,
    "AVERAGE_POOL_2D": _pool(ops.average_pool),
    "MAX_POOL_2D": _pool(ops.max_pool),
    "CONCATENATION": _concat,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SELECT": _select,
    "SELECT_V2": _select,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "TOPK_V2": _top_k,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "RESHAPE": _to_output,
    "SQUEEZE": _to_output,
    "EXPAND_DIMS": _to_output,
    "TRANSPOSE": _transpose,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast,
    "REVERSE_V2": _reverse,
    "RESIZE_BILINEAR": _resize(nearest=False),
    "RESIZE_NEAREST_NEIGHBOR": _resize(nearest=True),
    "SPACE_TO_DEPTH": _window(_space_to_depth),
    "DEPTH_TO_SPACE": _window(_depth_to_space),
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
}

# Where a kernel takes computed whole numbers or truth values, by kind and place; all others want constants there.
COMPUTED: Mapping[str, tuple[int, ...]] = {
    "GATHER": (1,),
    "ONE_HOT": (0,),
    "SELECT": (0,),
    "SELECT_V2": (0,),
    "LOGICAL_AND": (0, 1),
    "LOGICAL_OR": (0, 1),
    "LOGICAL_NOT": (0,),
    "RESHAPE": (0,),
    "SQUEEZE": (0,),
    "EXPAND_DIMS": (0,),
}
