"""Distributions: the values of activations and weights within their int8 ranges."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from octavo.base.artefact import Artefact, Part
from octavo.quantization.observers import Images
from octavo.quantization.quantize import Quantized
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import row

Array = npt.NDArray[Any]

# Enough for a picture. Every value of every activation is sorted, so more images would take long.
IMAGES = 8
_SHARES = (0.0, 0.001, 0.25, 0.5, 0.75, 0.999, 1.0)


class Activation(Part):
    """An activation's values and its int8 range.

    Args:
        name: The tensor.
        op: The kind of the op that makes it; ``INPUT`` for an input.
        range: Lowest and highest real that int8 holds.
        quantiles: Values by quantile, ``0`` to ``1``: means over images, except the minimum and maximum.
    """

    name: str
    op: str
    range: tuple[float, float]
    quantiles: dict[str, float]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if missing := {f"{share:g}" for share in _SHARES} - self.quantiles.keys():
            raise ValueError(f"there is no quantile {', '.join(sorted(missing))}")
        return self

    @property
    def used(self) -> float:
        """The share of the range that the middle 99.8% of the values, and zero, need."""
        low, high = min(self.quantiles["0.001"], 0.0), max(self.quantiles["0.999"], 0.0)
        width = self.range[1] - self.range[0]
        return (high - low) / width if width > 0 else 1.0


class ChannelMax(Part):
    """The largest weight of a channel.

    Args:
        min: The smallest over all channels.
        median: The median over all channels.
        max: The largest over all channels.
    """

    min: float
    median: float
    max: float


class Histogram(Part):
    """A histogram.

    Args:
        edges: Of the bins, one more than there are counts.
        counts: Values in each bin.
    """

    edges: list[float]
    counts: Annotated[list[int], Field(min_length=1)]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.counts)} counts need one edge more, not {len(self.edges)}")
        return self


class Weight(Part):
    """The weights of an op.

    Args:
        name: The tensor.
        op: The kind of the op.
        channels: How many scales it has.
        channel_max: The largest weight of a channel.
        histogram: Of their int8 codes.
    """

    name: str
    op: str
    channels: int
    channel_max: ChannelMax
    histogram: Histogram


class Distributions(Artefact):
    """The values of activations and weights within their int8 ranges, in graph order.

    Args:
        images: How many calibration images were used.
        activations: Quantiles of every activation.
        weights: Every op's weights.
    """

    file = "distributions.json"
    what = "the distributions of a run"

    images: int
    activations: list[Activation]
    weights: list[Weight]


def distributions(graph: Graph, quantized: Quantized, images: Images) -> Distributions:
    """Quantiles of every activation and a histogram of every weight's codes.

    Args:
        graph: The float graph.
        quantized: The int8 model.
        images: Raw float inputs; the first few are used.
    """
    few = images[:IMAGES]
    return Distributions(images=len(few), activations=_activations(graph, quantized, few), weights=_weights(quantized))


def _activations(graph: Graph, quantized: Quantized, images: Images) -> list[Activation]:
    tensors = graph.activations
    quantiles = np.zeros((len(images), len(tensors), len(_SHARES)))

    def look(place: int, outputs: list[Array]) -> None:
        for index, values in enumerate(outputs):
            quantiles[place, index] = np.quantile(values, _SHARES)

    Model(graph.exposed(tensors)).each(images, look)
    # The mean over images of each quantile, but the overall minimum and maximum.
    found = quantiles.mean(axis=0)
    found[:, 0], found[:, -1] = quantiles[:, :, 0].min(axis=0), quantiles[:, :, -1].max(axis=0)
    rows = []
    for tensor, values in zip(tensors, found, strict=True):
        params = quantized.table.stored.get(tensor.name)
        producer = graph.producers.get(tensor.index)
        if params is not None:
            rows.append(
                Activation(
                    name=tensor.name,
                    op=producer.kind if producer is not None else "INPUT",
                    range=(float(params.minimum[0]), float(params.maximum[0])),
                    quantiles={f"{share:g}": float(v) for share, v in zip(_SHARES, values, strict=True)},
                )
            )
    return rows


def _weights(quantized: Quantized) -> list[Weight]:
    rows = []
    edges = np.linspace(-128, 128, 65)
    for op in quantized.source.ops:
        rules = row(op)
        if rules is None or rules.weight is None:
            continue
        tensor = quantized.source.tensors[op.inputs[rules.weight]]
        params = quantized.table.stored.get(tensor.name)
        if params is None or tensor.constant is None or not params.narrow:
            continue
        largest = params.maximum
        counts, _ = np.histogram(params.quantize(tensor.constant), edges)
        rows.append(
            Weight(
                name=tensor.name,
                op=op.kind,
                channels=int(largest.size),
                channel_max=ChannelMax(
                    min=float(largest.min()), median=float(np.median(largest)), max=float(largest.max())
                ),
                histogram=Histogram(edges=edges.tolist(), counts=counts.tolist()),
            )
        )
    return rows
