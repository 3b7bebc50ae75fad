"""The calibration study of a model file: measured, as a table for a terminal, and as a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octavo.data.open import open_dataset
from octavo.data.split import draw_training
from octavo.errors import DataError
from octavo.pipeline import load_model, preprocess_for
from octavo.progress import Progress, Silent
from octavo.quantize import check_float
from octavo.study import Study, study

SIZES = (1, 5, 10, 50, 100, 500)


def study_file(
    model: Path | str,
    data: Path | str,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 5,
    observer: str = "minmax",
    acts: Sequence[str] = (),
    judges: int | None = None,
    seed: int = 0,
    allow_float: bool = False,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Study:
    """Measures what more calibration images bring a float model file: see `octavo.study.study`.

    Args:
        model: A float `.tflite` or `.keras` classifier.
        data: A folder, archive or `.npz` of labelled images; its training images calibrate and, others of them, judge.
            Its test images are not touched.
        sizes: How many images to calibrate with; those of `SIZES` that the training images allow, when left out.
        draws: How many choices of them.
        observer: How values seen become a range.
        acts: Tuning acts, in their order.
        judges: How many images judge; a tenth, and 1,000 at most, when left out.
        seed: Of all choices.
        allow_float: Leave in float what has no int8 form.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    loaded = load_model(model)
    check_float(loaded.graph)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    pool, apart = draw_training(open_dataset("path", Path(data)), judges, seed)
    if apart is None:
        raise DataError(
            f"The study needs labelled images to judge by, and '{data}' gives none for it.",
            "Give labelled images, ten or more a class.",
        )
    return study(
        loaded.graph,
        pool,
        apart,
        preprocess,
        sizes if sizes is not None else [size for size in SIZES if size <= len(pool)],
        draws=draws,
        observer=observer,
        acts=acts,
        seed=seed,
        allow_float=allow_float,
        progress=progress,
    )


def lines(value: Mapping[str, Any]) -> list[str]:
    """The study as lines of text, a size each.

    Args:
        value: The JSON value of a `Study`.
    """
    made = [f"float   {value['accuracy']:.2%} of {value['judges']} images"]
    for gap in value["gaps"]:
        points = [point for point in value["points"] if point["images"] == gap["images"]]
        accuracy = [point["accuracy"] for point in points]
        levels = [point["sqnr"] for point in points if point["sqnr"] is not None]
        made.append(
            f"{gap['images']:>6}  {np.mean(accuracy):.2%} ({min(accuracy):.2%} to {max(accuracy):.2%})  "
            f"{gap['value'] * 100:+.2f} points against the most ({gap['low'] * 100:+.2f} to {gap['high'] * 100:+.2f})  "
            f"agrees {np.mean([point['agreement'] for point in points]):.2%}  "
            f"{f'{np.mean(levels):.1f} dB' if levels else 'exact'}"
        )
    made.append(f"enough  {value['enough']}: the fewest that are not shown to be worse than the most")
    return made


def picture(value: Mapping[str, Any]) -> bytes:
    """Accuracy and error against the number of calibration images, as a PNG file; a dot is a draw.

    Args:
        value: The JSON value of a `Study`.
    """
    import io

    from matplotlib.figure import Figure

    from octavo.along import FLOAT, INK, INT8, QUIET

    sizes = [gap["images"] for gap in value["gaps"]]
    figure = Figure(figsize=(11, 4.4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    for axes, key, factor, label in (
        (left, "accuracy", 100, "int8 accuracy, %"),
        (right, "sqnr", 1, "SQNR of the output, dB (higher is better)"),
    ):
        every = [point for point in value["points"] if point[key] is not None]
        axes.plot([p["images"] for p in every], [p[key] * factor for p in every], "o", color=INT8, ms=4, alpha=0.45)
        means = [np.mean([p[key] * factor for p in every if p["images"] == size]) for size in sizes]
        axes.plot(sizes, means, color=INT8, lw=2, label=f"mean of {len({p['draw'] for p in every})} draws")
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axes.minorticks_off()
        axes.set(xlabel="calibration images", ylabel=label)
        axes.grid(axis="y", color="#E8EBEE", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left.axhline(value["accuracy"] * 100, color=FLOAT, lw=1.4, ls="--", label="float")
    for axes in (left, right):
        axes.axvline(value["enough"], color=QUIET, lw=1, ls=":", zorder=1)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    left.annotate(
        "enough",
        (value["enough"], 0.03),
        (4, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
