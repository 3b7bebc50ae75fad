"""Distributions: what the activations and weights look like inside the ranges that int8 gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.observers import Images
from octavo.quantization.quantize import Quantized
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import row

Array = npt.NDArray[Any]

# Enough for a picture; every value of every activation of an image is sorted, so more would take long.
IMAGES = 8
_SHARES = (0.0, 0.001, 0.25, 0.5, 0.75, 0.999, 1.0)


def distributions(graph: Graph, quantized: Quantized, images: Images) -> dict[str, Any]:
    """Quantiles of every activation and a histogram of every weight's codes, as a JSON value.

    Args:
        graph: The float graph.
        quantized: What it became.
        images: Raw float inputs; the first few are used.
    """
    few = images[:IMAGES]
    return {
        "images": len(few),
        "activations": _activations(graph, quantized, few),
        "weights": _weights(quantized),
    }


def _activations(graph: Graph, quantized: Quantized, images: Images) -> list[dict[str, Any]]:
    tensors = graph.activations
    quantiles = np.zeros((len(images), len(tensors), len(_SHARES)))

    def look(place: int, outputs: list[Array]) -> None:
        for index, values in enumerate(outputs):
            quantiles[place, index] = np.quantile(values, _SHARES)

    Model(graph.exposed(tensors)).each(images, look)
    # The mean over images of each quantile, but the extremes of the extremes.
    found = quantiles.mean(axis=0)
    found[:, 0], found[:, -1] = quantiles[:, :, 0].min(axis=0), quantiles[:, :, -1].max(axis=0)
    rows = []
    for tensor, values in zip(tensors, found, strict=True):
        params = quantized.table.stored.get(tensor.name)
        producer = graph.producers.get(tensor.index)
        if params is not None:
            rows.append(
                {
                    "name": tensor.name,
                    "op": producer.kind if producer is not None else "INPUT",
                    "range": [float(params.minimum[0]), float(params.maximum[0])],
                    "quantiles": {f"{share:g}": float(v) for share, v in zip(_SHARES, values, strict=True)},
                }
            )
    return rows


def _weights(quantized: Quantized) -> list[dict[str, Any]]:
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
            {
                "name": tensor.name,
                "op": op.kind,
                "channels": int(largest.size),
                "channel_max": {
                    "min": float(largest.min()),
                    "median": float(np.median(largest)),
                    "max": float(largest.max()),
                },
                "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
            }
        )
    return rows
