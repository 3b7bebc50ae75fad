"""The page of a sweep: what it recommends, what it cannot say, and names of strangers. Optuna is not needed for it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from octavo.base.metric import Metric
from octavo.base.stats import Interval
from octavo.reports.sweep import OtherTrial, Sweep, TrialRow, recommended, write_sweep

ACCURACY = Metric("accuracy", "accuracy", "%")


def _row(name: str, choice: float, milliseconds: float, **changes: Any) -> TrialRow:
    share = Interval(choice, choice - 0.02, choice + 0.02)
    values = {"run": f"trial-{name}", "settings": {"seed": name}, "choice": share, "images": 400, "score": share}
    values |= {"float_score": 0.9, "difference": None, "bytes": 1000, "median_ms": milliseconds}
    values |= {"p90_ms": milliseconds, "arena": 512, "within": True, "front": True}
    return TrialRow.model_validate({"name": name, **values, **changes})


def _sweep(*rows: TrialRow, **changes: Any) -> Sweep:
    values = {"metric": ACCURACY, "chosen_on": "validation", "chosen_images": 100, "limits": {}, "others": []}
    return Sweep.model_validate({"variants": rows, "recommended": rows[0].run, **values, **changes})


def _page(made: Sweep, folder: Path) -> str:
    figure = Figure()
    figure.subplots().plot([0, 1])
    write_sweep(made, folder, figure)
    assert Sweep.read(folder / made.file) == made
    # Cells may break before their interval.
    return (folder / "sweep.html").read_text("utf-8").replace("<wbr>", "")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


@pytest.mark.parametrize(
    ("higher", "scores", "within", "expected"),
    [
        (True, (0.80, 0.84, 0.85), (True, True, True), 1),
        (True, (0.84, 0.84, 0.85), (True, True, True), 0),
        (True, (0.84, 0.84, 0.85), (False, False, True), 2),
        (False, (0.20, 0.16, 0.15), (True, True, True), 1),
        (True, (0.8, 0.8, 0.8), (False, False, False), None),
    ],
)
def test_the_fastest_that_is_as_good_is_recommended(
    higher: bool, scores: tuple[float, ...], within: tuple[bool, ...], expected: int | None
) -> None:
    rows = [
        {"choice": Interval(score, score - 0.015, score + 0.015), "median_ms": float(place), "within": fits}
        for place, (score, fits) in enumerate(zip(scores, within, strict=True))
    ]
    assert recommended(rows, higher) is (None if expected is None else rows[expected])


def test_the_page_tells_real_differences_from_those_of_chance(tmp_path: Path) -> None:
    worse = _row("1", 0.8, 2.0, difference=Interval(-0.1, -0.15, -0.05), front=False)
    alike = _row("2", 0.9, 3.0, difference=Interval(0.01, -0.01, 0.03))
    page = _page(_sweep(_row("0", 0.9, 1.0), worse, alike), tmp_path)
    assert "Recommended: 0." in page and "2: the test images cannot tell from it." in page
    assert "−10.00 (−15.00 to −5.00)" in page and "The validation images chose the best of 3" in page
    assert page.count("<svg ") == 2


def test_the_page_says_what_cannot_be_said(tmp_path: Path) -> None:
    over = {"recommended": None, "limits": {"bytes": 500.0, "median_ms": 1.0}}
    page = _page(_sweep(_row("0", 0.9, 1.0, within=False), **over), tmp_path)
    assert "No trial is within the limits (at most 500 bytes, at most 1 ms)." in page and "over a limit" in page
    assert "the score of what they chose is optimistic" in _page(
        _sweep(_row("0", 0.9, 1.0), chosen_on="test"), tmp_path
    )


def test_names_and_messages_of_strangers_are_text(tmp_path: Path) -> None:
    bad = r"<script>alert(1)</script> | $\frac{$"
    other = OtherTrial(name=bad, run="trial-001", state="failed", error=bad)
    page = _page(_sweep(_row(bad, 0.9, 1.0), others=[other]), tmp_path)
    tags = _Tags()
    tags.feed(page)
    assert "script" not in tags.found and "1 trial failed" in page
    assert page.count("&lt;script&gt;") >= 3
