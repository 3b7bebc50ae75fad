"""What `predict.py` has to know of a model, as ``preprocess.json`` holds it."""

from __future__ import annotations

from typing import Any

from octavo.analysis.tasks.task import gives_probabilities
from octavo.runtime.litert import Port, inputs_of, outputs_of
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import WHOLE, Graph

# Tasks whose outputs stand for classes, which ``labels.txt`` names.
NAMED = ("single-label", "multi-label", "segmentation")


def facts(graph: Graph, sidecar: Sidecar) -> dict[str, Any]:
    """How a file becomes the model's inputs, and how its outputs are read.

    Args:
        graph: The model.
        sidecar: Its preprocessing, None if it takes no image, and its task.

    Returns:
        A JSON value: the fields of `Preprocess` for a model that takes an image; ``window_step`` for one that takes
        recordings in windows; ``output``, the meaning of the first
        output's numbers; ``task``; and ``inputs`` and ``outputs`` in the model's order, which is not the runtime's.
    """
    images = {} if sidecar.preprocess is None else sidecar.preprocess.to_json()
    recordings = {} if sidecar.windows is None else {"window_step": sidecar.windows.step}
    return (
        images
        | recordings
        | {
            "output": _output(graph, sidecar),
            "task": sidecar.task,
            "inputs": [_port(*pair) for pair in zip(graph.inputs, inputs_of(graph), strict=True)],
            "outputs": [_port(*pair) for pair in zip(graph.outputs, outputs_of(graph), strict=True)],
        }
    )


def _output(graph: Graph, sidecar: Sidecar) -> str:
    if sidecar.task not in NAMED:
        return "numbers"
    if graph.tensors[graph.outputs[0]].dtype in WHOLE:
        return "classes"
    return "probabilities" if gives_probabilities(graph) else "logits"


def _port(tensor: int, port: Port) -> dict[str, Any]:
    return {
        "name": port.label,
        "tensor": tensor,
        "shape": [1, *(abs(side) for side in port.shape[1:])],
        "quantized": port.qparams is not None,
    }
