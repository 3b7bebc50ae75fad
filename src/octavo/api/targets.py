"""`octavo targets`: checks which targets accept a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack, get_args

import numpy as np

from octavo.analysis.tasks.choose import by_outputs, place_of
from octavo.api.opened import opened, scale_of
from octavo.api.samples import draw_samples
from octavo.base.errors import ModelError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.data.preprocess import Preprocess
from octavo.deployment.targets.ask import ask, every
from octavo.deployment.targets.survey import Survey
from octavo.deployment.targets.target import Target, trial_of
from octavo.recipe.options import InputFields, Inputs, Source, inputs_of
from octavo.rewrite.slim import encoded as raw_of
from octavo.runtime.litert import Kernels
from octavo.runtime.litert import inputs_of as ports_of
from octavo.source.classes import class_names
from octavo.source.load import load_model, output_of, task_of


def targets(
    model: Path | str,
    data: Source | Inputs | None = None,
    targets: Sequence[Target] | None = None,
    *,
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Survey:
    """Checks on every target whether it accepts a model.

    Args:
        model: An int8 `.tflite` model.
        data: Images to run, test images where there is a split; synthetic ones by default. `images`
            of them; 16, or all if there are fewer, by default.
        targets: The targets to check. All of them by default.
        progress: Receives progress messages.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: The model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> from octavo.deployment.targets.litert import LiteRT
        >>> octavo.targets("int8.tflite", "photos", targets=[LiteRT("xnnpack"), LiteRT("reference")])
        Survey(takes the model? LiteRT CPU, xnnpack: yes, ran; LiteRT CPU, reference: yes, ran)
    """
    progress = progress or Silent()
    inputs = inputs_of(data, fields)
    if inputs.images is not None and inputs.images < 1:
        raise OctavoError(f"`images` should be 1 or more, and is {inputs.images}.")
    path = Path(model)
    if path.is_file() and path.suffix != ".tflite":
        raise ModelError(f"'{path}' is not a .tflite file.", "Quantize or export it first: `octavo quantize`.")
    loaded = load_model(path, inputs.signature, inputs.size, progress=progress, kernels=get_args(Kernels))
    source = None if inputs.data is None else opened(inputs, progress, loaded)
    preprocess = scale_of(loaded, inputs, source, progress).preprocess
    samples = draw_samples(loaded.graph, preprocess, inputs, source)
    encoded = samples.inputs
    if isinstance(preprocess, Preprocess):
        encoded = raw_of(ports_of(loaded.graph)[0], preprocess, np.asarray(samples.inputs))
    output = output_of(loaded, inputs)
    place = None if output is None else place_of(loaded.graph, output)
    name = inputs.task or task_of(loaded) or by_outputs(loaded.graph, class_names(loaded, inputs), place).name
    classes = (place or 0) if name == "single-label" else None
    trial = trial_of(path, loaded.graph, encoded, classes, samples.labels)
    return Survey(tuple(ask(trial, targets or every(), progress.say)))
