"""`octavo sensitivity`: what each op of a model file costs in int8."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from octavo.analysis.sensitivity import Sensitivity
from octavo.analysis.sensitivity import sensitivity as measure
from octavo.base.formats import DEFAULT
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import draw_calibration
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import possible
from octavo.quantization.quantize import check_float
from octavo.quantization.table import build
from octavo.runtime.litert import Kernels, Port
from octavo.source.load import load_model, preprocess_for
from octavo.tuning.tune import tune as run_passes

# How many images are run through every file where no number is asked for.
IMAGES = 32


def sensitivity(
    model: Path | str,
    data: Path | str,
    *,
    images: int | None = None,
    seed: int = 1,
    calibration: int | None = None,
    observer: str = "minmax",
    tune: Sequence[str] = ("compensate",),
    budget: float | None = None,
    allow_float: bool = False,
    kernels: Kernels = "xnnpack",
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Measures what every op of a float model file costs in int8: see `octavo.analysis.sensitivity.sensitivity`.

    The ranges come from the images that `octavo quantize` calibrates with; test images are not touched.

    Args:
        model: A float `.tflite` or `.keras` model.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits.
        images: How many are run through every file; 32, or all where there are fewer, when left out.
        seed: Of their choice; 1, so that they are not those that calibrate.
        calibration: How many images calibrate; 100, or all where there are fewer, when left out.
        observer: How values seen become a range.
        tune: Tuning passes, names in `octavo.tuning.tune.ACTS`, in their order; they change ops in int8 alone.
        budget: Seconds after which no new file is begun; None for no limit.
        allow_float: Leave in float what has no int8 form.
        kernels: Which of LiteRT's kernel families runs the files.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    loaded = load_model(model)
    graph = loaded.graph
    check_float(graph)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    source = open_dataset("path", Path(data))
    entry = graph.tensors[graph.inputs[0]]
    port = Port(entry.name, entry.shape, "float32", None)
    feed = Feed(draw_calibration(source, calibration, 0, argument="calibration"), preprocess, port)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(graph, feed, observer, advance)
    plan = partial(build, allow_float=allow_float)
    tuned = run_passes(graph, ranges, feed, tune, plan, progress)
    chosen = draw_calibration(source, images, seed, usual=IMAGES)
    files = 2 * sum(DEFAULT in possible(op) for op in graph.ops) + 2
    with progress.track("measure", files) as advance:
        return measure(
            tuned.reference,
            tuned.ranges,
            Feed(chosen, preprocess, port)[:],
            chosen.labels,
            tuned=tuned.graph,
            budget=budget,
            allow_float=allow_float,
            kernels=kernels,
            progress=advance,
        )
