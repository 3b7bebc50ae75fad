"""A detector small enough for every test: it finds red and green squares on a grid of cells; needs no TensorFlow."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from handmade import File
from PIL import Image

from octavo.tflite.graph import Graph

CLASSES = ("red", "green")
SIZE, CELL = 16, 4
_GRID = SIZE // CELL
_CELLS = _GRID * _GRID


@functools.cache
def detector(end: str = "postprocess") -> Graph:
    """Averages of cells become scores; the boxes are the cells, moved a little by the colours.

    Args:
        end: ``postprocess`` for the op TFLite_Detection_PostProcess, ``table`` for outputs of boxes and of a score of
            each class, ``lists`` for a score and a class of each box.
    """
    file = File()
    image, mean = file.tensor("image", (1, SIZE, SIZE, 3)), file.tensor("mean", (1, _GRID, _GRID, 3))
    file.op(
        "AVERAGE_POOL_2D", [image], [mean], "Pool2D",
        padding=1, strideW=CELL, strideH=CELL, filterWidth=CELL, filterHeight=CELL,
    )  # fmt: skip
    # Red stands out from green and blue, and green from red and blue.
    logits = _pointwise(file, mean, np.array([[9, -9, -2], [-9, 9, -2]], np.float32), np.array([-3, -3], np.float32))
    scores = file.tensor("scores", (1, _CELLS, 2))
    file.op("LOGISTIC", [_flat(file, logits, 2)], [scores])
    moves = _flat(file, _pointwise(file, mean, np.full((4, 3), 0.2, np.float32), np.zeros(4, np.float32)), 4)
    starts = np.stack(np.meshgrid(*[np.arange(_GRID) / _GRID] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    if end == "postprocess":
        anchors = np.concatenate([starts + 0.5 / _GRID, np.full((_CELLS, 2), 1 / _GRID)], axis=1).astype(np.float32)
        shapes = {"boxes": (1, 10, 4), "classes": (1, 10), "scores_of": (1, 10), "count": (1,)}
        out = [file.tensor(name, shape) for name, shape in shapes.items()]
        options = {
            "max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 10, "num_classes": 2,
            "use_regular_nms": False, "nms_score_threshold": 0.2, "nms_iou_threshold": 0.6,
            "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
        }  # fmt: skip
        file.custom("TFLite_Detection_PostProcess", [moves, scores, file.constant("anchors", anchors)], out, options)
        return file.ports([image], out).graph()
    cells = np.concatenate([starts, starts + 1 / _GRID], axis=1)[None].astype(np.float32)
    step, boxes = file.tensor("step", (1, _CELLS, 4)), file.tensor("boxes", (1, _CELLS, 4))
    file.op("MUL", [moves, file.constant("small", np.full((1, 1, 1), 0.02, np.float32))], [step], "Mul")
    file.op("ADD", [step, file.constant("cells", cells)], [boxes], "Add")
    if end == "table":
        return file.ports([image], [scores, boxes]).graph()
    best, kind = file.tensor("best_score", (1, _CELLS)), file.tensor("class", (1, _CELLS), "int32")
    axis = file.constant("axis", np.array([2], np.int32))
    file.op("REDUCE_MAX", [scores, axis], [best], "Reducer", keepDims=False)
    file.op("ARG_MAX", [scores, axis], [kind], "ArgMax", outputType=2)
    return file.ports([image], [boxes, kind, best]).graph()


def _pointwise(file: File, source: int, weights: np.ndarray, bias: np.ndarray) -> int:
    """A 1 x 1 convolution on the grid."""
    out = file.tensor(f"conv{len(weights)}", (1, _GRID, _GRID, len(weights)))
    kernel, zero = file.constant(f"w{len(weights)}", weights[:, None, None]), file.constant(f"b{len(weights)}", bias)
    file.op(
        "CONV_2D", [source, kernel, zero], [out], "Conv2D",
        strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, padding=1,
    )  # fmt: skip
    return out


def _flat(file: File, source: int, numbers: int) -> int:
    out = file.tensor(f"flat{numbers}", (1, _CELLS, numbers))
    shape = file.constant(f"shape{numbers}", np.array([1, _CELLS, numbers], np.int32))
    file.op("RESHAPE", [source, shape], [out], "Reshape", newShape=[1, _CELLS, numbers])
    return out


def scenes(count: int, seed: int = 0) -> tuple[np.ndarray, list[list[tuple[int, int, int, int, int]]]]:
    """uint8 images of squares, and each image's squares: x, y, width, height in pixels, and the class."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, SIZE, SIZE, 3)).astype(np.uint8)
    squares: list[list[tuple[int, int, int, int, int]]] = []
    for image in images:
        own = []
        # Some images show nothing.
        for cell in random.choice(_CELLS, random.integers(0, 4), replace=False):
            y, x = (int(place) * CELL for place in divmod(int(cell), _GRID))
            high, wide = (int(side) for side in random.integers(2, CELL + 1, 2))
            kind = int(random.integers(2))
            image[y : y + high, x : x + wide, kind] = random.integers(140, 256)
            own.append((x, y, wide, high, kind))
        squares.append(own)
    return images, squares


def truth(squares: list[list[tuple[int, int, int, int, int]]]) -> np.ndarray:
    """Squares as an .npz file has them: ``(N, boxes, 5)``."""
    made = np.full((len(squares), max(map(len, squares)), 5), -1.0)
    for place, own in enumerate(squares):
        for row, (x, y, wide, high, kind) in enumerate(own):
            made[place, row] = (y / SIZE, x / SIZE, (y + high) / SIZE, (x + wide) / SIZE, kind)
    return made


def coco(squares: list[list[tuple[int, int, int, int, int]]]) -> dict[str, Any]:
    """Squares as COCO has them; its numbers of categories have gaps."""
    boxes = [(place, square) for place, own in enumerate(squares) for square in own]
    return {
        "info": {"description": "squares"},
        "images": [
            {"id": 100 + place, "file_name": f"{place:03}.png", "width": SIZE, "height": SIZE}
            for place in range(len(squares))
        ],
        "annotations": [
            {"id": number, "image_id": 100 + place, "category_id": 3 + 4 * kind, "bbox": list(box), "iscrowd": 0}
            for number, (place, (*box, kind)) in enumerate(boxes)
        ],
        "categories": [{"id": 3 + 4 * number, "name": name} for number, name in enumerate(CLASSES)],
    }


def write_coco(root: Path, count: int, seed: int = 0, split: str = "") -> Path:
    """A folder ``[split/]images/*.png`` with ``annotations.json`` beside it."""
    images, squares = scenes(count, seed)
    folder = root / split / "images"
    folder.mkdir(parents=True)
    for place, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{place:03}.png")
    (folder.parent / "annotations.json").write_text(json.dumps(coco(squares)))
    return root
