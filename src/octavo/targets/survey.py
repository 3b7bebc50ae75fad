"""`octavo targets`: one model before every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from octavo import equal
from octavo.data.open import open_dataset
from octavo.data.split import draw_test
from octavo.errors import ModelError, OctavoError
from octavo.pipeline import load_model, preprocess_for
from octavo.progress import Progress, Silent
from octavo.runtime import Model
from octavo.targets.ask import Verdict, ask, every
from octavo.targets.litert import classes_of
from octavo.targets.target import Target, Trial


def survey(
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
        seen = equal.pictures(preprocess.shape, equal.IMAGES if images is None else images)
        preprocess = replace(preprocess, channels="gray" if preprocess.channels == "gray" else "rgb")
    else:
        chosen = draw_test(open_dataset("path", Path(data)), images, 0, equal.IMAGES)
        seen, labels = preprocess.resize(chosen.images), chosen.labels
    runner = Model(loaded.graph)
    inputs = runner.input.encode(preprocess.normalize(seen))
    trial = Trial(path, loaded.graph, inputs, classes_of(runner, inputs), labels)
    return ask(trial, targets or every(), progress.say)


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as a JSON value."""
    return [asdict(verdict) for verdict in verdicts]


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as text."""
    lines = []
    for verdict in verdicts:
        lines.append(verdict.target)
        for word, answer in (("takes it", verdict.takes), ("ran here", verdict.runs)):
            if answer is not None:
                said = {True: "yes", False: "no", None: "unknown"}[answer.answer]
                lines.append(f"  {word}  {said:8} {answer.about}")
        if verdict.costs is not None:
            said = {True: "measured", False: "estimate", None: "unknown"}[verdict.costs.answer]
            lines.append(f"  cost      {said:8} {verdict.costs.about}")
    return "\n".join(lines)
