"""`octavo evaluate`: the accuracy of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from octavo.analysis.evaluate import evaluate as score
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.task import Scores
from octavo.base.errors import DataError
from octavo.base.progress import Progress, Silent
from octavo.data.open import open_dataset
from octavo.data.split import draw_test
from octavo.recipe.options import InputFields, Inputs, inputs_of
from octavo.runtime.litert import Kernels
from octavo.source.load import check_classes, load_model, preprocess_for, task_of


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
        model: A `.tflite` (float or int8) or `.keras` model of any task: see `octavo.analysis.tasks`.
        data: Labelled images; the test split where there is one, else all. `images` of them, stratified; all when left
            out.
        kernels: Which of LiteRT's kernel families runs it.
        progress: Receives progress messages.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: The model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> octavo.evaluate("int8.tflite", "photos")
        SingleLabelScores(accuracy 100.00% (95% interval 88.65% to 100.00%), 30 samples, LiteRT with XNNPACK)
    """
    progress = progress or Silent()
    inputs = inputs_of(data, fields)
    loaded = load_model(model, inputs.signature, inputs.size, progress=progress)
    preprocess = preprocess_for(loaded, inputs, progress)
    test = draw_test(open_dataset("path", inputs.data), inputs.images, inputs.seed)
    check_classes(loaded, test)
    task = task_for(inputs.task or task_of(loaded), loaded.graph, test, progress)
    with progress.track("evaluate", len(test)) as advance:
        scores = score(loaded.graph, test, preprocess, kernels, advance, task)
    if not scores.known:
        raise DataError(
            f"The data do not tell what is right for the task {task.name}, so that there is nothing to score.",
            "Give labels that fit the outputs (docs/tasks.md), set `task`, or compare with the float model instead: "
            "octavo compare.",
        )
    return scores
