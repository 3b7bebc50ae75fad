"""What is right for images, as a model gives it: the task, and the labels in the order of the model's outputs."""

from __future__ import annotations

from dataclasses import replace

from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.detection import Detection
from octavo.analysis.tasks.single_label import SingleLabel
from octavo.analysis.tasks.task import Task
from octavo.base.backend import load
from octavo.base.progress import Progress
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.recipe.options import Inputs
from octavo.runtime.litert import inputs_of
from octavo.source.classes import boxes_in_model_order, class_names, in_model_order, to_calibrate
from octavo.source.load import Loaded, output_of, preprocess_for, task_of


def understood(
    loaded: Loaded, images: ImageSet, inputs: Inputs, progress: Progress, calibrate: bool = False
) -> tuple[ImageSet, Task]:
    """Images with what is right for them as a model gives it, and the task that scores it.

    Args:
        loaded: The model.
        images: The images, as the source labels them.
        inputs: The caller's options.
        progress: Is told what was guessed.
        calibrate: Whether labels are of use but not needed: images of other classes than the model's lose them.

    Returns:
        The images, their classes in the model's order if the task has one class per image, and the task.

    Raises:
        DataError: The images do not fit the model's inputs, or their classes are not the model's.
        OctavoError: There is no such task.
        MissingDependencyError: The package that scores it is not installed.
    """
    # What does not fit the inputs is no matter of labels, of which the next lines may warn.
    Feed(images, preprocess_for(loaded, inputs), [port.real for port in inputs_of(loaded.graph)])
    output = output_of(loaded, inputs)
    task = task_for(inputs.task or task_of(loaded), loaded.graph, images, progress, output)
    if task.needs is not None and images.truth is not None and not calibrate:
        load(task.needs)
    if task.name == SingleLabel().name:
        return to_calibrate(loaded, images, inputs) if calibrate else in_model_order(loaded, images, inputs), task
    names = class_names(loaded, inputs)
    if not names or images.labels is not None:
        return images, task
    if task.name == Detection().name and images.truth is not None and images.classes:
        return boxes_in_model_order(images, names), task
    return replace(images, classes=names), task
