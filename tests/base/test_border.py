from __future__ import annotations

import json
import tokenize

import pytest

from octavo.base.border import border, cause, parse_json, parse_yaml
from octavo.base.errors import DataError, ModelError


@pytest.mark.parametrize("error", [ValueError("a\nb"), KeyError("x"), tokenize.TokenError("EOF"), RecursionError()])
def test_whatever_is_raised_becomes_one_error(error: Exception) -> None:
    with pytest.raises(DataError) as raised, border("'x' cannot be read", "Mend it.", DataError):
        raise error
    assert str(raised.value) == f"'x' cannot be read ({cause(error)}). Mend it."
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error


def test_errors_of_octavo_and_interruptions_pass() -> None:
    with pytest.raises(ModelError, match="said already"), border("no", kind=DataError):
        raise ModelError("said already")
    with pytest.raises(KeyboardInterrupt), border("no"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "text",
    [
        "[" * 30_000,
        '{"a":' * 200 + "1" + "}" * 200,
        "[NaN]",
        "[-Infinity]",
        "[1e999]",
        "[-1e200]",
        '["\\ud800"]',
        "{",
        b"\xff",
        "[1e999, ",
    ],
)
def test_json_that_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_that_is_read() -> None:
    value = {"brackets": "[[[" * 200, "escaped": '"[' * 200, "deep": json.loads("[" * 90 + "]" * 90), "é": "😀"}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 3000, "deeper"),
        ("\n".join(f"{'  ' * k}a:" for k in range(300)), "deeper"),
        (_laughs(9), "aliases"),
        ("a: &a [*a]", "alias of what the alias is in"),
        ("a: " + "x" * 300_000, "longer"),
        ("a: 2026-13-45", "month"),
        ("a: !!float y", "convert"),
        ("a: !!python/object/apply:os.system ['true']", "constructor"),
        ('a: "\\ud800"', "surrogates"),
        ("a: *b", "alias"),
    ],
)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said), border("refused", kind=DataError):
        parse_yaml(text)


def test_yaml_that_is_read() -> None:
    value, root = parse_yaml("a: &x [1, 2]\nb: *x\nc: {d: e}\n")
    assert value == {"a": [1, 2], "b": [1, 2], "c": {"d": "e"}}
    assert root.value[1][0].start_mark.line == 1
    assert parse_yaml("")[0] is None
