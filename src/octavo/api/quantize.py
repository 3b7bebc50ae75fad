"""`octavo quantize`: post-training quantization of a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from octavo.api.written import Written, check_output, left_by_xnnpack
from octavo.base.files import write_bytes
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import draw_calibration
from octavo.quantization import data_checks
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision, resolve
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize as to_int8
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.source.load import load_model, preprocess_for
from octavo.source.sidecar import Sidecar
from octavo.tuning.tune import tune as run_passes


def quantize(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    images: int | None = None,
    seed: int = 0,
    observer: str = "minmax",
    tune: Sequence[str] = ("compensate",),
    allow_float: bool = False,
    precision: Mapping[str, Precision] | None = None,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Quantizes a `.keras` or float `.tflite` model with calibration images, proves it, and writes it.

    Args:
        model: The float model.
        data: A folder, archive or `.npz` of images; its training images calibrate, never its test images.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        seed: Of their choice.
        observer: How values seen become a range.
        tune: Tuning passes, names in `octavo.tuning.tune.ACTS`, in their order.
        allow_float: Keep in float what has no int8 form.
        precision: The ops that are not int8, each with its precision: see `octavo.quantization.precision.resolve`.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model, the images or the result are not as they should be; nothing is written then.

    Example:
        >>> import octavo
        >>> made = octavo.quantize("float.tflite", "photos", "made.tflite", images=50, tune=["equalize", "compensate"])
        >>> [step.act for step in made.steps], all(check.passed for check in made.proof.checks)
        (['equalize', 'compensate'], True)
    """
    progress = progress or Silent()
    out = Path(out)
    check_output(out, model)
    loaded = load_model(model)
    resolve(loaded.graph, precision or {})
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    chosen = draw_calibration(open_dataset("path", Path(data)), images, seed)
    feed = Feed(chosen, preprocess, Model(loaded.graph, workers=1).input)
    data_checks.warn(loaded.graph, chosen, feed, preprocess)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(loaded.graph, feed, observer, advance)
    plan = partial(build, allow_float=allow_float, precision=precision)
    tuned = run_passes(loaded.graph, ranges, feed, tune, plan, progress)
    int8 = to_int8(tuned.graph, tuned.ranges, allow_float, precision)
    proof = prove(int8)
    write_bytes(out, int8.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else chosen.classes
    Sidecar(preprocess, classes).write(out)
    return Written(out, int8, proof, len(loaded.graph.content), left_by_xnnpack(int8), tuned.steps)
