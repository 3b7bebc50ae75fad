"""`octavo targets`: a model file before every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from octavo.base.errors import ModelError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.data.open import open_dataset
from octavo.data.split import draw_test
from octavo.deployment.targets.ask import ask, every
from octavo.deployment.targets.litert import classes_of
from octavo.deployment.targets.target import Target, Trial, Verdict
from octavo.rewrite import equality
from octavo.runtime.litert import Model
from octavo.source.load import load_model, preprocess_for


def targets(
    model: Path | str,
    data: Path | str | None = None,
    images: int | None = None,
    targets: Sequence[Target] | None = None,
    *,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Asks every target what it makes of a model.

    Args:
        model: An int8 `.tflite` classifier.
        data: Images to run, test images where there is a split; made-up ones when left out.
        images: How many; 16, or all where there are fewer, when left out.
        targets: Which targets; `every` when left out.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    if images is not None and images < 1:
        raise OctavoError(f"At least one image has to be run, and {images} were asked for.")
    path = Path(model)
    if path.is_file() and path.suffix != ".tflite":
        raise ModelError(f"'{path}' is no .tflite file.", "Quantize or export it first: `octavo quantize`.")
    loaded = load_model(path)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    labels = None
    if data is None:
        # They are in the model's channel order already.
        seen = equality.pictures(preprocess.shape, equality.IMAGES if images is None else images)
        preprocess = replace(preprocess, channels="gray" if preprocess.channels == "gray" else "rgb")
    else:
        chosen = draw_test(open_dataset("path", Path(data)), images, 0, equality.IMAGES)
        seen, labels = preprocess.resize(chosen.images), chosen.labels
    runner = Model(loaded.graph)
    inputs = runner.input.encode(preprocess.normalize(seen))
    trial = Trial(path, loaded.graph, inputs, classes_of(runner, inputs), labels)
    return ask(trial, targets or every(), progress.say)
