"""`octavo targets`: checks which targets accept a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack, get_args

import numpy as np

from octavo.api.tried import draw_tried
from octavo.base.errors import ModelError, OctavoError
from octavo.base.progress import Progress, Silent
from octavo.deployment.targets.ask import ask, every
from octavo.deployment.targets.litert import classes_of
from octavo.deployment.targets.survey import Survey
from octavo.deployment.targets.target import Target, Trial
from octavo.recipe.options import InputFields, Inputs, inputs_of
from octavo.runtime.litert import Kernels, Model
from octavo.source.load import load_model, preprocess_for


def targets(
    model: Path | str,
    data: Path | str | Inputs | None = None,
    targets: Sequence[Target] | None = None,
    *,
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Survey:
    """Checks on every target whether it accepts a model.

    Args:
        model: An int8 `.tflite` classifier.
        data: Images to run, test images where there is a split; made-up ones when left out. `images`
            of them; 16, or all where there are fewer, when left out.
        targets: The targets to check. All of them by default.
        progress: Where progress goes.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: The model or the images are not as they should be.

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
        raise ModelError(f"'{path}' is no .tflite file.", "Quantize or export it first: `octavo quantize`.")
    loaded = load_model(path, inputs.signature, inputs.size, progress=progress, kernels=get_args(Kernels))
    preprocess = preprocess_for(loaded, inputs, progress)
    tried = draw_tried(loaded.graph, preprocess, inputs)
    runner = Model(loaded.graph)
    encoded = tried.seen
    if preprocess is not None:
        encoded = runner.inputs[0].encode(preprocess.normalize(np.asarray(tried.seen)))
    trial = Trial(path, loaded.graph, encoded, classes_of(runner, encoded), tried.labels)
    return Survey(tuple(ask(trial, targets or every(), progress.say)))
