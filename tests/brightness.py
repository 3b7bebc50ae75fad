"""A classifier that is only right with the scale of its training: it tells dark pictures from bright ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from handmade import File
from PIL import Image

CLASSES = ("bright", "dark")
SIZE = 8


def brightness(scale: tuple[float, float], rescales: bool = False, softmax: bool = True, outputs: int = 2) -> bytes:
    """A float `.tflite` file whose threshold is the middle of `scale`.

    Args:
        scale: The values of pixels 0 and 255 that it expects.
        rescales: Its first op multiplies the input by 1/255; it expects pixels then, and `scale` is what comes out.
        softmax: Whether it ends in a softmax.
        outputs: How many outputs there are; those after the two classes never win.
    """
    low, high = scale
    file = File()
    image = file.tensor("image", (1, SIZE, SIZE, 3))
    inner = image
    if rescales:
        inner = file.tensor("scaled", (1, SIZE, SIZE, 3))
        file.op("MUL", [image, file.constant("factor", np.float32(1 / 255).reshape(1))], [inner], "Mul")
    mean, logits = file.tensor("mean", (1, 3)), file.tensor("logits", (1, outputs))
    file.op("MEAN", [inner, file.constant("axes", np.array([1, 2], np.int32))], [mean], "Reducer", keepDims=False)
    gain = 40 / (high - low) / 3
    weights = np.zeros((outputs, 3), np.float32)
    weights[:2] = [[gain] * 3, [-gain] * 3]
    bias = np.full(outputs, -50, np.float32)
    middle = gain * 3 * (low + high) / 2
    bias[:2] = [-middle, middle]
    file.dense(mean, file.constant("weights", weights), logits, file.constant("bias", bias))
    last = logits
    if softmax:
        last = file.tensor("shares", (1, outputs))
        file.op("SOFTMAX", [logits], [last], "Softmax", beta=1.0)
    return file.ports([image], [last]).bytes()


def write_pictures(root: Path, count: int = 60, names: tuple[str, str] = CLASSES) -> Path:
    """``CLASS/NNN.png``: noise around 155 and around 100."""
    rng = np.random.default_rng(0)
    for place in range(count):
        label = place % 2
        pixels = rng.integers(0, 20, (SIZE, SIZE, 3)) + (145, 90)[label]
        path = root / names[label] / f"{place:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root
