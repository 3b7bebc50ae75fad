"""What a file's own TFLite metadata say of its images and classes, where it has such metadata."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.base.errors import ModelError
from octavo.tflite import metadata


@dataclass(frozen=True)
class Notes:
    """What TFLite metadata say.

    Args:
        scale: What pixel values 0 and 255 become; None where they do not say, or say it for each channel apart.
        classes: Labels of the first output; empty where they do not say.
    """

    scale: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()


def notes_of(content: bytes) -> Notes:
    """What a model's metadata say; nothing where it has none, or where they are damaged.

    Args:
        content: The bytes of the model file.
    """
    try:
        found = metadata.read(content) if content else None
        labels = None if found is None else metadata.labels(content, found)
    except ModelError:
        # `octavo inspect` shows what is wrong with them; the model works without.
        return Notes()
    if found is None:
        return Notes()
    return Notes(_scale(found), tuple(labels or ()))


def _scale(found: dict[str, object]) -> tuple[float, float] | None:
    """Where the normalization ``(pixel - mean) / std`` of the first input takes 0 and 255."""
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
