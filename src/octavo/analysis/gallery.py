"""The gallery of a report: samples for which two models differ, as pictures where they are pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from octavo.analysis.evaluation import Disagreement
from octavo.analysis.tasks.detection import DetectionScores
from octavo.analysis.tasks.segmentation import IGNORED, SegmentationScores
from octavo.analysis.tasks.task import Example, Scores
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet

Array = npt.NDArray[Any]

# The longer side of a picture, in pixels.
_SIDE = 128
# Colours that people with colour blindness can tell apart (Okabe and Ito 2008), for the classes of a mask.
_COLOURS = (
    *((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115)),
    *((240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
)


def shown(samples: ImageSet, before: Scores, after: Scores, item: Example) -> Disagreement:
    """A sample for which two models differ, with its picture.

    Args:
        samples: All samples.
        before: The first model's scores.
        after: The second model's.
        item: What the two give for one sample.
    """
    return Disagreement(
        id=samples.ids[item.place],
        label=item.truth,
        before=item.before,
        after=item.after,
        before_probability=item.before_confidence,
        after_probability=item.after_confidence,
        image=_picture(samples, before, after, item.place),
    )


def _picture(samples: ImageSet, before: Scores, after: Scores, place: int) -> str | None:
    """A PNG as a data URI; with masks or boxes where the task has them; None for samples that are not pictures."""
    panels = []
    image = None if isinstance(samples.images, Columns) else samples.images[place]
    if image is not None and image.dtype == np.uint8:
        panels.append(Image.fromarray(image))
    if isinstance(before, SegmentationScores) and isinstance(after, SegmentationScores):
        masks = [] if before.truth is None else [before.truth[place]]
        panels += [_coloured(mask) for mask in (*masks, before.masks[place], after.masks[place])]
    if panels and isinstance(before, DetectionScores) and isinstance(after, DetectionScores):
        truth = [] if before.truth is None else [(before.right(place), 4)]
        drawn = [*truth, (before.drawn(place), 5), (after.drawn(place), 5)]
        panels = [_boxed(panels[0], boxes, column) for boxes, column in drawn]
    if not panels:
        return None
    for panel in panels:
        panel.thumbnail((_SIDE, _SIDE))
    columns = min(len(panels), 2)
    wide, high = max(panel.width for panel in panels), max(panel.height for panel in panels)
    joined = Image.new("RGB", (columns * wide, -(-len(panels) // columns) * high), "white")
    for number, panel in enumerate(panels):
        joined.paste(panel, (number % columns * wide, number // columns * high))
    stream = io.BytesIO()
    joined.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _boxed(picture: Image.Image, boxes: Array, column: int) -> Image.Image:
    """A picture in the size that is shown, with boxes in the colours of their classes.

    Args:
        picture: The picture.
        boxes: Corners as shares of its sides, and more, ``(boxes, columns)``.
        column: Which column holds the class.
    """
    scale = _SIDE / max(picture.size)
    made = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)))
    pen = ImageDraw.Draw(made)
    for row in boxes:
        top, left, bottom, right = row[:4] * np.tile([made.height - 1, made.width - 1], 2)
        # Black, the first colour, is hard to see on a picture.
        colour = _COLOURS[1 + int(row[column]) % (len(_COLOURS) - 1)]
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
    return made


def _coloured(mask: Array) -> Image.Image:
    """A mask with a colour for each class; white where pixels are not counted."""
    table = np.array([_COLOURS[k % len(_COLOURS)] for k in range(256)], np.uint8)
    table[IGNORED] = 255
    return Image.fromarray(table[mask])
