"""The border where a stranger's data enters: whatever other packages raise there becomes one clear error.

Parsers and kernels raise nearly anything on a damaged file: `ValueError`, `KeyError`, `struct.error`,
`tokenize.TokenError`, `RecursionError`. A list of them is never complete, so the border takes them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from octavo.base.errors import OctavoError
from octavo.base.limits import MOST_DEPTH, MOST_TEXT, MOST_VALUES, MOST_YAML

_LONGEST = 200
_LARGEST = 1e100
# What opens and closes a level in JSON, outside of texts.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])')


@contextmanager
def border(problem: str, todo: str = "", kind: type[OctavoError] = OctavoError) -> Iterator[None]:
    """Turns every exception of the block into an error of the given kind. Errors of Octavo pass unchanged.

    Keep the block small: only calls of other packages with data from outside belong in it, since a defect of Octavo's
    own code would look like a damaged file.

    Args:
        problem: What could not be done, without a full stop. The cause is added in brackets.
        todo: What the user can do about it.
        kind: The class of the error.

    Raises:
        OctavoError: Of class `kind`, for any other exception.

    Example:
        >>> with border("'a.json' cannot be read", "Write it again."):
        ...     json.loads("{")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        octavo.base.errors.OctavoError: 'a.json' cannot be read (JSONDecodeError: Expecting ...). Write it again.
    """
    try:
        yield
    except OctavoError:
        raise
    except Exception as error:
        raise kind(f"{problem} ({cause(error)}).", todo) from error


def cause(error: BaseException) -> str:
    r"""An exception in one line: its class, and the start of its message.

    Example:
        >>> cause(ValueError("a\n  b")), cause(MemoryError())
        ('ValueError: a b', 'MemoryError')
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}{f': {text}' if text else ''}"


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text from outside. NaN and infinity, which JSON does not have, are refused.

    Args:
        text: The text, or its bytes in UTF-8.

    Raises:
        ValueError: It is no JSON, is too long, nests too deep, or has NaN or infinity.

    Example:
        >>> parse_json('{"a": [1]}')
        {'a': [1]}
        >>> parse_json("[" * 5000 + "]" * 5000)
        Traceback (most recent call last):
        ValueError: it nests deeper than 100 levels
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"it is longer than {MOST_TEXT:,} characters")
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += (found[1] is not None) - (found[2] is not None)
        if depth > MOST_DEPTH:
            raise ValueError(f"it nests deeper than {MOST_DEPTH} levels")

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}, which is no number in JSON")

    return _usual(json.loads(text, parse_constant=refuse))


def _usual(value: Any) -> Any:
    """The value itself, unless a text in it is half of a character, or a number is too large for any field.

    No figure comes near 1e100, which can be squared and added.
    """
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, int) and abs(value) >= 1 << 64:
        raise ValueError(f"it holds a whole number of {value.bit_length()} bits, and 64 are the most")
    elif isinstance(value, float) and not abs(value) <= _LARGEST:
        raise ValueError(f"it holds the number {value:g}, and {_LARGEST:g} is the largest")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _usual(key)
            _usual(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            _usual(inner)
    return value


def parse_yaml(text: str) -> tuple[Any, Any]:
    """The value of a YAML text from outside, and its root node, which has the line of each key.

    Args:
        text: The text.

    Raises:
        ValueError: It is too long, nests too deep, or its aliases stand for too many values, or for themselves.
        Exception: PyYAML raises `yaml.YAMLError`, and many others.

    Example:
        >>> parse_yaml("a: [1, 2]")[0]
        {'a': [1, 2]}
    """
    import yaml

    if len(text) > MOST_YAML:
        raise ValueError(f"it is longer than {MOST_YAML:,} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"it nests deeper than {MOST_DEPTH} levels")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and _values(root, {}) > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return _usual(yaml.safe_load(text)), root


def _values(node: Any, known: dict[int, int | None]) -> int:
    """The number of values below a YAML node, where an alias counts as all that it stands for."""
    if id(node) in known:
        if (count := known[id(node)]) is None:
            raise ValueError("it holds an alias of what the alias is in")
        return count
    known[id(node)] = None
    inner = node.value if isinstance(node.value, list) else []
    parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
    known[id(node)] = made = 1 + sum(_values(part, known) for part in parts)
    return made
