"""`octavo quantize --max-drop`: the cheapest int8 form of a model file that meets a target."""

from __future__ import annotations

import shutil
from pathlib import Path

from octavo.analysis.target_search import Search, Wish
from octavo.analysis.target_search import search as look
from octavo.api.written import check_output
from octavo.base.errors import DataError, QuantizationError
from octavo.base.files import write_bytes
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import calibration, draw_training
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import Quantized
from octavo.recipe.schema import QatRecipe
from octavo.runtime.litert import Model
from octavo.source.load import load_model, preprocess_for
from octavo.source.sidecar import Sidecar
from octavo.training import qat
from octavo.training.convert import convert


def search(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    wish: Wish,
    *,
    images: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    train: bool = True,
    allow_float: bool = False,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Search:
    """Finds the cheapest int8 form of a model that meets a target, and writes it; see `octavo.analysis.target_search`.

    What was tried is written beside it, as ``OUT.search.json``, whether or not the wish was met.

    Args:
        model: A `.keras` or float `.tflite` classifier.
        data: A folder, archive or `.npz` of labelled images. Its training images calibrate and judge (others of them),
            never its test images. Where the model has been trained on them, they judge it too kindly.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        wish: What the model is to meet.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        validation: How many images judge; a tenth of the training images, and 1,000 at most, when left out.
        seed: Of the choice of both.
        train: Whether training for int8 may be tried when all else fails.
        allow_float: Leave in float what has no int8 form.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        QuantizationError: Nothing that was tried meets the wish; the message says how near it came.
        OctavoError: The model or the images are not as they should be; nothing is written then.
    """
    progress = progress or Silent()
    out = Path(out)
    check_output(out, model)
    if not str(wish):
        raise QuantizationError("A target search needs a target.", "Give a largest drop, size or latency.")
    loaded = load_model(model)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    training, judges = draw_training(open_dataset("path", Path(data)), validation, seed)
    if judges is None:
        raise DataError(
            f"A target search needs labelled images to judge by, and '{data}' gives none for it.",
            "Give labelled images, ten or more a class.",
        )
    calibrating = calibration(training, images, seed)
    workdir = out.with_name(f".{out.name}.training")

    def trained() -> Quantized:
        from octavo.simulate import Simulation

        feed = Feed(calibrating, preprocess, Model(loaded.graph, workers=1).input)
        simulation = Simulation(loaded.graph, calibrate(loaded.graph, feed), allow_float)
        # The judges choose no epoch: they would then judge their own choice.
        qat.fit(simulation, training, None, preprocess, QatRecipe(), seed, workdir, progress)
        return convert(simulation).quantized

    found = look(
        loaded.graph,
        calibrating,
        judges,
        preprocess,
        wish,
        allow_float=allow_float,
        train=trained if train and _keras() else None,
        progress=progress,
    )
    record = out.with_name(f"{out.name}.search.json")
    found.record(str(model)).write(record)
    if found.chosen is None:
        raise _unmet(found, record)
    write_bytes(out, found.chosen.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else training.classes
    Sidecar(preprocess, classes).write(out)
    shutil.rmtree(workdir, ignore_errors=True)
    return found


def _keras() -> bool:
    from importlib.util import find_spec

    return find_spec("keras") is not None and find_spec("tensorflow") is not None


def _unmet(found: Search, record: Path) -> QuantizationError:
    best = max(found.trials, key=lambda trial: trial.accuracy)
    small = min(found.trials, key=lambda trial: len(trial.content))
    fast = min(found.trials, key=lambda trial: trial.median_ms)
    details = []
    if found.wish.drop is not None:
        details.append(f"most accurate: {best.way}, {best.against.value * 100:+.2f} points against float")
        details += [f"in the way: {item.op} '{item.name.split(';')[0]}'" for item in found.obstacles]
    if found.wish.size is not None:
        details.append(f"smallest: {small.way}, {len(small.content):,} bytes")
    if found.wish.latency is not None:
        details.append(f"fastest: {fast.way}, {fast.median_ms:.2f} ms; a smaller or narrower network is the way on")
    return QuantizationError(
        f"Nothing of {len(found.trials)} ways is {found.wish}, on {found.images} validation images.",
        f"Ask for less, or look at what was tried: octavo pareto {record}.",
        details=details,
    )
