"""What `predict.py` has to know of a model, as ``preprocess.json`` holds it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from octavo.analysis.box_outputs import places_of
from octavo.analysis.tasks.choose import scored
from octavo.analysis.tasks.task import gives_probabilities
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.runtime.litert import Port, inputs_of, outputs_of
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import WHOLE, Graph

# Tasks whose scored output stands for classes, which ``labels.txt`` names.
NAMED = ("single-label", "multi-label", "segmentation")


def facts(graph: Graph, sidecar: Sidecar) -> dict[str, Any]:
    """How a file becomes the model's inputs, and how its outputs are read.

    Args:
        graph: The model.
        sidecar: Its preprocessing, None if it takes no images, and its task.

    Returns:
        A JSON value: the fields of `Preprocess` for a model that takes an image; ``window_step`` for one that takes
        recordings in windows; ``output``, the meaning of the first output's numbers; ``task``; ``inputs`` in the
        model's order, which is not the runtime's, with the fields of `Preprocess` as ``image`` for each image of
        several inputs; ``outputs`` likewise, after the one that is scored; and, for a detector, ``boxes``: which of
        the outputs hold what.
    """
    place = 0 if sidecar.task == "detection" else scored(graph, sidecar.output)
    ports = [_port(*pair) for pair in zip(graph.outputs, outputs_of(graph), strict=True)]
    found = places_of(graph, told=True) if sidecar.task == "detection" else None
    images = sidecar.preprocess.to_json() if isinstance(sidecar.preprocess, Preprocess) else {}
    recordings = {} if sidecar.windows is None else {"window_step": sidecar.windows.step}
    return (
        images
        | recordings
        | {
            "output": _output(graph, sidecar, place),
            "task": sidecar.task,
            "inputs": [
                _port(*pair) | _image(pair[1], sidecar.preprocess)
                for pair in zip(graph.inputs, inputs_of(graph), strict=True)
            ],
            "outputs": [ports.pop(place), *ports],
        }
        | ({} if found is None else {"boxes": asdict(found)})
    )


def _output(graph: Graph, sidecar: Sidecar, place: int) -> str:
    if sidecar.task not in NAMED:
        return "numbers"
    if graph.tensors[graph.outputs[place]].dtype in WHOLE:
        return "classes"
    return "probabilities" if gives_probabilities(graph, place) else "logits"


def _image(port: Port, preprocess: Preprocessing) -> dict[str, Any]:
    """How pictures become one of several inputs."""
    if preprocess is None or isinstance(preprocess, Preprocess):
        return {}
    return next(({"image": preprocess[name].to_json()} for name in port.names if name in preprocess), {})


def _port(tensor: int, port: Port) -> dict[str, Any]:
    return {
        "name": port.label,
        "tensor": tensor,
        "shape": [1, *(abs(side) for side in port.shape[1:])],
        "quantized": port.qparams is not None,
    }
