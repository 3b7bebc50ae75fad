"""`octavo calibrate`: how many calibration images are enough for a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from octavo.analysis.calibration_study import Study, study
from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.base.errors import DataError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.data.split import VALIDATION_IMAGES, draw_training, training_images
from octavo.quantization.quantize import check_float
from octavo.recipe.options import Fields, Inputs, Quantization, Source, options_of
from octavo.source.load import load_float

SIZES = (1, 5, 10, 50, 100, 500)


def calibrate(
    model: Path | str,
    data: Source | Inputs,
    quantization: Quantization = Quantization(),
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 5,
    validation: int | None = None,
    progress: Progress | None = None,
    **fields: Unpack[Fields],
) -> Study:
    """Measures how the number of calibration images affects a model: see `octavo.analysis.calibration_study.study`.

    Args:
        model: A float `.tflite` or `.keras` classifier.
        data: A folder, archive or `.npz` of labelled images; some of its training images calibrate and others evaluate.
            Its test images are not used.
        quantization: Observer, tuning passes, precision of ops, and whether one may stay in float. By default what
            `octavo.quantize` does.
        sizes: The numbers of calibration images. By default those of `SIZES` that the training images allow, and where
            there are fewer than 500, all of them.
        draws: The number of random draws for each size.
        validation: The number of images to evaluate on. By default, and at most 1,000, the validation images where the
            data have some, else a third of the training images.
        progress: Where progress goes.
        **fields: Fields of `Inputs` and `Quantization`, given one by one, except `images`: use `sizes` here.

    Raises:
        OctavoError: The model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> octavo.calibrate("float.tflite", "photos", sizes=[1, 10, 50], draws=2)
        Study(minmax + compensate, 6 models of 1 to 50 images: the images cannot tell how many are enough; ...)
    """
    progress = progress or Silent()
    inputs, wanted = options_of(data, quantization, fields)
    if inputs.images is not None:
        raise OctavoError(
            "The study calibrates with several numbers of images.", "Set `sizes`, and leave out `images`."
        )
    loaded = load_float(model, inputs.signature, inputs.size, progress=progress)
    check_float(loaded.graph)
    source = opened(inputs, progress, loaded)
    preprocess = scale_of(loaded, inputs, source, progress).checked()
    if validation is None and "validation" not in source.splits:
        validation = min(training_images(source, inputs.seed) // 3, VALIDATION_IMAGES)
    pool, apart = draw_training(source, validation, inputs.seed)
    if apart is None:
        raise DataError(
            f"The study needs labelled images to evaluate on; there are none for it in {source.source}.",
            "Give labelled images, ten or more a class.",
        )
    apart, task = understood(loaded, apart, inputs, progress)
    return study(
        loaded.graph,
        pool,
        apart,
        preprocess,
        sizes if sizes is not None else [*(size for size in SIZES if size < len(pool)), min(len(pool), SIZES[-1])],
        wanted,
        task=task,
        draws=draws,
        seed=inputs.seed,
        progress=progress,
    )
