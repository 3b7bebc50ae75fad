"""The pages as a reader sees them: in Chromium, on a desk and on a phone, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import COMMAND, Page

from octavo.reports.compare_runs import compare_runs

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no Chromium is installed, in which the pages are looked at")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    assert COMMAND is not None
    with Page(COMMAND) as page:
        yield page


@pytest.fixture(scope="module")
def compared(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of two runs with long names."""
    folder = tmp_path_factory.mktemp("compared")
    runs = [folder / "a_rather_long_name_of_a_run", folder / "another_rather_long_name_of_a_run"]
    for run in runs:
        shutil.copytree(written, run)
        (run / "x.tflite").write_bytes(bytes(1000))
    compare_runs(runs, folder)
    return folder / "compare-runs.html"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_nothing_is_complained_of(
    page: Page, written: Path, compared: Path, width: int, scheme: str
) -> None:
    page.size(width, 900)
    page.scheme(scheme)
    for path in (written / "report.html", compared):
        page.open_file(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.sticking_out() == []
        assert page.complaints() == []


def test_on_a_phone_the_change_is_in_sight_and_wide_tables_scroll(page: Page, written: Path) -> None:
    page.size(390, 900)
    page.open_file(written / "report.html")
    change = "document.querySelector('#results ~ .scroll td[data-title=Change] span').getBoundingClientRect()"
    assert 0 < page.evaluate(f"{change}.left") < page.evaluate(f"{change}.right") <= 390
    wide = "document.querySelector('.scroll.wide')"
    assert page.evaluate(f"{wide}.scrollWidth > {wide}.clientWidth")
    # The shade that shows it, and the names of the rows, which stay.
    assert "linear-gradient" in page.evaluate(f"getComputedStyle({wide}).backgroundImage")
    page.evaluate(f"{wide}.scrollLeft = 200")
    assert page.evaluate(f"{wide}.querySelector('tbody th').getBoundingClientRect().left") >= 0


def test_pictures_follow_dark_mode_and_paper_stays_light(page: Page, written: Path) -> None:
    page.size(1280, 900)
    text = "getComputedStyle(document.querySelector('figure.difference text')).fill"
    ground = "getComputedStyle(document.querySelector('figure.difference svg path')).fill"
    seen = {}
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        page.open_file(written / "report.html")
        seen[scheme] = page.evaluate(text), page.evaluate(ground)
    assert seen == {
        "light": ("rgb(36, 41, 47)", "rgb(255, 255, 255)"),
        "dark": ("rgb(230, 233, 237)", "rgb(28, 32, 37)"),
    }
    page.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert (page.evaluate(text), page.evaluate(ground)) == seen["light"]
    assert page.evaluate("getComputedStyle(document.querySelector('h2')).breakAfter") == "avoid"
    page.send("Emulation.setEmulatedMedia", media="", features=[])


def test_a_term_is_explained_where_it_stands(page: Page, written: Path) -> None:
    page.open_file(written / "report.html")
    page.evaluate("document.querySelector('a.term').click()")
    assert page.evaluate("document.querySelector(':target').tagName") == "DT"
    terms = page.evaluate("[...document.querySelectorAll('a.term')].map((link) => [link.hash, link.title])")
    meanings = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.glossary dt')]"
        ".map((term) => ['#' + term.id, term.nextElementSibling.textContent]))"
    )
    assert dict(terms) == meanings
