"""`octavo qat`: quantization-aware training of a model file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from octavo.api.written import Written, check_output, left_by_xnnpack
from octavo.base.files import write_bytes
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import calibration, draw_training
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision, resolve
from octavo.recipe.schema import QatRecipe
from octavo.runtime.litert import Model
from octavo.source.load import check_classes, load_model, preprocess_for
from octavo.source.sidecar import Sidecar
from octavo.training import qat as training
from octavo.training.convert import convert


def qat(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    recipe: QatRecipe | None = None,
    images: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    allow_float: bool = False,
    precision: Mapping[str, Precision] | None = None,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Trains a `.keras` or float `.tflite` classifier for int8 on labelled images, proves it, and writes it.

    A call that was interrupted goes on after the last whole epoch when it is made again.

    Args:
        model: The float model; it is not changed.
        data: A folder, archive or `.npz` of images; its training images train, calibrate and choose, never its test
            images. They may be unlabelled where the recipe learns from the float model alone.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        recipe: How to train.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        validation: How many training images are set apart to choose the best epoch by; a tenth when left out.
        seed: Of the choice of images, and of their order and augmentation.
        allow_float: Keep in float what has no int8 form.
        precision: The ops that are int4 or float instead of int8: see `octavo.quantization.precision.resolve`.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model, the images or the result are not as they should be; nothing is written then.

    Example:
        >>> import octavo
        >>> from octavo.recipe.schema import QatRecipe
        >>> recipe = QatRecipe(epochs=1, learning_rate=1e-4)
        >>> made = octavo.qat("float.tflite", "photos", "trained.tflite", recipe=recipe)
        >>> all(check.passed for check in made.proof.checks)
        True
    """
    from octavo.simulate import Simulation

    progress = progress or Silent()
    out, recipe = Path(out), recipe or QatRecipe()
    check_output(out, model)
    loaded = load_model(model)
    resolve(loaded.graph, precision or {})
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    train, chosen = draw_training(open_dataset("path", Path(data)), validation, seed)
    check_classes(loaded, train)
    feed = Feed(calibration(train, images, seed), preprocess, Model(loaded.graph, workers=1).input)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(loaded.graph, feed, progress=advance)
    simulation = Simulation(loaded.graph, ranges, allow_float, precision)
    workdir = out.with_name(f".{out.name}.training")
    training.fit(simulation, train, chosen, preprocess, recipe, seed, workdir, progress)
    made = convert(simulation)
    write_bytes(out, made.quantized.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else train.classes
    Sidecar(preprocess, classes).write(out)
    shutil.rmtree(workdir, ignore_errors=True)
    return Written(out, made.quantized, made.proof, len(loaded.graph.content), left_by_xnnpack(made.quantized))
