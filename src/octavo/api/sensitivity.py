"""`octavo sensitivity`: what each op of a model file costs in int8."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

from octavo.analysis.sensitivity import Sensitivity
from octavo.analysis.sensitivity import sensitivity as measure
from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.base.formats import DEFAULT
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.split import draw_calibration
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import possible
from octavo.quantization.quantize import check_float
from octavo.quantization.table import build
from octavo.recipe.options import Fields, Inputs, Quantization, Source, options_of
from octavo.runtime.litert import Kernels, inputs_of
from octavo.source.load import load_float
from octavo.tuning.tune import tune as run_passes

# The default number of images to run through every file.
IMAGES = 32


def sensitivity(
    model: Path | str,
    data: Source | Inputs,
    quantization: Quantization = Quantization(),
    *,
    calibration: int | None = None,
    budget: float | None = None,
    kernels: Kernels = "xnnpack",
    progress: Progress | None = None,
    **fields: Unpack[Fields],
) -> Sensitivity:
    """Measures what every op of a float model file costs in int8: see `octavo.analysis.sensitivity.sensitivity`.

    The ranges come from the images that `octavo quantize` calibrates with. Test images are not used.

    Args:
        model: A float `.tflite` or `.keras` model.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits. `images` of them
            are run through every file; 32, or all if there are fewer, by default. Others calibrate.
        quantization: Observer, tuning passes (they change ops in int8 alone), and whether an op may stay in float. Each
            op is measured in int8 and in float: `precision` has no use here.
        calibration: How many images calibrate; 100, or all if there are fewer, by default.
        budget: The time in seconds after which no new file is started. None for no limit.
        kernels: Which of LiteRT's kernel families runs the files.
        progress: Receives progress messages.
        **fields: Fields of `Inputs` and `Quantization`, given one by one.

    Raises:
        OctavoError: The model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> found = octavo.sensitivity("float.tflite", "photos", images=16)
        >>> costliest = found.ops[0]
        >>> costliest.op, costliest.only.agreement
        ('SOFTMAX', 1.0)
    """
    progress = progress or Silent()
    inputs, wanted = options_of(data, quantization, fields)
    wanted.refuse("precision", why="Every op is measured in int8 and in float, so `precision` has no effect.")
    loaded = load_float(model, inputs.signature, inputs.size, progress=progress, kernels=[kernels])
    graph = loaded.graph
    check_float(graph)
    source = opened(inputs, progress, loaded)
    preprocess = scale_of(loaded, inputs, source, progress).checked()
    ports = inputs_of(graph)
    feed = Feed(draw_calibration(source, calibration, inputs.seed, argument="calibration"), preprocess, ports)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(graph, feed, wanted.first_observer, advance)
    plan = partial(build, allow_float=wanted.allow_float)
    tuned = run_passes(graph, ranges, feed, wanted.tune, plan, progress)
    for step in tuned.steps:
        progress.say(f"{step.name}: {step.tuned.summary}")
    drawn = draw_calibration(source, inputs.images, inputs.seed, usual=IMAGES, choice=1)
    chosen, task = understood(loaded, drawn, inputs, progress, calibrate=True)
    files = 2 * sum(DEFAULT in possible(op) for op in graph.ops) + 2
    with progress.track("measure", files) as advance:
        return measure(
            tuned.reference,
            tuned.ranges,
            Feed(chosen, preprocess, ports)[:],
            chosen,
            task,
            tuned=tuned.graph,
            budget=budget,
            allow_float=wanted.allow_float,
            kernels=kernels,
            progress=advance,
        )
