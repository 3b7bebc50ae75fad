"""Opens the images of a command, says which are held out, and finds how they become a model's inputs."""

from __future__ import annotations

from collections.abc import Callable

from octavo.analysis.scale_choice import ScaleChoice, choose_scale
from octavo.base.errors import DataError
from octavo.base.progress import Progress
from octavo.data.dataset import Dataset, ImageSet
from octavo.data.open import open_dataset
from octavo.data.split import CALIBRATION_IMAGES, draw_calibration, held_out, training_images
from octavo.recipe.options import Inputs
from octavo.source.load import Loaded


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
