"""Reads the image scale and class names from the TFLite metadata of a file."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.base.errors import ModelError
from octavo.tflite import metadata


@dataclass(frozen=True)
class Notes:
    """The image scale and class names from TFLite metadata.

    Args:
        scale: The values that pixels 0 and 255 are scaled to. None if it is not given, or differs by channel.
        classes: The labels of the first output. Empty if they are not given.
    """

    scale: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()


def notes_of(content: bytes) -> Notes:
    """Reads the TFLite metadata of a model. The result is empty if they are missing or damaged.

    Args:
        content: The bytes of the model file.
    """
    try:
        found = metadata.read(content) if content else None
        labels = None if found is None else metadata.labels(content, found)
    except ModelError:
        # `octavo inspect` reports damaged metadata. The model works without them.
        return Notes()
    if found is None:
        return Notes()
    return Notes(_scale(found), tuple(labels or ()))


def _scale(found: dict[str, object]) -> tuple[float, float] | None:
    """The values of pixels 0 and 255 after the normalization ``(pixel - mean) / std`` of the first input."""
    match found:
        case {"subgraph_metadata": [{"input_tensor_metadata": [{"process_units": [*units]}, *_]}, *_]}:
            pass
        case _:
            return None
    for unit in units:
        match unit:
            case {"options": {"mean": [*means], "std": [*deviations]}} if len({*means}) == len({*deviations}) == 1:
                mean, deviation = float(means[0]), float(deviations[0])
                return ((0 - mean) / deviation, (255 - mean) / deviation) if deviation > 0 else None
    return None
