"""`octavo targets`: one model before every target."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from octavo import equal
from octavo.data.open import open_dataset
from octavo.data.split import draw_test
from octavo.errors import ModelError
from octavo.pipeline import load_model, preprocess_for
from octavo.progress import Progress, Silent
from octavo.runtime import Model
from octavo.targets.browser import Browser
from octavo.targets.edgetpu import EdgeTPU
from octavo.targets.ethosu import EthosU
from octavo.targets.litert import LiteRT, classes_of
from octavo.targets.micro import Micro
from octavo.targets.openvino import OpenVINO
from octavo.targets.target import Answer, Target, Trial


def every() -> list[Target]:
    """All targets, in the order they are shown."""
    families = [LiteRT("xnnpack"), LiteRT("builtin"), LiteRT("reference")]
    arm = [EthosU(name) for name in ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")]
    return [*families, Browser(), OpenVINO(), Micro(), *arm, EdgeTPU()]


@dataclass(frozen=True)
class Verdict:
    """One target's three answers; the later two are None where it can not take the model, or that is unknown."""

    target: str
    takes: Answer
    runs: Answer | None
    costs: Answer | None


def survey(
    model: Path | str,
    data: Path | str | None = None,
    images: int = 16,
    targets: Sequence[Target] | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Asks every target what it makes of a model.

    Args:
        model: An int8 `.tflite` classifier.
        data: Images to run, test images where there is a split; made-up ones when left out.
        images: How many.
        targets: Which targets; `every` when left out.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    path = Path(model)
    if path.is_file() and path.suffix != ".tflite":
        raise ModelError(f"'{path}' is no .tflite file.", "Quantize or export it first: `octavo quantize`.")
    loaded = load_model(path)
    preprocess = preprocess_for(loaded, progress=progress)
    labels = None
    if data is None:
        # They are in the model's channel order already.
        seen = equal.pictures(preprocess.shape, images)
        preprocess = replace(preprocess, channels="gray" if preprocess.channels == "gray" else "rgb")
    else:
        chosen = draw_test(open_dataset("path", Path(data)), images, 0)
        seen, labels = preprocess.resize(chosen.images), chosen.labels
    runner = Model(loaded.graph)
    inputs = runner.input.encode(preprocess.normalize(seen))
    trial = Trial(path, loaded.graph, inputs, classes_of(runner, inputs), labels)
    verdicts = []
    for target in targets or every():
        progress.say(f"asking {target.name}")
        with warnings.catch_warnings():
            # Other runtimes' deprecations are not the user's to mend.
            warnings.simplefilter("ignore")
            takes = target.takes(trial)
            if takes.answer:
                verdicts.append(Verdict(target.name, takes, target.runs(trial), target.costs(trial)))
            else:
                verdicts.append(Verdict(target.name, takes, None, None))
    return verdicts


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
