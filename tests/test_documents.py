"""The documents: every command that they name is one, every Python block compiles, and the blocks run.

A block runs in a folder of its page that holds what a user has: models, photos, a run. A comment above a block says why
it is `not run`, that it runs `nightly` only, which package it `needs`, or which `file` it becomes. `make nightly` runs
all others of README and `docs/`, `make test` those of README.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import CLASSES, SIZE
from typer.main import get_command

from octavo.cli.commands import app

ROOT = Path(__file__).parent.parent
# The description is README once more.
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "description.md"})]
PAGES += sorted((ROOT / "docs" / "tutorials").glob("*.md"))
MARK = r"(?:<!-- (not run|nightly|needs|file): ([^>]+) -->\n)?"
BLOCK = re.compile(MARK + r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code in a page, with the mark above it and what the mark says: a reason, or the name of a file."""

    mark: str
    about: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text("utf-8"))
    return [Block(*parts) for parts in found if parts[2] in ("sh", "python") or parts[0] == "file"]


def commands(block: Block) -> Iterator[list[str]]:
    """The arguments of each `octavo` in a block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["octavo"]:
            yield words[1:]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_documents_have_blocks() -> None:
    assert len([block for page in PAGES for block in blocks(page) if not block.mark]) > 10


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one_and_python_compiles(page: Path) -> None:
    group = get_command(app)
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, name_of(page), "exec")
        if block.language != "sh":
            continue
        for name, *arguments in commands(block):
            if not name.startswith("-"):
                # It reads flags and their values, and runs nothing.
                group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_a_wrong_flag_in_a_document_would_be_found() -> None:
    (arguments,) = commands(Block("", "", "sh", "octavo inspect model.tflite --opps   # with a comment\n"))
    with pytest.raises(Exception, match="--opps"):
        get_command(app).commands[arguments[0]].make_context(arguments[0], arguments[1:])  # type: ignore[attr-defined]


LINKED = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
LINKED += sorted((ROOT / "docs" / "decisions").glob("*.md"))


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page; code has none."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    named = {f"{name}-{number}" if number else name for name, last in found.items() for number in range(last + 1)}
    return named | set(re.findall(r"<a id=\"([^\"]+)\">", text))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text("utf-8"))
    for link, anchor in links:
        if "://" not in link:
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def test_the_description_has_no_relative_link() -> None:
    text = (ROOT / "docs" / "description.md").read_text("utf-8")
    assert not [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert "](https://ai.google.dev/edge/litert)" in text


def test_troubleshooting_quotes_messages_of_the_code() -> None:
    """Four words in a row of each quoted message stand in the code; the others may be names and figures."""
    quoted = re.findall(r"^> (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    # Long messages are texts in several lines.
    joined = re.sub(r"\"\s*\n\s*f?\"", "", code)
    assert len(quoted) > 10
    for message in quoted:
        words = message.split()
        assert any(" ".join(words[place : place + 4]) in joined for place in range(len(words) - 3)), message


def test_readme_runs(example_files: Path, tmp_path: Path) -> None:
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    for block in blocks(ROOT / "README.md"):
        if not block.mark:
            run(block, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_run(page: Path, example_files: Path, tmp_path: Path) -> None:
    wanted = [block for block in blocks(page) if block.mark != "not run"]
    if not wanted:
        return
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "digits-model")
    _more_files(tmp_path)
    for block in wanted:
        if block.mark == "needs":
            pytest.importorskip(block.about)
        run(block, tmp_path)


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path) -> None:
    tools = ROOT / ".venv-tools" / "bin" / "python"
    if not tools.exists():
        pytest.skip("nbclient and its kernel are in the tools' environment: make .venv-tools/.ready")
    out = tmp_path / "out.ipynb"
    command = [tools, ROOT / "scripts" / "run_notebook.py", sys.executable, out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    new, stored = (json.loads(path.read_text("utf-8"))["cells"] for path in (out, ROOT / "docs" / "notebook.ipynb"))
    assert [cell["source"] for cell in new] == [cell["source"] for cell in stored]
    # The committed outputs are of the same kinds; figures such as times differ.
    kinds = [[[output["output_type"] for output in cell.get("outputs", [])] for cell in made] for made in (new, stored)]
    assert kinds[0] == kinds[1]
    assert "13 checks passed" in out.read_text("utf-8")


def run(block: Block, folder: Path) -> None:
    """Runs a block as it is printed, in a shell of an environment that has Octavo; or writes it to its file."""
    if block.mark == "file":
        (folder / block.about).write_text(block.text)
        return
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    program = ["bash", "-ec"] if block.language == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*program, block.text], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def _more_files(folder: Path) -> None:
    """What the slower blocks name besides the files of `conftest.py`."""
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Conv2D(3, 1), keras.layers.Flatten()])
    model.add(keras.layers.Dense(len(CLASSES), activation="softmax"))
    model.layers[0].set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    order = [("red", "green", "blue").index(name) for name in CLASSES]
    model.layers[2].set_weights([np.tile(np.eye(3)[:, order] / SIZE, (SIZE * SIZE, 1)), np.zeros(3)])
    model.save(folder / "model.keras")
    photo = next((folder / "photos" / "test").rglob("*.png"))
    for name in ("photo.jpg", "PICTURE"):
        shutil.copy(photo, folder / name)
    shutil.copy(folder / "int8.tflite", folder / "other.tflite")
    (folder / "labels.txt").write_text("\n".join(CLASSES))
