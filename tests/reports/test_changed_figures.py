"""Run directories of strangers: a changed figure is shown or refused in one message, and never ends in a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rundir import write_run

from octavo.base.errors import OctavoError
from octavo.reports.facts import read
from octavo.reports.findings import findings
from octavo.reports.tables import tables

_GONE = object()
_NUMBERS = (0, -1, 1e308, 1e-308, 1 << 62)


def _changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a JSON value, each with what may stand there instead; of a list the first two items."""
    if path:
        yield path, None
        if isinstance(path[-1], str):
            yield path, _GONE
    if isinstance(value, dict | list):
        if value and isinstance(value, list):
            yield path, []
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:2]):
            yield from _changes(inner, (*path, key))
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, int | float):
        yield from ((path, number) for number in _NUMBERS)
    elif isinstance(value, str):
        yield from ((path, ""), (path, "x"))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    whole = at = copy.deepcopy(value)
    for key in path[:-1]:
        at = at[key]
    if new is _GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return whole


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_no_changed_figure_is_a_traceback(tmp_path: Path, every: int) -> None:
    write_run(tmp_path / "run")
    cases = [
        (file, path, new)
        for file in sorted((tmp_path / "run").glob("*.json"))
        for path, new in _changes(json.loads(file.read_text("utf-8")))
    ]
    shown = 0
    for place in np.random.default_rng(0).permutation(len(cases))[::every]:
        file, path, new = cases[place]
        text = file.read_text("utf-8")
        file.write_text(json.dumps(_changed(json.loads(text), path, new)), "utf-8")
        try:
            facts = read(tmp_path / "run")
            findings(facts), tables(facts)
            shown += 1
        except OctavoError as error:
            assert str(tmp_path) in str(error), (file.name, path, new)
        except Exception as error:
            pytest.fail(f"{file.name} {path} = {new!r}: {error!r}")
        file.write_text(text, "utf-8")
    assert 0 < shown < len(cases)


@pytest.mark.parametrize(
    ("name", "path", "new", "said"),
    [
        ("answers", ("outputs",), [], "at least 1 item"),
        ("distributions", ("weights", 0, "histogram", "counts"), [1], "one edge more"),
        ("distributions", ("activations", 0, "quantiles", "0.5"), _GONE, "no quantile 0.5"),
        ("evaluation", ("models", "int8", "table", "confusion"), [], "different classes"),
        ("evaluation", ("models", "int8", "table", "confusion", 0), [], "a row and a column for each class"),
        ("deployment", ("benchmark", "timings", 1, "ratio", "value"), 0, "a ratio of two times"),
        ("history", ("parameters", "total"), _GONE, "no total"),
        ("size", ("files", "int8_tflite"), 0, "greater than or equal to 1"),
    ],
)
def test_figures_that_do_not_fit_are_named(
    tmp_path: Path, name: str, path: tuple[Any, ...], new: Any, said: str
) -> None:
    file = write_run(tmp_path / "run") / f"{name}.json"
    file.write_text(json.dumps(_changed(json.loads(file.read_text("utf-8")), path, new)), "utf-8")
    with pytest.raises(OctavoError, match=said):
        read(tmp_path / "run")
