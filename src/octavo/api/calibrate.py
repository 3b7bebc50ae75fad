"""`octavo calibrate`: how many calibration images are enough for a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from octavo.analysis.calibration_study import Study, study
from octavo.base.errors import DataError
from octavo.base.progress import Progress, Silent
from octavo.data.open import open_dataset
from octavo.data.split import draw_training
from octavo.quantization.quantize import check_float
from octavo.source.load import load_model, preprocess_for

SIZES = (1, 5, 10, 50, 100, 500)


def calibrate(
    model: Path | str,
    data: Path | str,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 5,
    observer: str = "minmax",
    tune: Sequence[str] = (),
    judges: int | None = None,
    seed: int = 0,
    allow_float: bool = False,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Study:
    """Measures what more calibration images bring a float model file: see `octavo.analysis.calibration_study.study`.

    Args:
        model: A float `.tflite` or `.keras` classifier.
        data: A folder, archive or `.npz` of labelled images; its training images calibrate and, others of them, judge.
            Its test images are not touched.
        sizes: How many images to calibrate with; those of `SIZES` that the training images allow, when left out.
        draws: How many choices of them.
        observer: How values seen become a range.
        tune: Tuning passes, in their order.
        judges: How many images judge; a tenth, and 1,000 at most, when left out.
        seed: Of all choices.
        allow_float: Leave in float what has no int8 form.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.

    Example:
        >>> import octavo
        >>> octavo.calibrate("float.tflite", "photos", sizes=[1, 10, 50], draws=2)
        Study(minmax, 6 models of 1 to 50 images: 1 are enough; int8 100.00% with 50, float 100.00%, on 12 images)
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
        acts=tune,
        seed=seed,
        allow_float=allow_float,
        progress=progress,
    )
