"""The docs site in Chromium, opened from files: it needs no network, fits a phone, and its search finds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import COMMAND, Page

ROOT = Path(__file__).parent.parent
MKDOCS = ROOT / ".venv-tools" / "bin" / "mkdocs"
pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not MKDOCS.exists():
        pytest.skip("MkDocs is in the tools' environment: make site")
    out = tmp_path_factory.mktemp("site")
    subprocess.run([MKDOCS, "build", "--strict", "--site-dir", out], cwd=ROOT, check=True)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if COMMAND is None:
        pytest.skip("there is no Chromium: apt install chromium")
    with Page(COMMAND) as page:
        yield page


def test_pages_need_no_network_and_fit_a_phone(site: Path, browser: Page) -> None:
    browser.size(390, 800)
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for file in pages:
        if file.name == "404.html":  # its links are absolute, for a server
            continue
        browser.go(file.as_uri())
        browser.until("document.readyState === 'complete'")
        assert not browser.complaints(), file
        assert all(address.startswith(("file:", "data:")) for address in browser.addresses()), file
        wide = browser.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= 390, f"{file} is {wide} pixels wide"


def test_search_finds_without_a_server(site: Path, browser: Page) -> None:
    browser.size(1280, 800)
    browser.go((site / "index.html").as_uri())
    browser.until("document.readyState === 'complete'")
    browser.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    browser.send("Input.insertText", text="saturation")
    found = browser.until("document.querySelector('.md-search-result__link')?.getAttribute('href')")
    assert "html" in found
    titles = browser.evaluate("[...document.querySelectorAll('.md-search-result__link')].map(a => a.href).join()")
    assert "glossary.html" in titles
