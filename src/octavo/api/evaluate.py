"""`octavo evaluate`: the accuracy of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from octavo.analysis.evaluate import Scores
from octavo.analysis.evaluate import evaluate as score
from octavo.base.progress import Progress, Silent
from octavo.data.open import open_dataset
from octavo.data.split import draw_test
from octavo.recipe.options import InputFields, Inputs, inputs_of
from octavo.runtime.litert import Kernels
from octavo.source.load import check_classes, load_model, preprocess_for


def evaluate(
    model: Path | str,
    data: Path | str | Inputs,
    *,
    kernels: Kernels = "xnnpack",
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Scores:
    """Evaluates a model file on the test images of a folder, archive or `.npz`.

    Args:
        model: A `.tflite` (float or int8) or `.keras` classifier.
        data: Labelled images; the test split where there is one, else all. `images` of them, stratified; all when left
            out.
        kernels: Which of LiteRT's kernel families runs it.
        progress: Where progress goes.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: The model or the images are not as they should be.

    Example:
        >>> import octavo
        >>> octavo.evaluate("int8.tflite", "photos")
        Scores(100.00% right (95% interval 88.65% to 100.00%), 30 images, 3 classes, LiteRT with XNNPACK)
    """
    progress = progress or Silent()
    inputs = inputs_of(data, fields)
    loaded = load_model(model, inputs.signature, inputs.size, progress=progress, kernels=[kernels])
    preprocess = preprocess_for(loaded, inputs, progress)
    test = draw_test(open_dataset("path", inputs.data), inputs.images, inputs.seed)
    check_classes(loaded, test)
    with progress.track("evaluate", len(test)) as advance:
        return score(loaded.graph, test, preprocess, kernels, advance)
