"""YAML files that are validated key by key: recipes and policies. A mistake is named with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from octavo.base.border import border, parse_yaml
from octavo.base.errors import RecipeError

# For each key's path the place where it stands, such as ``line 7``.
Lines = dict[tuple[str, ...], str]

_FORM = re.compile(r"[a-z-]+\[.*\]")


class Section(BaseModel):
    """A part of such a file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Only the values that were set; the documents have the defaults of the others."""
        return ((key, value) for key, value in super().__repr_args__() if key in self.model_fields_set)


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        RecipeError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"'{path}' could not be read as UTF-8 text: {error}.") from error


def parsed(text: str, where: str, todo: str) -> tuple[dict[str, Any], Lines]:
    r"""The value of a file's text, and the line of each key.

    Args:
        text: The text.
        where: What the file is, for messages.
        todo: What to do about a file that is something else.

    Raises:
        RecipeError: It is not YAML, it is no mapping, or it sets a key twice.

    Example:
        >>> parsed("a:\n  b: 1\n", "'x.yaml'", "")
        ({'a': {'b': 1}}, {('a',): 'line 1', ('a', 'b'): 'line 2'})
    """
    with border(f"{where} is not valid YAML", todo, RecipeError):
        value, root = parse_yaml(text)
    if not isinstance(value, dict):
        raise RecipeError(f"{where} should be a mapping of keys to values, but is not.", todo)
    lines: Lines = {}

    def walk(node: yaml.Node | None, path: tuple[str, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, child in node.value:
            here = (*path, str(key.value))
            if here in lines:
                raise RecipeError(
                    f"{where} sets '{'.'.join(here)}' twice, on {lines[here]} and line {key.start_mark.line + 1}.",
                    "Keep one of them.",
                )
            lines[here] = f"line {key.start_mark.line + 1}"
            walk(child, here)

    walk(root, ())
    return value, lines


def mistakes(error: ValidationError, kind: type[BaseModel], where: str, lines: Lines) -> RecipeError:
    """The mistakes of a file as one error, with a line for each.

    Args:
        error: What pydantic found.
        kind: What the file should hold.
        where: What the file is, for messages.
        lines: Where each key stands.
    """
    found = plain(error)
    return RecipeError(
        f"{where} has {len(found)} mistake{'s' if len(found) > 1 else ''}:",
        details=[_explain(item, kind, lines) for item in found],
    )


def plain(error: ValidationError) -> list[Any]:
    """What pydantic found, without its names of types; of a key that has two forms, of the one that fits better."""
    # Of each key the length of its path, and the error.
    found: dict[tuple[Any, ...], tuple[int, Any]] = {}
    for number, item in enumerate(error.errors(include_url=False)):
        forms = _forms(item)
        key = item["loc"][: forms[0]] if forms else (number,)
        length = len(item["loc"])
        if key not in found or length > found[key][0]:
            kept = tuple(part for place, part in enumerate(item["loc"]) if place not in forms)
            found[key] = length, {**item, "loc": kept}
    return [item for _, item in found.values()]


def _forms(item: Any) -> list[int]:
    """The places in the path of an error where pydantic tells forms apart, by a part such as 'tuple[float, float]'."""
    path = item["loc"]
    # What ends the path to an unknown key is that key, whatever it looks like.
    mine = len(path) - (item["type"] == "extra_forbidden")
    return [place for place in range(1, mine) if _FORM.fullmatch(str(path[place]))]


def _explain(item: Any, kind: type[BaseModel], lines: Lines) -> str:
    """One pydantic error as one line: where, which key, what is wrong."""
    path = tuple(str(part) for part in item["loc"])
    known = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), "")
    key = ".".join(path) or f"the {kind.__name__.lower()}"
    place = f"{known}: " if known else ""
    if item["type"] == "value_error":
        return f"{place}'{key}': {item['ctx']['error']}" if path else f"{place}{item['ctx']['error']}"
    if item["type"] == "extra_forbidden":
        return f"{place}unknown key '{key}'{_nearest(path, kind)}"
    if item["type"] == "missing":
        return f"{place}'{key}' is missing"
    given = item["input"]
    return f"{place}'{key}': {item['msg'][0].lower() + item['msg'][1:]}, not {given!r}"


def _nearest(path: tuple[str, ...], kind: type[BaseModel]) -> str:
    section: Any = kind
    for part in path[:-1]:
        section = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return ""
    close = difflib.get_close_matches(path[-1], section.model_fields, n=1)
    return f"; did you mean '{'.'.join((*path[:-1], close[0]))}'?" if close else ""
