"""Quantization: makes an int8 file from a float model."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from octavo.base.errors import OctavoError
from octavo.base.place import Place
from octavo.cli.app import command
from octavo.cli.launch import part
from octavo.cli.options import (
    BackendFlag,
    DeterministicFlag,
    Flags,
    ForceFlag,
    JobsFlag,
    JsonFlag,
    LaunchFlag,
    LogFlag,
    images,
    start_passes,
    trackers,
)
from octavo.cli.output import Shown, print_run, print_search, print_written, say
from octavo.recipe.options import Inputs, Quantization, meaning

CALIBRATION = images(
    images="Number of calibration images, drawn from the training images; 100 by default.",
    seed="Seed of the choice of images, and of their order and augmentation in training.",
)
OBSERVER = (
    f"{meaning(Quantization, 'observer')} If it is left out, and an output with minmax is not very close to "
    "the float model's, the observer whose answers do best."
)
ReportFlag = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Make the file by a run, in this directory, that also evaluates, times and reports: report.html. Test "
        "images do not calibrate there, also of a folder without a test split.",
    ),
]


@command("octavo quantize model.keras --data photos/ -o model_int8.tflite")
def quantize(
    model: Annotated[Path, typer.Argument(help="A float model: .tflite, .keras, .h5, .onnx, or a SavedModel folder.")],
    inputs: Annotated[Inputs, CALIBRATION],
    out: Annotated[Path, typer.Option("-o", "--out", help="The int8 .tflite to write.")],
    quantization: Annotated[Quantization, Flags({"observer": OBSERVER})],
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop", min=0, metavar="POINTS", help="Search for the cheapest model that loses no more accuracy."
        ),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size", min=1, metavar="BYTES", help="Search for the most accurate file of at most this size."
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            "--max-latency",
            min=0,
            metavar="MS",
            help="Search for the most accurate model of at most this latency, on one thread.",
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option("--validation", min=1, help="Training images to evaluate a search on; they do not calibrate."),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Whether a search may use quantization-aware training.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing if the outputs do not match the float model's.")
    ] = False,
    split_outputs: Annotated[
        bool,
        typer.Option("--split-outputs", help="Split an output that is a concatenation into one output for each part."),
    ] = False,
    report: ReportFlag = None,
    jobs: JobsFlag = None,
    backend: BackendFlag = "loky",
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Quantize a model to full-integer int8 with calibration images, and prove the file."""
    searches = any(limit is not None for limit in (max_drop, max_size, max_latency))
    if jobs is not None and (searches or report is not None):
        raise OctavoError("A search, or a run with a report, is done by one process.", "Leave out `jobs`.")
    if report is not None:
        if searches or strict or split_outputs:
            raise OctavoError(
                "A run with a report has no target, --strict or --split-outputs.",
                f"Make the file without `report`, and then: octavo report {out} --float {model} --data {inputs.data}.",
            )
        _report(model, inputs, out, report, {"quantize": {"method": "ptq", **vars(quantization)}}, force, json_)
        return
    if searches:
        from octavo.analysis.target_search import Goal
        from octavo.api.search import search

        goal = Goal(max_drop, max_size, max_latency)
        found = search(
            model,
            inputs,
            out,
            goal,
            quantization,
            validation=validation,
            train=train,
            force=force,
            progress=Shown(),
        )
        print_search(found.record(str(model)), out, json_)
        return
    from octavo.api.quantize import quantize as quantize_file
    from octavo.api.written import AnswersWarning

    with warnings.catch_warnings():
        if not json_:
            # The results below say the same.
            warnings.simplefilter("ignore", AnswersWarning)
        result = quantize_file(
            model,
            inputs,
            out,
            quantization,
            strict=strict,
            split_outputs=split_outputs,
            force=force,
            jobs=jobs,
            backend=backend,
            progress=Shown(),
        )
    print_written(result, json_)


@command("octavo qat model.keras --data photos/ -o model_int8.tflite --epochs 3")
def qat(
    model: Annotated[Path, typer.Argument(help="A .keras or float .tflite model, of any task (docs/tasks.md).")],
    inputs: Annotated[Inputs, CALIBRATION],
    out: Annotated[Path, typer.Option("-o", "--out", help="The int8 .tflite to write.")],
    quantization: Annotated[Quantization, Flags(without=("tune",))],
    start: Annotated[
        str,
        typer.Option("--start", help="Tuning passes from whose result training starts, by commas; '' for none."),
    ] = "compensate",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Adam's peak learning rate; by default the best of a few that are tried."),
    ] = None,
    distill: Annotated[
        float,
        typer.Option(
            "--distill", min=0, max=1, help="Share of the loss that compares with the float model; 1 needs no labels."
        ),
    ] = 0.0,
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Mirror half of the training images. Only images without masks can be augmented."),
    ] = False,
    shift: Annotated[
        float, typer.Option("--shift", min=0, max=1, help="Shift training images by up to this share of their size.")
    ] = 0.0,
    validation: Annotated[
        int | None,
        typer.Option("--validation", min=0, help="Training images held out for validation; a tenth by default."),
    ] = None,
    deterministic: DeterministicFlag = False,
    report: ReportFlag = None,
    log: LogFlag = None,
    launch: LaunchFlag = None,
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Train a model for int8 (quantization-aware training), write it, and prove the file. Resumes if interrupted."""
    from octavo.api.qat import qat as qat_file
    from octavo.recipe.schema import AugmentRecipe, QatRecipe

    recipe = QatRecipe(
        start=start_passes(start),
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        distill=distill,
        augment=AugmentRecipe(flip=flip, shift=shift),
    )
    logged = trackers(log)
    place = part(launch)
    if report is not None:
        from octavo.data.open import open_dataset
        from octavo.data.split import usual_validation

        source = open_dataset("path", inputs.path)
        apart = usual_validation(source, inputs.seed) if validation is None else validation
        sections = {
            "data": {"validation": apart},
            "quantize": {"method": "qat", **vars(quantization)},
            "qat": {**recipe.model_dump(), "control": False},
        }
        settings = [f"log={json.dumps(logged)}", *(["deterministic=true"] if deterministic else [])]
        _report(model, inputs, out, report, sections, force, json_, settings, place)
        return
    result = qat_file(
        model,
        inputs,
        out,
        quantization,
        recipe=recipe,
        validation=validation,
        log=logged,
        deterministic=deterministic,
        force=force,
        progress=Shown(),
        place=place,
    )
    if not place.rank:
        print_written(result, json_)


def _report(
    model: Path,
    inputs: Inputs,
    out: Path,
    folder: Path,
    sections: Mapping[str, Mapping[str, Any]],
    force: bool,
    json_: bool,
    settings: Sequence[str] = (),
    place: Place = Place(),
) -> None:
    """Makes the int8 file by a run with a report."""
    from octavo.api.reported import reported
    from octavo.recipe.own import own_recipe

    command = shlex.join(["octavo", *sys.argv[1:]])
    reported(own_recipe(model, inputs, sections, settings), folder, out, Shown(), command, force=force, place=place)
    if place.rank:
        return
    print_run(folder, json_)
    if not json_:
        say(f"wrote   {out} and its sidecar")
