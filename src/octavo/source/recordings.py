"""Recordings, CSV and WAV files that may be longer than a model's input: the windows that a model gets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from octavo.base.errors import DataError
from octavo.base.progress import Progress
from octavo.data.dataset import Dataset
from octavo.data.windows import Windows
from octavo.recipe.options import Inputs
from octavo.runtime.litert import inputs_of
from octavo.source.load import Loaded, windows_of

# How many recordings are looked at to see whether they are longer than the input.
_LOOKED_AT = 8


def windows_for(loaded: Loaded, inputs: Inputs) -> Windows | None:
    """How recordings are cut for a model.

    The step comes from the options, else from the model's sidecar; else one window begins where the last ends.

    Returns:
        None for a model of several inputs, or of one number.

    Raises:
        DataError: The step is below 1.
    """
    if inputs.window_step is not None and inputs.window_step < 1:
        raise DataError(f"`window_step` should be 1 row or more, not {inputs.window_step}.")
    ports = inputs_of(loaded.graph)
    shape: Sequence[int] = ports[0].shape[1:]
    length = next((side for side in shape if side > 1), None)
    if len(ports) > 1 or length is None or min(shape) < 1:
        return None
    stored = windows_of(loaded)
    return Windows(tuple(shape), inputs.window_step or (length if stored is None else stored.step))


def cut(source: Dataset, loaded: Loaded, inputs: Inputs, progress: Progress) -> Dataset:
    """A dataset whose recordings are cut for a model when they are read; other datasets as they are.

    Every recording is whole until it is read, so that all its windows are on one side of a split.

    Args:
        source: The dataset.
        loaded: The model.
        inputs: The caller's options.
        progress: Is told how they are cut, if some of them are longer than the input.

    Raises:
        DataError: A step was given, and there are no recordings, or the model takes none.
    """
    windows = windows_for(loaded, inputs) if source.recordings else None
    if windows is None:
        if inputs.window_step is not None:
            raise DataError(
                "`window_step` is for CSV and WAV files and a model with one input of several numbers; "
                f"{f'{loaded.graph.name} has others' if source.recordings else f'there are none in {source.source}'}.",
                "Leave it out.",
            )
        return source
    some = next(iter(source.splits.values())).some(_LOOKED_AT)
    if any(windows.starts(recording) is not None for recording in some):
        progress.say(
            f"Files that are longer than the model's input are cut into {windows.describe()} (`window_step`). Each "
            "window is a sample with its file's label, and all windows of a file are on one side of a split."
        )
    splits = {key: replace(split, windows=windows) for key, split in source.splits.items()}
    return replace(source, splits=splits)
