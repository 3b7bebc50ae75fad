"""Agreement: how far the simulation's codes are from LiteRT's, tensor by tensor.

There are two ways to compare. Accumulated: both run the whole graph from the image, so a tensor's difference includes
those of all ops before it. Local: every op of the simulation gets LiteRT's own inputs, so a difference comes from that
op alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.quantize import Quantized
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Op, Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """One tensor's difference, in steps of its own scale.

    Args:
        tensor: Its name in the float graph.
        kind: The op that makes it; ``INPUT`` for an input.
        mean: Mean absolute difference.
        largest: Largest absolute difference.
        bias: Mean difference, simulation minus LiteRT; near 0 if only ties are rounded differently.
    """

    tensor: str
    kind: str
    mean: float
    largest: float
    bias: float


def agreement(
    simulation: Any,
    quantized: Quantized,
    images: Sequence[Array] | Array,
    kernels: Kernels = "xnnpack",
    local: bool = False,
) -> list[Agreement]:
    """Compares every activation of the simulation with that of the int8 file.

    Args:
        simulation: An `octavo.simulate.Simulation`.
        quantized: The int8 model that `quantize` made from its graph and ranges.
        images: Preprocessed images, float32, ``(N, height, width, channels)``.
        kernels: The kernel family to compare with.
        local: Whether every op gets LiteRT's values as inputs instead of the simulation's own.

    Returns:
        The tensors in execution order.
    """
    int8 = quantized.graph
    by_name = {t.name: t for t in int8.tensors if t.constant is None and t.qparams is not None}
    shared = [by_name[t.name] for t in simulation.source.activations if t.name in by_name]
    exposed = int8.exposed(shared)
    model = Model(exposed, kernels, workers=1)
    kept: dict[int, list[Array]] = {}
    model.each(
        [model.input.encode(image) for image in images],
        lambda place, outputs: kept.update({place: [values.copy() for values in outputs]}),
    )
    reals = {
        tensor.name: np.stack([_real(tensor, kept[place][at]) for place in range(len(images))])
        for at, tensor in enumerate(shared)
    }
    from octavo.simulate.integer import Integer

    watch = _Watch(Integer(simulation.grids()), by_name, reals, local)
    simulation.execute(np.asarray(images), watch, training=False)
    producers = simulation.source.producers
    return [
        Agreement(
            tensor.name,
            producers[tensor.index].kind if tensor.index in producers else "INPUT",
            float(np.abs(watch.off[tensor.name]).mean()),
            float(np.abs(watch.off[tensor.name]).max()),
            float(watch.off[tensor.name].mean()),
        )
        for tensor in simulation.source.activations
        if tensor.name in watch.off
    ]


def _real(tensor: Tensor, codes: Array) -> Array:
    assert tensor.qparams is not None
    return np.asarray(tensor.qparams.dequantize(codes))


class _Watch:
    """An arithmetic that records how far each tensor is from LiteRT's, and passes on its own or LiteRT's values."""

    def __init__(self, inner: Any, tensors: dict[str, Tensor], reals: dict[str, Array], local: bool) -> None:
        self._inner = inner
        self._tensors = tensors
        self._reals = reals
        self._local = local
        self.off: dict[str, Array] = {}

    def stored(self, tensor: Tensor, value: Any) -> Any:
        made = self._inner.stored(tensor, value)
        theirs = self._reals.get(tensor.name)
        if theirs is None:
            return made
        from keras.ops import convert_to_numpy, convert_to_tensor

        params = self._tensors[tensor.name].qparams
        assert params is not None
        ours = convert_to_numpy(made).reshape(theirs.shape)
        self.off[tensor.name] = np.rint((ours - theirs) / params.scale[0])
        return convert_to_tensor(np.reshape(theirs, made.shape)) if self._local else made

    def read(self, op: Op, tensor: Tensor, value: Any) -> Any:
        return self._inner.read(op, tensor, value)

    def weights(self, op: Op, weights: Any, bias: Any) -> Any:
        return self._inner.weights(op, weights, bias)

    def run(self, site: Any, arguments: list[Any]) -> Any:
        return self._inner.run(site, arguments)
