"""Opens the images of a command, says which are held out, and finds how they become a model's inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from octavo.analysis.scale_choice import ScaleChoice, choose_scale
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.single_label import SingleLabel
from octavo.analysis.tasks.task import Task
from octavo.base.errors import DataError
from octavo.base.progress import Progress
from octavo.data.dataset import Dataset, ImageSet
from octavo.data.open import open_dataset
from octavo.data.split import CALIBRATION_IMAGES, draw_calibration, held_out, training_images
from octavo.recipe.options import Inputs
from octavo.source.classes import class_names, in_model_order, to_calibrate
from octavo.source.load import Loaded, task_of


def opened(inputs: Inputs, progress: Progress) -> Dataset:
    """The images that a caller gave.

    Args:
        inputs: The caller's options.
        progress: Is told which images are held out for evaluation, unless the source says it itself.

    Raises:
        DataError: As `octavo.data.open.open_dataset`.
    """
    source = open_dataset("path", inputs.data)
    if said := held_out(source, inputs.seed):
        progress.say(said)
    return source


def scale_of(loaded: Loaded, inputs: Inputs, source: Dataset | None, progress: Progress) -> ScaleChoice:
    """How pixels become the inputs of a model that is measured: where it is not known, by training images.

    Args:
        loaded: The model.
        inputs: The caller's options.
        source: The caller's images; those that are held out are not looked at.
        progress: Is told what was found.
    """
    return choose_scale(loaded, inputs, _others(source, inputs), progress)


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
        DataError: The images' classes are not the model's.
        OctavoError: There is no such task.
    """
    task = task_for(inputs.task or task_of(loaded), loaded.graph, images, progress)
    if task.name == SingleLabel().name:
        return to_calibrate(loaded, images, inputs) if calibrate else in_model_order(loaded, images, inputs), task
    names = class_names(loaded, inputs)
    return replace(images, classes=names) if names and images.labels is None else images, task


def _others(source: Dataset | None, inputs: Inputs) -> Callable[[], ImageSet | None]:
    """Reads a few images that are not held out. None if there are none."""

    def read() -> ImageSet | None:
        if source is None:
            return None
        try:
            count = min(CALIBRATION_IMAGES, training_images(source, inputs.seed))
        except DataError:
            return None
        return draw_calibration(source, count, inputs.seed)

    return read
