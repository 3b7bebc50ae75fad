"""The arithmetic of int8 with gradients: every tensor rounded to its grid by fake quantization."""

from __future__ import annotations

from functools import partial
from typing import Any, final

import numpy as np
from keras import ops

from octavo.simulate.fakequant import NOWHERE, fake_quantize, fake_quantize_bias, fake_quantize_weights, on_grid
from octavo.simulate.grids import Grids
from octavo.simulate.kernels import KERNELS, Site, fused, without_activation
from octavo.simulate.learned_scales import fake_quantize_learned
from octavo.simulate.recompute import Source, without_keeping
from octavo.tflite.graph import Op, Tensor
from octavo.tflite.op_table import TABLE, clips

Value = Any

# Ops of one input that only move values, and whose gradients need no values.
MOVES = ("PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SPACE_TO_BATCH_ND")


@final
class Rounded:
    """The arithmetic of int8: every tensor is rounded to its grid when it is stored, or when it is read.

    Args:
        grids: The grid of every tensor.
    """

    def __init__(self, grids: Grids) -> None:
        self._grids = grids
        # How rounded values can be made again, by their identity.
        self._sources: dict[int, Source] = {}

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """Rounded to the tensor's own grid, if it is stored as integers."""
        grid = self._grids.stored(tensor)
        if grid is None or tensor.index in self._grids.moved:
            return value
        low, high, _ = grid
        maker = self._grids.graph.producers.get(tensor.index)
        made = fake_quantize(value, low, high, NOWHERE if maker is None else clips(maker))
        return self._remembered(Source(made, (value, low, high), on_grid))

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """Rounded again if the op reads it at another scale, as a QUANTIZE op does; constants are rounded here."""
        grid = self._grids.anew(op, tensor)
        if grid is None:
            return value
        low, high, _ = grid
        if tensor.constant is None:
            return fake_quantize(value, low, high)
        # As one image: the first axis of a constant is not that of the batch.
        return fake_quantize(value[None], low, high)[0]

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """Weights per channel, bias at input scale times weight scale."""
        scale = self._grids.image(op)
        if scale is None:
            return weights, bias
        channels = self._grids.channels(op, weights, bias)
        if op.index in self._grids.learned:
            rounded = fake_quantize_learned(weights, channels, self._grids.largest(op))
        else:
            rounded = fake_quantize_weights(weights, channels)
        return rounded, None if bias is None else fake_quantize_bias(bias, channels * ops.stop_gradient(scale))

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The output of the op's kernel.

        A product with weights needs its other factor for its gradient, and makes it again.
        """
        kind, rules = site.op.kind, TABLE.get(site.op.kind)
        if kind in MOVES:
            source = self._sources.get(id(arguments[0]))
            if source is not None:
                return self._remembered(source.then(lambda value: KERNELS[kind](site, value, *arguments[1:])))
        elif rules is not None and rules.weight is not None:
            source = self._sources.get(id(arguments[rules.image]))
            if source is not None:
                plain, output = without_activation(site), self._grids.graph.tensors[site.op.outputs[0]]
                if clips(site.op) != NOWHERE and self._grids.stored(output) is not None:
                    # The gradient of clipping is a part of that of rounding.
                    return _product(site, plain, source, rules.image, arguments)
                return fused(site, _product(plain, plain, source, rules.image, arguments))
        return KERNELS[kind](site, *arguments)

    def _remembered(self, source: Source) -> Value:
        self._sources[id(source.made)] = source
        return source.made


def _product(site: Site, derived: Site, source: Source, place: int, arguments: list[Value]) -> Value:
    """The output of an op for its arguments, of which the one at `place` is made again in the gradient.

    Args:
        site: The op.
        derived: The op that the gradient is taken of.
        source: The argument that is made again.
        place: Its place.
        arguments: All of them.
    """
    others = [None if at == place else value for at, value in enumerate(arguments)]
    tensors = [at for at, value in enumerate(others) if value is not None and not isinstance(value, np.ndarray)]

    def run(op: Site, *given: Value) -> Value:
        at = dict(zip((place, *tensors), given, strict=True))
        return KERNELS[op.op.kind](op, *(at.get(index, value) for index, value in enumerate(others)))

    return without_keeping(partial(run, site), partial(run, derived), source, *(others[at] for at in tensors))
