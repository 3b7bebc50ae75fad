"""The evaluation of a model that comes as a file: measured on images, or read from what `octavo evaluate` printed."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.evaluate import evaluate, model_score
from octavo.analysis.evaluation import ModelScore
from octavo.analysis.tasks.task import Task
from octavo.analysis.understood import understood
from octavo.base.border import border, parse_json
from octavo.base.errors import OctavoError
from octavo.base.files import sha256
from octavo.base.metric import Metric
from octavo.base.progress import Progress
from octavo.data.dataset import ImageSet
from octavo.data.open import open_data
from octavo.data.split import draw_test, held_out
from octavo.recipe.options import Inputs, Source
from octavo.runtime.litert import inputs_of
from octavo.source.load import Loaded
from octavo.source.recordings import cut


class Evaluated(ModelScore):
    """The score of a model file.

    Args:
        sha256: The SHA-256 of the file.
        data: Where the samples come from.
        images: How many of them were run.
        kernels: The kernel family that ran the model, in words.
        task: How the outputs are scored.
        metric: The deciding figure.
    """

    sha256: str
    data: str
    images: int
    kernels: str
    task: str
    metric: Metric


def samples_to_measure(loaded: Loaded, inputs: Inputs, progress: Progress) -> tuple[ImageSet, Task]:
    """The test samples of `inputs.data`, as `octavo evaluate` draws them, and the task that scores them.

    Args:
        loaded: The model.
        inputs: The data, and what the caller says of the model.
        progress: Is told which samples are held out, and what was guessed.

    Raises:
        DataError: There are no labelled test samples, or their classes are not the model's.
    """
    source = cut(open_data(inputs.data, inputs_of(loaded.graph), tests=True), loaded, inputs, progress)
    if said := held_out(source, inputs.seed):
        progress.say(said)
    return understood(loaded, draw_test(source, inputs.images, inputs.seed), inputs, progress)


def evaluated(
    model: Path, loaded: Loaded, test: ImageSet, task: Task, data: Source | None, progress: Progress
) -> Evaluated:
    """Measures a model, as `octavo evaluate` does.

    Args:
        model: The file.
        loaded: The same, read; its sidecar says the preprocessing and the classes.
        test: The samples.
        task: How the outputs are scored.
        data: Where the samples come from.
        progress: Is told how far the work is.

    Raises:
        DataError: The samples do not fit the model.
    """
    preprocess = None if loaded.sidecar is None else loaded.sidecar.preprocess
    with progress.track("evaluate", len(test)) as advance:
        scores = evaluate(loaded.graph, test, preprocess, progress=advance, task=task)
    return Evaluated(
        sha256=sha256(model),
        data=str(data) if isinstance(data, Path | str) else "samples given in Python",
        images=len(test),
        kernels=scores.kernels,
        task=scores.task,
        metric=scores.metric,
        **dict(model_score(scores)),
    )


def read_evaluation(path: Path, model: Path) -> Evaluated:
    """Reads what ``octavo evaluate MODEL --data PHOTOS --json`` printed.

    Args:
        path: The JSON file.
        model: The model that is deployed, which has to be the one that was evaluated.

    Raises:
        OctavoError: The file holds something else, or it is of another model.
    """
    todo = f"Write it with `octavo evaluate {model} --data PHOTOS --json > {path}`."
    with border(f"'{path}' is not the evaluation of a model file", todo):
        found = Evaluated.model_validate(parse_json(path.read_bytes()))
    if found.sha256 != sha256(model):
        raise OctavoError(f"'{path}' is the evaluation of another model than '{model}': their SHA-256 differ.", todo)
    return found
