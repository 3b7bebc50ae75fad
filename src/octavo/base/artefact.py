"""Artefacts: the JSON files that Octavo writes and reads back, each with its schema's version.

Each file has one class, next to the code that computes it. Only `to_json` and `read` convert it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from octavo.base.border import border, cause, parse_json
from octavo.base.errors import OctavoError
from octavo.base.files import write_json
from octavo.base.upgrades import upgraded

# The key of the schema's version in a file.
SCHEMA = "schema"


class Part(BaseModel):
    """A part of an artefact. Unknown keys are ignored on reading."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Artefact(Part):
    """A JSON file that Octavo writes and reads back.

    A change of its fields' names or types needs a new `version`, and a function in `octavo.base.upgrades` that converts
    the old form to the new one.

    Example:
        >>> class Weather(Artefact):
        ...     file, what = "weather.json", "the weather of a run"
        ...     degrees: float
        >>> Weather(degrees=21.0).to_json()
        {'schema': 1, 'degrees': 21.0}
        >>> Weather.from_json({"schema": 1, "degrees": 21.0, "wind": "none"}, Path("weather.json"))
        Weather(degrees=21.0)
        >>> Weather.from_json({"schema": 2}, Path("weather.json"))
        Traceback (most recent call last):
        octavo.base.errors.OctavoError: 'weather.json' has schema 2, but this version of Octavo reads up to 1. ...
    """

    # The file's name or its ending; its content, in words; and what to do if it cannot be read.
    file: ClassVar[str]
    what: ClassVar[str]
    remedy: ClassVar[str] = "Delete it and run again: octavo run RECIPE --out {folder}"
    version: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """The JSON value for the file, with the version of its schema."""
        return {SCHEMA: self.version, **self.model_dump(mode="json", by_alias=True)}

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the file, of this version of the schema or of an earlier one.

        Raises:
            OctavoError: There is no such file, it holds something else, or a later version of Octavo wrote it.
        """
        with border(f"'{path}' is not {cls.what}", cls._remedy(path)):
            value = dict(parse_json(path.read_bytes()))
        return cls.from_json(value, path)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: Path) -> Self:
        """The inverse of `to_json`, for values of earlier versions too.

        Args:
            value: What the file holds. A file without ``schema`` is of version 0: Octavo 0.1 wrote it.
            path: The file, for messages.

        Raises:
            OctavoError: It holds something else, or a later version of Octavo wrote it.
        """
        found = value.get(SCHEMA, 0)
        if type(found) is not int or found < 0:
            raise OctavoError(f"'{path}' is not {cls.what}: its schema is {found!r}.", cls._remedy(path))
        if found > cls.version:
            raise OctavoError(
                f"'{path}' has schema {found}, but this version of Octavo reads up to {cls.version}.",
                f"Read it with the version that wrote it. Or: {cls._remedy(path)}",
            )
        try:
            return cls.model_validate(upgraded(cls.file, value, found, cls.version))
        except ValidationError as error:
            details = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:10]]
        except Exception as error:  # An earlier version's file may hold anything in any place.
            details = [cause(error)]
        raise OctavoError(
            f"'{path}' is not {cls.what} as Octavo writes it (schema {found}).", cls._remedy(path), details=details
        )

    @classmethod
    def _remedy(cls, path: Path) -> str:
        return cls.remedy.format(folder=path.parent)
