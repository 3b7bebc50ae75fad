"""`octavo quantize`: post-training quantization of a model file."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from octavo.analysis.answers import sampled
from octavo.analysis.observer_choice import quantized
from octavo.analysis.scale_choice import choose_scale
from octavo.analysis.understood import understood
from octavo.api.opened import opened
from octavo.api.written import AnswersWarning, Written, check_output, slowdown
from octavo.base.errors import QuantizationError
from octavo.base.jobs import Backend, Jobs
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.reading import reader
from octavo.data.split import draw_calibration
from octavo.quantization import data_checks
from octavo.quantization.calibrate import survey
from octavo.quantization.precision import resolve
from octavo.quantization.proof import prove
from octavo.quantization.quantize import check_float
from octavo.recipe.options import Fields, Inputs, Quantization, Source, options_of
from octavo.rewrite.split_outputs import split_outputs as apart
from octavo.runtime.benchmark import left_by_xnnpack
from octavo.runtime.litert import inputs_of
from octavo.source.classes import names_for
from octavo.source.load import Loaded, load_float, output_of, task_of
from octavo.source.sidecar import Sidecar, write_model
from octavo.source.tried import Trials
from octavo.tuning.tune import read_first


def quantize(
    model: Path | str,
    data: Source | Inputs,
    out: Path | str,
    quantization: Quantization = Quantization(),
    *,
    strict: bool = False,
    split_outputs: bool = False,
    force: bool = False,
    jobs: int | None = None,
    backend: Backend = "loky",
    progress: Progress | None = None,
    **fields: Unpack[Fields],
) -> Written:
    """Quantizes a float model with calibration images, proves it, and writes it.

    Args:
        model: The float model: a `.tflite`, `.keras`, `.h5` or `.onnx` file, or a SavedModel folder (docs/models.md).
        data: A folder, archive or `.npz` of images; its training images calibrate, never its test images. `images`
            of them; 100, or all if there are fewer, by default. Or samples from Python code: see docs/api.md.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        quantization: Observer, tuning passes, precision of ops, and whether an op may stay in float.
        strict: Raise an error, instead of a warning, if the outputs differ from those of the float model.
        split_outputs: Split every output that is a concatenation into one output per part, each with its own scale.
        force: Also replace an `out` that Octavo did not write.
        jobs: How many processes share the calibration images, which are then read as they are needed and not held in
            memory (docs/scaling.md). All are read into memory when left out.
        backend: The engine that runs these processes.
        progress: Receives progress messages.
        **fields: Fields of `Inputs` and `Quantization`, given one by one.

    Raises:
        OctavoError: The model cannot be read, the images do not fit it, or the result fails its proof; nothing is
            written then.

    Example:
        >>> import octavo
        >>> made = octavo.quantize("float.tflite", "photos", "made.tflite", images=50, tune=["equalize", "compensate"])
        >>> [step.name for step in made.steps], all(check.passed for check in made.proof.checks)
        (['equalize', 'compensate'], True)
    """
    progress = progress or Silent()
    inputs, wanted = options_of(data, quantization, fields)
    shared = None if jobs is None else Jobs(jobs, backend)
    out = Path(out)
    check_output(out, model, force=force)

    drawn: list[ImageSet] = []

    def draw(known: Loaded | None = None) -> ImageSet:
        # Once: samples may come from a generator.
        if not drawn:
            source = opened(inputs, progress, known, jobs=shared)
            read = reader(shared, inputs.data, source)
            drawn.append(draw_calibration(source, inputs.images, inputs.seed, read=read))
        return drawn[0]

    # It starts at once, so that it gets ready while this process reads.
    with Trials() as trials:
        loaded = load_float(
            model, inputs.signature, inputs.size, lambda: draw().size, progress, ["xnnpack"], trials=trials
        )
        if split_outputs:
            loaded = replace(loaded, graph=apart(loaded.graph))
        check_float(loaded.graph)
        resolve(loaded.graph, wanted.precision)
        chosen, _ = understood(loaded, draw(loaded), inputs, Silent(), calibrate=True)
        preprocess = choose_scale(loaded, inputs, lambda: chosen, progress).checked()
        feed = Feed(chosen, preprocess, inputs_of(loaded.graph))
        data_checks.warn_of_images(chosen, preprocess)
        with progress.track("calibrate", len(feed)) as advance:
            excerpt = read_first(loaded.graph, feed, wanted.tune)
            seen = survey(loaded.graph, feed, wanted.first_observer, advance, sampled(len(feed)), excerpt)
        data_checks.warn_of_survey(loaded.graph, chosen, preprocess, seen)
        made = quantized(loaded.graph, seen.ranges, feed, wanted, seen, progress, trials)
    int8, found = made.int8, made.answers
    proof = prove(int8)
    if strict and not found.hold:
        first, *rest = found.describe()
        raise QuantizationError(
            f"Nothing is written: {first}.", "Leave out `strict` to write the file anyway.", details=rest
        )
    if not found.hold:
        warnings.warn(". ".join(found.describe()), AnswersWarning, stacklevel=2)
    known = Sidecar(
        preprocess,
        names_for(loaded, chosen, inputs),
        inputs.task or task_of(loaded),
        chosen.windows,
        output_of(loaded, inputs),
        made.ranges.observer,
    )
    write_model(out, int8.content, known)
    left, slow = left_by_xnnpack(int8.graph)
    slower = slowdown(loaded.graph, int8.graph, slow)
    return Written(out, int8, proof, len(loaded.graph.content), left, slow, made.tuned.steps, found, slower)
