"""`octavo inspect`: what a model file is."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.inspect import Inspection
from octavo.analysis.inspect import inspect as look
from octavo.source.load import load_float


def inspect(model: Path | str, signature: str | None = None, size: tuple[int, int] | None = None) -> Inspection:
    """What a model file is, without images: see `octavo.analysis.inspect.inspect`.

    Args:
        model: A `.tflite` or `.keras` model.
        signature: Which graph of a file with several signatures.
        size: Height and width of the images, where the file leaves them open.

    Raises:
        ModelError: The file cannot be read, or it leaves something open that no argument says.

    Example:
        >>> import octavo
        >>> found = octavo.inspect("int8.tflite")
        >>> found["kind"], found["macs"], [row["op"] for row in found["ops"]]
        ('full-integer', 1170, ['CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'SOFTMAX'])
    """
    loaded = load_float(model, signature, size)
    return Inspection(look(loaded.graph, loaded.belongs, loaded.content, loaded.canonical))
