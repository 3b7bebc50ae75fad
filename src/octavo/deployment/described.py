"""A model with TFLite metadata: the preprocessing and the labels in the model's own file.

The schema has fewer fields than a sidecar: mean and deviation, and RGB or gray. The description states the rest.
"""

from __future__ import annotations

from typing import Any

from octavo.analysis.tasks.choose import scored
from octavo.analysis.tasks.task import gives_probabilities
from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.deployment.words import filled, title, words_of
from octavo.rewrite import equality
from octavo.rewrite.raw_pixels import takes_raw_pixels, unsigned, unsigned_output
from octavo.runtime.litert import inputs_of, outputs_of
from octavo.source.sidecar import Sidecar
from octavo.tflite.dedup import Sharing
from octavo.tflite.graph import Graph
from octavo.tflite.metadata import PARSER_VERSION, attach

LABELS = "labels.txt"
_COLORS = {"rgb": "RGB", "gray": "GRAYSCALE", "bgr": "UNKNOWN"}


def described(graph: Graph, sidecar: Sidecar) -> Graph:
    """The same model with metadata, proved to give the same outputs, bit for bit.

    Args:
        graph: A full-integer model.
        sidecar: Its sidecar, with its task.

    Raises:
        ProofError: An output changed on some kernel family.
    """
    # A single output is the probability of the second class.
    count = graph.tensors[graph.outputs[scored(graph, sidecar.output)]].shape[-1]
    files = {LABELS: labels(sidecar.classes[-count:]).encode()} if _names_outputs(sidecar) else {}
    made = attach(graph, contents(graph, sidecar), files, Sharing())
    equality.prove(graph, made, sidecar.preprocess, f"{graph.name} with metadata")
    return made


def for_mediapipe(graph: Graph, sidecar: Sidecar) -> Graph:
    """The model for MediaPipe's image classifier: bytes of an RGB image in, uint8 scores out, with metadata.

    Args:
        graph: An int8 or uint8 model whose input codes are an image's bytes, as `octavo slim --pixels` makes them.
        sidecar: Its sidecar.

    Raises:
        ModelError: Its input is something else.
        ProofError: An output changed on some kernel family.
    """
    entry = graph.tensors[graph.inputs[0]]
    if entry.qparams is None or not takes_raw_pixels(entry.qparams, sidecar.images):
        raise ModelError(
            f"MediaPipe passes an image's bytes unchanged to a quantized model, but {graph.name} expects other values.",
            "Fold the normalization into it first: `octavo slim MODEL -o OUT --pixels uint8`; then deploy OUT.",
        )
    if sidecar.images.channels != "rgb":
        raise ModelError(
            f"MediaPipe supports RGB models only, but {graph.name} takes {sidecar.images.channels}.",
            "Leave out `mediapipe`.",
        )
    twin = unsigned(graph) if entry.dtype == "int8" else graph
    if twin.tensors[twin.outputs[0]].dtype == "int8":
        twin = unsigned_output(twin)
    equality.prove(graph, twin, sidecar.images, f"the MediaPipe copy of {graph.name}")
    return described(twin, sidecar)


def labels(classes: tuple[str, ...]) -> str:
    """The content of a label file: one label per line."""
    return "".join(f"{name}\n" for name in classes)


def contents(graph: Graph, sidecar: Sidecar) -> dict[str, Any]:
    """The metadata as JSON, in the schema's names."""
    ways_in, ways_out = inputs_of(graph), outputs_of(graph)
    inputs = [_tensor(port.label, "The model's own input.") for port in ways_in]
    if isinstance(sidecar.preprocess, Preprocess):
        inputs = [_image(sidecar.preprocess)]
    outputs = [_tensor(port.label, "") for port in ways_out]
    place = scored(graph, sidecar.output)
    outputs[place] = _answer(graph, sidecar, place, ways_out[place].label)
    return {
        "name": title(sidecar),
        "description": f"{filled(words_of(sidecar).about, sidecar)} Written by Octavo.",
        "subgraph_metadata": [{"input_tensor_metadata": inputs, "output_tensor_metadata": outputs}],
        "min_parser_version": PARSER_VERSION,
    }


def _image(preprocess: Preprocess) -> dict[str, Any]:
    return {
        "name": "image",
        "description": f"{preprocess.describe()}; stretched to the size, channels in this order.",
        "content": {
            "content_properties_type": "ImageProperties",
            "content_properties": {"color_space": _COLORS[preprocess.channels]},
        },
        "process_units": [{"options_type": "NormalizationOptions", "options": normalization(preprocess)}],
    }


def _names_outputs(sidecar: Sidecar) -> bool:
    """Whether the classes are those that the numbers of an output stand for; a detector gives the class of each box."""
    return len(sidecar.classes) > 0 and sidecar.task != "detection"


def _answer(graph: Graph, sidecar: Sidecar, place: int, name: str) -> dict[str, Any]:
    """The output that is scored, with the labels where it stands for classes."""
    if not _names_outputs(sidecar):
        return _tensor(name, words_of(sidecar).answer)
    name = "probability" if gives_probabilities(graph, place) else "logit"
    each = " of every pixel" if sidecar.task == "segmentation" else ""
    files = [{"name": LABELS, "description": "The classes, one a line.", "type": "TENSOR_AXIS_LABELS"}]
    return _tensor(name, f"The {name} of each class{each}.") | {"associated_files": files}


def _tensor(name: str, description: str) -> dict[str, Any]:
    content = {"content_properties_type": "FeatureProperties", "content_properties": {}}
    return {"name": name, "description": description, "content": content}


def normalization(preprocess: Preprocess) -> dict[str, list[float]]:
    """The scale as mean and deviation: a pixel ``p`` becomes ``(p - mean) / std``.

    A quantized model has those of its float model; a consumer quantizes what comes out.

    Example:
        >>> normalization(Preprocess((8, 8), scale=(-1.0, 1.0)))
        {'mean': [127.5], 'std': [127.5]}
        >>> normalization(Preprocess((8, 8), scale=(0.0, 1.0)))
        {'mean': [0.0], 'std': [255.0]}
    """
    low, high = preprocess.scale
    std = 255.0 / (high - low)
    return {"mean": [-low * std + 0.0], "std": [std]}
