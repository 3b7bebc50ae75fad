"""Box outputs: which outputs of a model hold decoded boxes, and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.runtime.litert import outputs_of
from octavo.tflite.graph import WHOLE, Graph

_POSTPROCESS = "CUSTOM:TFLite_Detection_PostProcess"


@dataclass(frozen=True)
class Places:
    """Which outputs of a model hold what, as positions among them.

    Args:
        boxes: ymin, xmin, ymax and xmax of each box, ``(1, boxes, 4)``.
        scores: The score of each box, ``(1, boxes)``, or of each of its classes, ``(1, boxes, classes)``.
        classes: The class of each box, ``(1, boxes)``. None if `scores` tells it.
        count: How many of the boxes count. None for all of them.
    """

    boxes: int
    scores: int
    classes: int | None = None
    count: int | None = None


def places_of(graph: Graph, told: bool = False) -> Places | None:
    """The outputs that hold decoded boxes: those of the op TFLite_Detection_PostProcess, or by their names and shapes.

    Args:
        graph: The model.
        told: Whether somebody said that there are some, so that shapes are enough. Raw outputs may have the same.

    Returns:
        None if there are none.
    """
    made = {_made(graph, index): at for at, index in enumerate(graph.outputs)}
    if made.keys() >= {0, 1, 2, 3}:
        # Its outputs are boxes, classes, scores and their count.
        return Places(made[0], made[2], made[1], made[3])
    ports = outputs_of(graph)
    shapes = [tuple(abs(side) for side in port.shape[1:]) for port in ports]
    boxes = [at for at, shape in enumerate(shapes) if len(shape) == 2 and shape[1] == 4]
    if len(boxes) != 1:
        return None
    number = shapes[boxes[0]][0]
    tables = [at for at, shape in enumerate(shapes) if len(shape) == 2 and shape[0] == number and at != boxes[0]]
    lists = [at for at, shape in enumerate(shapes) if shape == (number,)]
    counts = [at for at, shape in enumerate(shapes) if shape in ((), (1,)) and at not in lists]
    classes = [at for at in lists if ports[at].dtype in WHOLE or _named(ports[at].label, "class", "label", "categor")]
    if len(lists) == 2 and len(classes) != 1:
        # The order of TFLite_Detection_PostProcess.
        classes = lists[:1]
    scores = tables or [at for at in lists if at not in classes]
    if len(scores) != 1 or len(tables) > 0 < len(lists) or len(counts) > 1:
        return None
    named = _named(ports[boxes[0]].label, "box") and _named(ports[scores[0]].label, "score", "conf", "prob")
    if not (told or named):
        return None
    return Places(boxes[0], scores[0], classes[0] if classes else None, counts[0] if counts else None)


def _made(graph: Graph, index: int) -> int | None:
    """Which output of TFLite_Detection_PostProcess a tensor is; None if another op makes it."""
    op = graph.producers.get(index)
    while op is not None and op.kind in {"DEQUANTIZE", "QUANTIZE"}:
        index = op.inputs[0]
        op = graph.producers.get(index)
    return op.outputs.index(index) if op is not None and op.kind == _POSTPROCESS else None


def _named(label: str, *words: str) -> bool:
    return any(word in label.lower() for word in words)
