"""`octavo qat`: quantization-aware training of a model file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.api.written import Written, check_output
from octavo.base.files import check_folder
from octavo.base.place import Place
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.split import calibration, draw_training
from octavo.quantization.calibrate import survey
from octavo.quantization.precision import resolve
from octavo.quantization.ranges import TensorRanges
from octavo.recipe.options import Fields, Inputs, Quantization, Source, options_of
from octavo.recipe.schema import QatRecipe
from octavo.reports.tracking.log import check as check_trackers
from octavo.reports.tracking.log import log as log_record
from octavo.reports.tracking.record import of_training
from octavo.runtime.benchmark import left_by_xnnpack
from octavo.runtime.litert import inputs_of
from octavo.source.classes import names_for
from octavo.source.load import load_float, output_of, task_of
from octavo.source.sidecar import Sidecar, write_model
from octavo.training import qat as training
from octavo.training.convert import convert
from octavo.training.determinism import make_deterministic
from octavo.training.start import started
from octavo.training.team import join
from octavo.tuning.tune import read_first


def qat(
    model: Path | str,
    data: Source | Inputs,
    out: Path | str,
    quantization: Quantization = Quantization(),
    *,
    recipe: QatRecipe | None = None,
    validation: int | None = None,
    log: Sequence[str] = (),
    deterministic: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    place: Place = Place(),
    **fields: Unpack[Fields],
) -> Written:
    """Trains a float model for int8 on images or other samples, proves it, and writes it.

    The task says what the model learns, and by which score its best epoch is kept (docs/tasks.md).

    Repeating an interrupted call resumes after the last complete epoch.

    Args:
        model: The float model; it is not changed.
        data: A folder, archive or `.npz` of images or other samples; its training samples train, calibrate and choose,
            never its test samples. They may be unlabelled where the recipe learns from the float model alone, as the
            task `outputs` always does, and for autoencoders. `images` of them calibrate; 100, or all if there are
            fewer, by default.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        quantization: Observer of the initial ranges, precision of ops, and whether an op may stay in float. Training
            takes the place of tuning passes, but for those that it starts from (`recipe.start`).
        recipe: How to train.
        validation: The number of training images held out to choose the best epoch. A tenth by default.
        log: Where the training is logged once it is done, as names in `octavo.recipe.choices.TRACKERS`.
        deterministic: Train so that the same seed gives the same file on any number of cores (docs/reliability.md).
            It fixes TensorFlow's threads until the process ends, and must come before TensorFlow's first work in it.
        force: Also replace an `out` that Octavo did not write.
        progress: Receives progress messages.
        place: Which process this is, of several that train together (docs/training-on-several-machines.md):
            `octavo.base.place.place(os.environ)`. All of them make the same call, and rank 0 alone writes.
        **fields: Fields of `Inputs` and `Quantization`, given one by one. `seed` seeds the order of the images and
            their augmentation too.

    Raises:
        OctavoError: The model cannot be read, the images do not fit it, or the result fails its proof; nothing is
            written then.

    Example:
        >>> import octavo
        >>> from octavo.recipe.schema import QatRecipe
        >>> recipe = QatRecipe(epochs=1, learning_rate=1e-4)
        >>> made = octavo.qat("float.tflite", "photos", "trained.tflite", recipe=recipe)
        >>> all(check.passed for check in made.proof.checks)
        True
    """
    # One of several processes speaks.
    progress = Silent() if progress is None or place.rank else progress
    inputs, wanted = options_of(data, quantization, fields)
    wanted.refuse("tune", why="Training takes the place of tuning passes; `start` names those that it starts from.")
    out, recipe = Path(out), recipe or QatRecipe()
    workdir = out.with_name(f".{out.name}.training")
    if not place.rank:
        check_output(out, model, force=force)
        check_folder(workdir)
        check_trackers(log)
    if deterministic:
        make_deterministic()
    team = join(place)
    from octavo.simulate import Simulation

    loaded = load_float(model, inputs.signature, inputs.size, progress=progress)
    resolve(loaded.graph, wanted.precision)
    source = opened(inputs, progress, loaded)
    preprocess = scale_of(loaded, inputs, source, progress).checked()
    train, chosen = draw_training(source, validation, inputs.seed)
    train, task = understood(loaded, train, inputs, progress)
    chosen = None if chosen is None else understood(loaded, chosen, inputs, Silent())[0]
    feed = Feed(calibration(train, inputs.images, inputs.seed), preprocess, inputs_of(loaded.graph))
    with progress.track("calibrate", len(feed)) as advance:
        excerpt = read_first(loaded.graph, feed, recipe.start)
        seen = survey(loaded.graph, feed, wanted.first_observer, advance, excerpt=excerpt)
    # Processors of another kind may round otherwise.
    ranges = TensorRanges.model_validate_json(team.same(TensorRanges.of(seen.ranges).model_dump_json().encode())).ranges
    tuned = started(loaded.graph, ranges, feed, recipe.start, wanted, progress, seen.excerpts)
    simulation = Simulation(tuned.graph, tuned.ranges, wanted.allow_float, wanted.precision)
    teacher = loaded.graph if tuned.steps else None
    history = training.fit(
        simulation,
        train,
        chosen,
        preprocess,
        recipe,
        inputs.seed,
        workdir,
        progress,
        task=task,
        teacher=teacher,
        team=team,
    )
    team.leave()
    made = convert(simulation)
    left, slow = left_by_xnnpack(made.quantized.graph)
    written = Written(out, made.quantized, made.proof, len(loaded.graph.content), left, slow)
    if place.rank:
        return written
    write_model(
        out,
        made.quantized.content,
        Sidecar(
            preprocess,
            names_for(loaded, train, inputs),
            inputs.task or task_of(loaded),
            train.windows,
            output_of(loaded, inputs),
        ),
    )
    shutil.rmtree(workdir, ignore_errors=True)
    if log:
        given = {"model": model, **vars(inputs), **vars(wanted), "qat": recipe.model_dump(exclude={"control"})}
        del given["tune"]
        log_record(of_training(out, given, history, made.proof), log, progress, f"'{out}' is finished.")
    return written
