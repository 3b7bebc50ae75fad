"""The facts of a run, read from its directory. The report computes nothing that a stage should have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.errors import OctavoError

Json = dict[str, Any]

_NEEDED = ("manifest.json", "data.json", "proof.json", "ranges.json", "size.json", "evaluation.json", "recipe.yaml")


@dataclass(frozen=True)
class Facts:
    """What the files of a run directory say.

    Args:
        recipe: The resolved recipe.
        manifest: Versions, machine, command, stages.
        data: Source, classes, counts.
        history: Training, or None when the run did not train.
        ranges: Observer and activation ranges.
        proof: What was proved of the int8 file.
        distributions: Activations and weights against their ranges, or None.
        size: Bytes of every file, and what they hold.
        evaluation: Float and int8 on the same images.
    """

    recipe: Json
    manifest: Json
    data: Json
    history: Json | None
    ranges: Json
    proof: Json
    distributions: Json | None
    size: Json
    evaluation: Json

    @property
    def float_model(self) -> Json:
        """What was measured of the float model."""
        return dict(self.evaluation["models"]["float"])

    @property
    def int8_model(self) -> Json:
        """What was measured of the int8 model."""
        return dict(self.evaluation["models"]["int8"])

    @property
    def comparison(self) -> Json:
        """What was measured of both, image by image."""
        return dict(self.evaluation["comparison"])

    @property
    def bytes(self) -> Json:
        """Sizes of the files of both models."""
        return dict(self.size["files"])

    def to_json(self) -> Json:
        """All of it, as one JSON value."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def read(run_dir: Path) -> Facts:
    """Reads a run directory.

    Raises:
        OctavoError: It is no run directory, or the run has not come far enough.
    """
    missing = [name for name in _NEEDED if not (run_dir / name).is_file()]
    if missing:
        what = "is not a run directory" if len(missing) == len(_NEEDED) else "is not a finished run"
        raise OctavoError(
            f"'{run_dir}' {what}: it has no {', '.join(missing)}.",
            f"Make it with: octavo run RECIPE --out {run_dir}",
        )
    return Facts(
        recipe=_yaml(run_dir / "recipe.yaml"),
        manifest=_json(run_dir / "manifest.json"),
        data=_json(run_dir / "data.json"),
        history=_maybe(run_dir / "history.json"),
        ranges=_json(run_dir / "ranges.json"),
        proof=_json(run_dir / "proof.json"),
        distributions=_maybe(run_dir / "distributions.json"),
        size=_json(run_dir / "size.json"),
        evaluation=_json(run_dir / "evaluation.json"),
    )


def _json(path: Path) -> Json:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OctavoError(
            f"'{path}' cannot be read ({type(error).__name__}): a JSON file of a run was expected.",
            "Delete it and run the same `octavo run` again.",
        ) from error


def _maybe(path: Path) -> Json | None:
    return _json(path) if path.is_file() else None


def _yaml(path: Path) -> Json:
    import yaml

    try:
        return dict(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise OctavoError(
            f"'{path}' cannot be read: a recipe was expected.", "Run the same `octavo run` again."
        ) from error
