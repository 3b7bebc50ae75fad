"""Opens the images of a command, says which are held out, and finds how they become a model's inputs."""

from __future__ import annotations

from collections.abc import Callable

from octavo.analysis.scale_choice import ScaleChoice, choose_scale, pictured
from octavo.base.errors import DataError
from octavo.base.jobs import Jobs
from octavo.base.progress import Progress
from octavo.data.dataset import Dataset, ImageSet
from octavo.data.open import open_data
from octavo.data.split import CALIBRATION_IMAGES, draw_calibration, held_out, training_images
from octavo.recipe.options import Inputs
from octavo.runtime.litert import inputs_of
from octavo.source.load import Loaded, images_of
from octavo.source.recordings import cut


def opened(
    inputs: Inputs, progress: Progress, loaded: Loaded | None = None, tests: bool = False, jobs: Jobs | None = None
) -> Dataset:
    """The images that a caller gave.

    Args:
        inputs: The caller's options.
        progress: Is told which images are held out for evaluation, unless the source says it itself, and how recordings
            are cut.
        loaded: The model; None where it depends on the images, and takes one.
        tests: Whether samples from Python code are to be evaluated; else all of them may calibrate and train.
        jobs: The processes that look into shards.

    Raises:
        DataError: As `octavo.data.open.open_data`.
    """
    source = open_data(inputs.data, () if loaded is None else inputs_of(loaded.graph), tests, jobs)
    source = source if loaded is None else cut(source, loaded, inputs, progress)
    if said := held_out(source, inputs.seed):
        progress.say(said)
    return source


def scale_of(
    loaded: Loaded, inputs: Inputs, source: Dataset | None, progress: Progress, scored: ImageSet | None = None
) -> ScaleChoice:
    """How pixels become the inputs of a model that is measured: where it is not known, by training images.

    Args:
        loaded: The model.
        inputs: The caller's options.
        source: The caller's images; those that are held out are not looked at.
        progress: Is told what was found.
        scored: The images that are scored, if there are any. They choose no scale, but arrays need none.
    """
    return choose_scale(loaded, inputs, _others(loaded, source, inputs, scored), progress)


def _others(
    loaded: Loaded, source: Dataset | None, inputs: Inputs, scored: ImageSet | None
) -> Callable[[], ImageSet | None]:
    """Reads a few images that are not held out. None if there are none, unless those that are held out are arrays."""

    def read() -> ImageSet | None:
        if source is None:
            return None
        try:
            count = min(CALIBRATION_IMAGES, training_images(source, inputs.seed))
        except DataError:
            arrays = scored is not None and len(scored) and not pictured(scored, images_of(loaded.graph))
            return scored if arrays else None
        return draw_calibration(source, count, inputs.seed)

    return read
