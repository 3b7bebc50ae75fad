"""An int8 file that a run makes, with the report of that run: `--report` of `octavo quantize` and `octavo qat`."""

from __future__ import annotations

from pathlib import Path

from octavo.api.written import check_output
from octavo.base.place import Place
from octavo.base.progress import Progress
from octavo.recipe.schema import Recipe
from octavo.runs.stages import run
from octavo.source import sidecar


def reported(
    recipe: Recipe,
    folder: Path,
    out: Path,
    progress: Progress | None = None,
    command: str = "",
    *,
    force: bool = False,
    place: Place = Place(),
) -> Path:
    """Runs a recipe of an own model, and writes its int8 model with the sidecar to another place too.

    Args:
        recipe: The recipe; it has `model.path`.
        folder: The run directory, with the report.
        out: The int8 `.tflite` to write.
        progress: Where progress goes.
        command: The command line, for the record.
        force: Also replace an `out` that Octavo did not write.
        place: Which process this is, as `octavo.run` takes it.

    Returns:
        The path of the report.

    Raises:
        OctavoError: The model, the images or the result are not as they should be.
    """
    assert recipe.model.path is not None
    if place.rank:
        return run(recipe, folder, progress, command, place=place)
    check_output(out, recipe.model.path, force=force)
    report = run(recipe, folder, progress, command, place=place)
    made = folder / "int8.tflite"
    sidecar.write_model(out, made.read_bytes(), sidecar.read(made))
    return report
