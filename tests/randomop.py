"""Hypothesis strategies of float models of one op: random shapes and attributes for every row of the op table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from oneop import Shape, weights

Draw = Callable[[Any], Any]
# A function of one tensor, the shape of its input, and the range of values to feed.
Case = tuple[Callable[[Any], Any], Shape, tuple[float, float]]

WIDE = (-2.0, 2.0)
POSITIVE = (0.25, 4.0)
CHANNELS = st.integers(1, 5)
SIDE = st.integers(5, 9)
PADDING = st.sampled_from(["SAME", "VALID"])


def _image(draw: Draw) -> Shape:
    return 1, draw(SIDE), draw(SIDE), draw(CHANNELS)


def _any(draw: Draw) -> Shape:
    return 1, *draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))


def _seed(draw: Draw) -> int:
    return int(draw(st.integers(0, 99)))


def _end(draw: Draw) -> Callable[[Any], Any]:
    import tensorflow as tf

    return draw(st.sampled_from([lambda x: x, tf.nn.relu, tf.nn.relu6]))


def _conv(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    depth = shape[3]
    groups = draw(st.sampled_from([n for n in (1, 2, 3) if depth % n == 0]))
    stride, dilation = draw(st.sampled_from([(1, 1), (2, 1), ([1, 1, 2, 1], 1), (1, 2)]))
    filters, end, seed = groups * draw(st.integers(1, 4)), _end(draw), _seed(draw)
    kernel = weights(draw(st.integers(1, 2)), draw(st.integers(1, 3)), depth // groups, filters, seed=seed)
    bias = weights(filters, seed=seed + 1) if draw(st.booleans()) else 0.0
    padding = draw(PADDING)
    return lambda x: end(tf.nn.conv2d(x, kernel, stride, padding, dilations=dilation) + bias), shape, WIDE


def _depthwise(draw: Draw) -> Case:
    import tensorflow as tf

    # One channel would be written as a convolution.
    shape = 1, draw(SIDE), draw(SIDE), draw(st.integers(2, 5))
    stride, dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]))
    multiplier, end, seed, padding = draw(st.integers(1, 3)), _end(draw), _seed(draw), draw(PADDING)
    kernel = weights(draw(st.integers(1, 2)), draw(st.integers(2, 3)), shape[3], multiplier, seed=seed)
    bias = weights(shape[3] * multiplier, seed=seed + 1)
    strides = [1, stride, stride, 1]
    return (
        lambda x: end(tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=[dilation] * 2) + bias),
        shape,
        WIDE,
    )


def _transpose_conv(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    stride, size, filters, padding = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(CHANNELS), draw(PADDING)
    size = max(size, stride)
    out = [1, *(n * stride if padding == "SAME" else (n - 1) * stride + size for n in shape[1:3]), filters]
    kernel = weights(size, size, filters, shape[3], seed=_seed(draw))
    return lambda x: tf.nn.conv2d_transpose(x, kernel, out, stride, padding), shape, WIDE


def _dense(draw: Draw) -> Case:
    import tensorflow as tf

    shape = 1, *draw(st.lists(st.integers(2, 6), max_size=2)), draw(st.integers(2, 40))
    units, end, seed = draw(st.integers(2, 9)), _end(draw), _seed(draw)
    kernel = weights(shape[-1], units, seed=seed)
    bias = weights(units, seed=seed + 1) if draw(st.booleans()) else 0.0
    return lambda x: end(tf.matmul(x, kernel) + bias), shape, WIDE


def _matmul(draw: Draw) -> Case:
    import tensorflow as tf

    shape = 1, draw(st.integers(2, 4)), draw(st.integers(2, 6)), draw(st.integers(2, 6))
    if draw(st.booleans()):
        return lambda x: tf.matmul(x, x, transpose_b=True), shape, WIDE
    other = weights(shape[1], shape[2], 3, seed=_seed(draw))
    return lambda x: tf.matmul(tf.transpose(x, [0, 1, 3, 2]), other), shape, WIDE


def _binary(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        function = {"squared_difference": tf.math.squared_difference}.get(name) or getattr(tf, name)
        shape = 1, *draw(st.lists(st.integers(2, 6), min_size=2, max_size=3))
        end = _end(draw) if name in ("add", "subtract", "multiply") else (lambda x: x)
        computed, swapped = draw(st.booleans()), draw(st.booleans())
        kept = draw(st.integers(1, len(shape) - 1))
        constant = weights(*shape[-kept:], seed=_seed(draw), scale=1.0)
        axis = draw(st.integers(1, len(shape) - 1))

        def run(x: Any) -> Any:
            other = tf.reduce_max(x, axis, keepdims=True) if computed else constant
            return end(function(other, x) if swapped else function(x, other))

        return run, shape, WIDE

    return case


def _unary(name: str, values: tuple[float, float] = WIDE) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        found = tf
        for part in name.split("."):
            found = getattr(found, part)
        return (lambda x: found(x)), _any(draw), values

    return case


def _of(function: Callable[[Any, Any], Any], values: tuple[float, float] = WIDE) -> Callable[[Draw], Case]:
    """A function of TensorFlow and a tensor, on any shape."""

    def case(draw: Draw) -> Case:
        import tensorflow as tf

        return (lambda x: function(tf, x)), _any(draw), values

    return case


def _leaky(draw: Draw) -> Case:
    import tensorflow as tf

    alpha = draw(st.floats(0.05, 0.5))
    return (lambda x: tf.nn.leaky_relu(x, alpha)), _any(draw), WIDE


def _prelu(draw: Draw) -> Case:
    import tensorflow as tf

    shape = 1, draw(SIDE), draw(SIDE), draw(st.integers(2, 5))
    slope = weights(1, 1, shape[3], seed=_seed(draw), scale=0.2)
    return (lambda x: tf.nn.relu(x) + tf.nn.relu(-x) * slope), shape, WIDE


def _gelu(draw: Draw) -> Case:
    import tensorflow as tf

    approximate = draw(st.booleans())
    return (lambda x: tf.nn.gelu(x, approximate=approximate)), _any(draw), (-4.0, 4.0)


def _hard_swish(draw: Draw) -> Case:
    import tensorflow as tf

    return (lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6)), _image(draw), (-5.0, 5.0)


def _reduce(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        shape, keep = (1, *(draw(st.integers(2, 8)) for _ in range(3))), draw(st.booleans())
        axes = draw(st.sampled_from([[1, 2], [-1], [1], [2], [-2, -1], [1, 2, 3]]))
        return (lambda x: getattr(tf, name)(x, axes, keepdims=keep)), shape, WIDE

    return case


def _pool(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        window = [draw(st.integers(1, 4)), draw(st.integers(2, 3))]
        stride, padding = draw(st.integers(1, 3)), draw(PADDING)
        return (lambda x: getattr(tf.nn, name)(x, window, stride, padding)), _image(draw), WIDE

    return case


def _axis(draw: Draw, shape: Shape) -> int:
    return int(draw(st.integers(1, len(shape) - 1)))


def _concat(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    axis, constant = _axis(draw, shape), weights(*shape, seed=_seed(draw)) if draw(st.booleans()) else None
    return (
        lambda x: tf.concat([x, tf.nn.max_pool2d(x, 3, 1, "SAME") if constant is None else constant], axis),
        shape,
        WIDE,
    )


def _pack(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    axis = _axis(draw, shape)
    return (lambda x: tf.stack([x, tf.nn.max_pool2d(x, 3, 1, "SAME")], axis)), shape, WIDE


def _unpack(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    axis = draw(st.sampled_from([n for n in (1, 2) if shape[n] > 1]))
    place = draw(st.integers(0, shape[axis] - 1))
    return (lambda x: tf.unstack(x, axis=axis)[place]), shape, WIDE


def _split(draw: Draw) -> Case:
    import tensorflow as tf

    parts, size = draw(st.integers(2, 3)), draw(st.integers(1, 3))
    shape = 1, 5, 4, parts * size
    return (lambda x: tf.split(x, parts, -1)[parts - 1]), shape, WIDE


def _split_v(draw: Draw) -> Case:
    import tensorflow as tf

    first, second = draw(st.sampled_from([(1, 3), (2, 1), (3, 2)]))
    return (lambda x: tf.split(x, [first, second], 2)[1]), (1, 5, first + second, 3), WIDE


def _slice(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    begin = [0, *(draw(st.integers(0, n - 1)) for n in shape[1:])]
    size = [1, *(draw(st.integers(1, n - a)) for a, n in zip(begin[1:], shape[1:], strict=True))]
    return (lambda x: tf.slice(x, begin, size)), shape, WIDE


def _strided(draw: Draw) -> Case:
    shape = 1, draw(SIDE), draw(SIDE), draw(st.integers(2, 5))
    rows, columns = draw(
        st.sampled_from([(slice(None, None, 2), slice(1, -1)), (slice(1, None), slice(None, None, 3))])
    )
    last = draw(st.sampled_from([slice(None), 1, slice(0, 1), slice(None, None, -1)]))
    return (lambda x: x[:, rows, columns, last]), shape, WIDE


def _gather(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    axis = draw(st.integers(1, 3))
    chosen = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=2, max_size=5))
    return (lambda x: tf.gather(x, chosen, axis=axis)), shape, WIDE


def _pads(draw: Draw) -> list[list[int]]:
    return [[0, 0], *([draw(st.integers(0, 2)), draw(st.integers(1, 2))] for _ in range(2)), [0, 0]]


def _pad(draw: Draw) -> Case:
    import tensorflow as tf

    pads = _pads(draw)
    return (lambda x: tf.pad(x, pads)), _image(draw), WIDE


def _pad_v2(draw: Draw) -> Case:
    import tensorflow as tf

    pads, fill = _pads(draw), draw(st.floats(-3, 3, width=32).filter(bool))
    return (lambda x: tf.pad(x, pads, constant_values=fill)), _image(draw), WIDE


def _mirror(draw: Draw) -> Case:
    import tensorflow as tf

    pads, mode = _pads(draw), draw(st.sampled_from(["REFLECT", "SYMMETRIC"]))
    return (lambda x: tf.pad(x, pads, mode)), _image(draw), WIDE


def _reshape(draw: Draw) -> Case:
    import tensorflow as tf

    _, height, width, depth = shape = _image(draw)
    into = draw(st.sampled_from([[1, height * width, depth], [1, -1], [1, depth, width, height], [1, 1, -1, depth]]))
    return (lambda x: tf.reshape(x, into)), shape, WIDE


def _transpose(draw: Draw) -> Case:
    import tensorflow as tf

    order = [0, *draw(st.permutations([1, 2, 3]).filter(lambda p: p != [1, 2, 3]))]
    # An axis of 1 that moves is a reshape.
    return (lambda x: tf.transpose(x, order)), (1, 4, 5, 3), WIDE


def _tile(draw: Draw) -> Case:
    import tensorflow as tf

    times = [1, *(draw(st.integers(1, 3)) for _ in range(2)), 2]
    return (lambda x: tf.tile(x, times)), _image(draw), WIDE


def _broadcast(draw: Draw) -> Case:
    import tensorflow as tf

    shape = draw(st.sampled_from([(1, 1, 6, 4), (1, 5, 1, 4), (1, 5, 6, 1), (1, 4)]))
    return (lambda x: tf.broadcast_to(x, [1, 5, 6, 4])), shape, WIDE


def _reverse(draw: Draw) -> Case:
    import tensorflow as tf

    shape = 1, 5, 6, 4
    axis = draw(st.integers(1, 3))
    return (lambda x: tf.reverse(x, [axis])), shape, WIDE


def _resize(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        shape, size = _image(draw), [draw(st.integers(2, 12)), draw(st.integers(13, 16))]
        align, half = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
        made = getattr(tf.raw_ops, name)
        return (lambda x: made(images=x, size=size, align_corners=align, half_pixel_centers=half)), shape, WIDE

    return case


def _space_to_depth(draw: Draw) -> Case:
    import tensorflow as tf

    block = draw(st.integers(2, 3))
    shape = 1, block * draw(st.integers(1, 3)), block * draw(st.integers(1, 3)), draw(CHANNELS)
    return (lambda x: tf.nn.space_to_depth(x, block)), shape, WIDE


def _depth_to_space(draw: Draw) -> Case:
    import tensorflow as tf

    block = draw(st.integers(2, 3))
    shape = 1, draw(st.integers(2, 4)), draw(st.integers(2, 4)), block * block * draw(st.integers(1, 3))
    return (lambda x: tf.nn.depth_to_space(x, block)), shape, WIDE


def _batches(back: bool) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        block = [draw(st.integers(1, 2)), 2]
        shape = 1, 2 * draw(st.integers(2, 4)), 2 * draw(st.integers(2, 4)), draw(CHANNELS)
        pads = [[0, 0], [0, 2]] if draw(st.booleans()) else [[0, 0], [0, 0]]

        def run(x: Any) -> Any:
            spread = tf.space_to_batch_nd(x, block, pads)
            return tf.batch_to_space(spread, block, [[0, 1], [1, 0]]) if back else spread

        return run, shape, WIDE

    return case


def _vector(function: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        shape = 1, *draw(st.lists(st.integers(2, 4), max_size=2)), draw(st.integers(2, 20))
        return (lambda x: getattr(tf.nn, function)(x)), shape, WIDE

    return case


def _compare(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        shape = _image(draw)
        factor = weights(shape[-1], seed=_seed(draw))
        near = draw(st.booleans()) or "equal" in name

        def run(x: Any) -> Any:
            # Of one scale, so that ties are ties in every arithmetic; or of two, where a tie makes no difference.
            other = tf.nn.max_pool2d(x, 3, 1, "SAME") if near else x * factor
            return tf.where(getattr(tf, name)(x, other), x, other)

        return run, shape, WIDE

    return case


def _select(broadcast: bool) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        shape = _image(draw)
        bound, axis = draw(st.floats(-0.5, 0.5, width=32)), _axis(draw, shape)

        def run(x: Any) -> Any:
            if not broadcast:
                return tf.where(x > tf.reverse(x, [axis]), x, tf.nn.max_pool2d(x, 3, 1, "SAME"))
            return tf.where(x > tf.reduce_max(x, axis, keepdims=True) + x, bound, x)

        return run, shape, WIDE

    return case


def _best(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        import tensorflow as tf

        classes, depth = draw(st.integers(2, 9)), draw(st.integers(2, 5))
        shape = 1, *draw(st.lists(st.integers(2, 4), max_size=1)), classes
        table, kernel = weights(classes, depth, seed=_seed(draw)), weights(classes, classes, seed=_seed(draw))

        def run(x: Any) -> Any:
            scores = tf.matmul(x, kernel)
            chosen = getattr(tf, name)(scores, -1, output_type=draw_type)
            return tf.gather(table, chosen) + tf.reduce_mean(scores, -1, keepdims=True)

        draw_type = draw(st.sampled_from([tf.int32, tf.int64]))
        return run, shape, WIDE

    return case


def _one_hot(draw: Draw) -> Case:
    import tensorflow as tf

    classes, on, axis = draw(st.integers(2, 9)), draw(st.floats(0.5, 3.0, width=32)), draw(st.integers(-1, 1))
    kernel = weights(classes, classes, seed=_seed(draw))

    def run(x: Any) -> Any:
        scores = tf.matmul(x, kernel)
        chosen = tf.one_hot(tf.argmax(scores, -1), classes, on, -0.25, axis)
        return chosen + tf.reduce_mean(scores, -1, keepdims=True)

    return run, (1, classes), WIDE


def _top_k(draw: Draw) -> Case:
    import tensorflow as tf

    shape = 1, *draw(st.lists(st.integers(2, 4), max_size=2)), draw(st.integers(3, 12))
    count = draw(st.integers(1, shape[-1]))
    return (lambda x: tf.math.top_k(x, count)[0]), shape, WIDE


def _gather_nd(draw: Draw) -> Case:
    import tensorflow as tf

    shape = _image(draw)
    depth = draw(st.integers(2, 4))
    chosen = [[0, *(draw(st.integers(0, n - 1)) for n in shape[1:depth])] for _ in range(draw(st.integers(2, 6)))]
    return (lambda x: tf.gather_nd(x, [chosen])), shape, WIDE


CASES: dict[str, Callable[[Draw], Case]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "BATCH_MATMUL": _matmul,
    "ADD": _binary("add"),
    "SUB": _binary("subtract"),
    "MUL": _binary("multiply"),
    "SQUARED_DIFFERENCE": _binary("squared_difference"),
    "MAXIMUM": _binary("maximum"),
    "MINIMUM": _binary("minimum"),
    "MEAN": _reduce("reduce_mean"),
    "SUM": _reduce("reduce_sum"),
    "REDUCE_MAX": _reduce("reduce_max"),
    "REDUCE_MIN": _reduce("reduce_min"),
    "ABS": _unary("abs"),
    "RSQRT": _unary("math.rsqrt", POSITIVE),
    "SQRT": _unary("sqrt", POSITIVE),
    "EXP": _unary("exp"),
    "LOG": _unary("math.log", POSITIVE),
    "RELU": _unary("nn.relu"),
    "RELU6": _unary("nn.relu6", (-3.0, 9.0)),
    "RELU_N1_TO_1": _of(lambda tf, x: tf.maximum(-1.0, tf.minimum(x, 1.0))),
    "RELU_0_TO_1": _of(lambda tf, x: tf.maximum(0.0, tf.minimum(x, 1.0))),
    "LEAKY_RELU": _leaky,
    "PRELU": _prelu,
    "HARD_SWISH": _hard_swish,
    "GELU": _gelu,
    "ELU": _unary("nn.elu"),
    "LOGISTIC": _unary("sigmoid", (-6.0, 6.0)),
    "TANH": _unary("tanh", (-3.0, 3.0)),
    "SOFTMAX": _vector("softmax"),
    "LOG_SOFTMAX": _vector("log_softmax"),
    "L2_NORMALIZATION": _vector("l2_normalize"),
    "AVERAGE_POOL_2D": _pool("avg_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "CONCATENATION": _concat,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "TOPK_V2": _top_k,
    "ARG_MAX": _best("argmax"),
    "ARG_MIN": _best("argmin"),
    "EQUAL": _compare("equal"),
    "NOT_EQUAL": _compare("not_equal"),
    "GREATER": _compare("greater"),
    "GREATER_EQUAL": _compare("greater_equal"),
    "LESS": _compare("less"),
    "LESS_EQUAL": _compare("less_equal"),
    "SELECT": _select(broadcast=False),
    "SELECT_V2": _select(broadcast=True),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided,
    "GATHER": _gather,
    "PAD": _pad,
    "PADV2": _pad_v2,
    "MIRROR_PAD": _mirror,
    "RESHAPE": _reshape,
    "TRANSPOSE": _transpose,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast,
    "REVERSE_V2": _reverse,
    "RESIZE_BILINEAR": _resize("ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("ResizeNearestNeighbor"),
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": _batches(back=False),
    "BATCH_TO_SPACE_ND": _batches(back=True),
}


def cases(kind: str) -> st.SearchStrategy[Case]:
    """Models of a kind; the op itself may stand beside another that feeds it."""
    return st.composite(CASES[kind])()
