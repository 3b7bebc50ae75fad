"""`octavo inspect`: the properties of a model file."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.inspect import Inspection
from octavo.analysis.inspect import inspect as look
from octavo.source.load import load_float


def inspect(model: Path | str, signature: str | None = None, size: tuple[int, int] | None = None) -> Inspection:
    """Describes a model file, without images: see `octavo.analysis.inspect.inspect`.

    Args:
        model: A `.tflite` or `.keras` model.
        signature: The signature to read from a file with several.
        size: Height and width of the images, if the file leaves them open.

    Raises:
        ModelError: The file cannot be read, or it has an open size that no argument gives.

    Example:
        >>> import octavo
        >>> found = octavo.inspect("int8.tflite")
        >>> found["kind"], found["macs"], [row["op"] for row in found["ops"]]
        ('full-integer', 1170, ['CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'SOFTMAX'])
    """
    loaded = load_float(model, signature, size)
    return Inspection(look(loaded.graph, loaded.sidecar, loaded.content, loaded.canonical))
