"""`octavo inspect`: what a model file is."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.inspect import Inspection
from octavo.analysis.inspect import inspect as look
from octavo.source.load import load_model


def inspect(model: Path | str) -> Inspection:
    """What a model file is, without images: see `octavo.analysis.inspect.inspect`.

    Example:
        >>> import octavo
        >>> found = octavo.inspect("int8.tflite")
        >>> found["kind"], found["macs"], [row["op"] for row in found["ops"]]
        ('full-integer', 1170, ['CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'SOFTMAX'])
    """
    loaded = load_model(model)
    return Inspection(look(loaded.graph, loaded.belongs))
