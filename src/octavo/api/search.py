"""`octavo quantize --max-drop`: the cheapest int8 form of a model file that meets a target."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Unpack

from octavo.analysis.target_search import Goal, Search
from octavo.analysis.target_search import search as look
from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.api.written import check_output
from octavo.base.errors import DataError, QuantizationError
from octavo.base.extras import EXTRAS
from octavo.base.files import check_folder
from octavo.base.progress import Progress, Silent
from octavo.base.units import milliseconds
from octavo.data.encoded_inputs import Feed
from octavo.data.split import calibration, draw_training
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import Quantized
from octavo.recipe.options import Fields, Inputs, Quantization, Source, options_of
from octavo.recipe.schema import QatRecipe
from octavo.runtime.litert import inputs_of
from octavo.source.classes import names_for
from octavo.source.load import load_float, output_of
from octavo.source.sidecar import Sidecar, write_model
from octavo.training import qat
from octavo.training.convert import convert


def search(
    model: Path | str,
    data: Source | Inputs,
    out: Path | str,
    goal: Goal,
    quantization: Quantization = Quantization(),
    *,
    validation: int | None = None,
    train: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    **fields: Unpack[Fields],
) -> Search:
    """Finds the cheapest int8 form of a model that meets a target, and writes it; see `octavo.analysis.target_search`.

    All trials are recorded beside it, in ``OUT.search.json``, whether or not the target was met.

    Args:
        model: A `.keras` or float `.tflite` classifier.
        data: A folder, archive or `.npz` of labelled images. Some of its training images calibrate and others
            evaluate; its test images are not used. The accuracy is optimistic if the model was trained on these images.
            `images` calibrate: by default 100, or all if there are fewer.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        goal: The target to meet.
        quantization: Whether an op may stay in float; the search chooses the rest.
        validation: The number of images to evaluate on. By default a tenth of the training images, at most 1,000.
        train: Whether to try quantization-aware training if nothing else meets the target.
        force: Also replace an `out` that Octavo did not write.
        progress: Receives progress messages.
        **fields: Fields of `Inputs` and `Quantization`, given one by one.

    Raises:
        QuantizationError: No trial meets the target. The message gives the best results.
        OctavoError: The model cannot be read, or the images do not fit it; nothing is written then.

    Example:
        >>> import octavo
        >>> found = octavo.search("float.tflite", "photos", "found.tflite", octavo.Goal(drop=0.5))
        >>> found.chosen.way, len(found.trials)
        ('minmax', 1)
    """
    progress = progress or Silent()
    inputs, wanted = options_of(data, quantization, fields)
    wanted.refuse(
        *("observer", "tune", "precision"),
        why="A target search chooses observer, tuning passes and precision itself.",
    )
    out = Path(out)
    record, workdir = out.with_name(f"{out.name}.search.json"), out.with_name(f".{out.name}.training")
    check_output(out, model, beside=[record], force=force)
    check_folder(workdir)
    if not str(goal):
        raise QuantizationError("A target search needs a target.", "Give a largest drop, size or latency.")
    loaded = load_float(model, inputs.signature, inputs.size, progress=progress)
    source = opened(inputs, progress, loaded)
    preprocess = scale_of(loaded, inputs, source, progress).checked()
    training, apart = draw_training(source, validation, inputs.seed)
    if apart is None:
        raise DataError(
            f"A target search needs labelled images to evaluate on; there are none for it in {source.source}.",
            "Give labelled images, ten or more a class.",
        )
    training, _ = understood(loaded, training, inputs, Silent())
    apart, task = understood(loaded, apart, inputs, progress)
    calibrating = calibration(training, inputs.images, inputs.seed)

    def trained() -> Quantized:
        from octavo.simulate import Simulation

        feed = Feed(calibrating, preprocess, inputs_of(loaded.graph))
        simulation = Simulation(loaded.graph, calibrate(loaded.graph, feed), wanted.allow_float)
        # Labels are for the first output; the others stay near those of the float model.
        recipe = QatRecipe(distill=0.5 if len(loaded.graph.outputs) > 1 else 0.0)
        # The evaluation images do not choose the epoch, so that the measured accuracy stays unbiased.
        qat.fit(simulation, training, None, preprocess, recipe, inputs.seed, workdir, progress, task=task)
        return convert(simulation).quantized

    found = look(
        loaded.graph,
        calibrating,
        apart,
        preprocess,
        goal,
        task=task,
        allow_float=wanted.allow_float,
        train=trained if train and not EXTRAS["train"].missing else None,
        progress=progress,
    )
    found.record(str(model)).write(record)
    if found.chosen is None:
        raise _unmet(found, record)
    write_model(
        out,
        found.chosen.content,
        Sidecar(
            preprocess,
            names_for(loaded, training, inputs),
            task.name,
            training.windows,
            output_of(loaded, inputs),
        ),
    )
    shutil.rmtree(workdir, ignore_errors=True)
    return found


def _unmet(found: Search, record: Path) -> QuantizationError:
    best = max(found.trials, key=lambda trial: trial.quality)
    small = min(found.trials, key=lambda trial: len(trial.content))
    fast = min(found.trials, key=lambda trial: trial.median_ms)
    details = []
    if found.goal.drop is not None:
        details.append(f"best {found.metric.title}: {best.way}, {best.figures[0]} against float")
        details += [said] if (said := best.verdict(found.goal)) is not None else []
        details += [f"costs most of it: {item.op} '{item.name.split(';')[0]}'" for item in found.obstacles]
    if found.goal.size is not None:
        details.append(f"smallest: {small.way}, {len(small.content):,} bytes")
    if found.goal.latency is not None:
        details.append(f"fastest: {fast.way}, {milliseconds(fast.median_ms)}; use a smaller or narrower network")
    return QuantizationError(
        f"None of {len(found.trials)} methods tried is {found.goal}, on {found.images} validation images.",
        f"Relax the target, or see what was tried: octavo pareto {record}. The trials nearest to it:",
        details=details,
    )
