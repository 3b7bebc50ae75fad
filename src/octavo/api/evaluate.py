"""`octavo evaluate`: the score of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from octavo.analysis.evaluate import evaluate as score
from octavo.analysis.scale_choice import warn_of_chance
from octavo.analysis.tasks.task import Scores, Task
from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.base.errors import DataError
from octavo.base.jobs import Backend, Jobs
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocessing
from octavo.data.reading import reader
from octavo.data.split import draw_test
from octavo.recipe.options import InputFields, Inputs, Source, inputs_of
from octavo.runtime.litert import Kernels
from octavo.source.load import load_model
from octavo.tflite.graph import Graph


def evaluate(
    model: Path | str,
    data: Source | Inputs,
    *,
    kernels: Kernels = "xnnpack",
    jobs: int | None = None,
    backend: Backend = "loky",
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Scores:
    """Evaluates a model file on the test images of a folder, archive or `.npz`.

    Args:
        model: A `.tflite` (float or int8) or `.keras` model of any task: see `octavo.analysis.tasks`.
        data: Labelled images; the test split where there is one, else the validation split, else the fifth that the
            other commands hold out at the same `seed`. `images` of them, stratified; all when left out. They may show
            some of the model's classes only, where its class names are known. Or samples ``(x, y)`` from Python code,
            of which all are evaluated: see docs/api.md.
        kernels: Which of LiteRT's kernel families runs it.
        jobs: How many processes share the images, which are then read as they are needed and not held in memory
            (docs/scaling.md). All are read into memory when left out.
        backend: The engine that runs these processes.
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
    inputs, shared = inputs_of(data, fields), None if jobs is None else Jobs(jobs, backend)
    loaded = load_model(model, inputs.signature, inputs.size, progress=progress, kernels=[kernels])
    source = opened(inputs, progress, loaded, tests=True, jobs=shared)
    drawn = draw_test(source, inputs.images, inputs.seed, read=reader(shared, inputs.data, source))
    preprocess = scale_of(loaded, inputs, source, progress, drawn).preprocess
    test, task = understood(loaded, drawn, inputs, progress)
    scores = measured(loaded.graph, test, task, preprocess, kernels, progress)
    warn_of_chance(scores, preprocess)
    return scores


def measured(
    graph: Graph, test: ImageSet, task: Task, preprocess: Preprocessing, kernels: Kernels, progress: Progress
) -> Scores:
    """The scores of a model on samples that tell what is right.

    Args:
        graph: The model.
        test: The samples.
        task: How the outputs are scored.
        preprocess: The preprocessing of an image. None if the model takes no image.
        kernels: Which of LiteRT's kernel families runs it.
        progress: Receives progress messages.

    Raises:
        DataError: The samples do not tell what is right, or do not fit the model.
    """
    with progress.track("evaluate", len(test)) as advance:
        scores = score(graph, test, preprocess, kernels, advance, task)
    if not scores.known:
        raise DataError(
            f"The data do not tell what is right for the task {task.name}, so that there is nothing to score.",
            "Give labels that fit the outputs (docs/tasks.md), set `task`, or compare with the float model instead: "
            "octavo compare.",
        )
    return scores
