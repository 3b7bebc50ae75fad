"""The judgement of a model by a policy: as text, as a table in Markdown, and as JUnit XML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from octavo.base import notebook as page
from octavo.base.errors import OctavoError
from octavo.base.files import check_file

if TYPE_CHECKING:
    from octavo.deployment.gate import Checked, Judgement

_HEADS = ("limit", "allowed", "found", "verdict")
_WORDS = {"kept": "kept", "broken": "BROKEN", "undecided": "cannot tell"}
_MARKS = {"kept": "✅ kept", "broken": "❌ broken", "undecided": "⚠️ cannot tell"}
# What the files start with: by it, a later check knows that it may replace them.
_MARKDOWN = "<!-- octavo check -->"
_JUNIT = "<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"octavo check\""
# What XML 1.0 cannot hold, not even as a reference.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def headline(made: Checked) -> str:
    """The verdict in one line."""
    count = len(made.judgements)
    warned = sum(item.verdict == "undecided" for item in made.judgements) if made.undecided == "warn" else 0
    if made.passed:
        told = f", of which {warned} cannot be decided" if warned else ""
        return f"'{made.model}' passes: {count} limit{'s' if count > 1 else ''}{told}"
    return f"'{made.model}' fails {len(made.broken)} of {count} limits: {', '.join(i.limit for i in made.broken)}"


def notebook(made: Checked) -> str:
    """The limits as an HTML table, one row for each."""
    return page.table((*_HEADS, ""), [(*_cells(item), item.note) for item in made.judgements], headline(made), texts=5)


def table(made: Checked) -> str:
    """The limits as text, columns aligned, and the verdict."""
    rows = [_HEADS, *(_cells(item) for item in made.judgements)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    lines = []
    for row, note in zip(rows, ["", *(item.note for item in made.judgements)], strict=True):
        lines.append("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"  {note}"] if note else []
    return "\n".join([*lines, "", headline(made)])


def markdown(made: Checked) -> str:
    """The limits as a table of Markdown, for a pull request or a job's summary."""
    mark = "✅" if made.passed else "❌"
    lines = [_MARKDOWN, f"### {mark} {_plain(headline(made))}", ""]
    lines += ["| limit | allowed | found | verdict |", "|---|---|---|---|"]
    for item in made.judgements:
        title, allowed, found, _ = _cells(item)
        said = f"{found}<br>{item.note}" if item.note else found
        lines.append(f"| {_plain(title)} | {_plain(allowed)} | {_plain(said, '<br>')} | {_MARKS[item.verdict]} |")
    if any(item.verdict == "undecided" for item in made.judgements):
        told = "fails" if made.undecided == "fail" else "passes with a warning"
        lines += ["", f"*Cannot tell*: the 95% interval holds the limit. The policy says that this {told}."]
    return "\n".join([*lines, "", f"SHA-256 of the model: `{made.sha256}`", ""])


def junit(made: Checked) -> bytes:
    """The limits as JUnit XML: a case for each. An undecided one that only warns counts as skipped."""
    broken = set(made.broken)
    skipped = [item for item in made.judgements if item.verdict == "undecided" and item not in broken]
    counts = {"tests": len(made.judgements), "failures": len(broken), "errors": 0, "skipped": len(skipped)}
    texts = {key: str(count) for key, count in counts.items()}
    root = ElementTree.Element("testsuites", {"name": "octavo check", **texts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _xml(made.model), **texts, "time": "0"})
    for item in made.judgements:
        names = {"name": _xml(f"{item.limit}: {item.title}"), "classname": _xml(Path(made.model).name), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", names)
        said = _xml(f"{item.found}; allowed: {item.allowed}")
        if item in broken:
            inner = ElementTree.SubElement(case, "failure", {"type": item.verdict, "message": said})
            inner.text = _xml(item.note) or said
        elif item in skipped:
            ElementTree.SubElement(case, "skipped", {"message": said})
        ElementTree.SubElement(case, "system-out").text = "\n".join(part for part in (said, _xml(item.note)) if part)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def check_replaced(path: Path, force: bool) -> None:
    """Checks before any work that a file can be written, and replaces none that no check wrote.

    Args:
        path: Where JUnit XML or Markdown goes.
        force: Also replace a file that no check wrote.

    Raises:
        OctavoError: It cannot be written, or is there and is not from a check.
    """
    check_file(path)
    if force or not path.is_file():
        return
    starts = (_MARKDOWN.encode(), _JUNIT.encode())
    with path.open("rb") as stream:
        found = stream.read(max(map(len, starts)))
    if found and not found.startswith(starts):
        raise OctavoError(
            f"'{path}' is there already, and no check wrote it. It is not replaced.",
            "Choose another path, or set `force` to replace it.",
        )


def _cells(item: Judgement) -> tuple[str, str, str, str]:
    """One limit as a row under `_HEADS`."""
    return item.title, item.allowed, item.found, _WORDS[item.verdict]


def _plain(text: str, kept: str = "\0") -> str:
    """A text that Markdown shows as it is, also where a stranger's model or file is named so as to be more than text.

    Args:
        text: The text.
        kept: What in it is markup of our own.
    """
    parts = text.split(kept)
    return kept.join(re.sub(r"([\\`*_{}\[\]<>#|!~@&$])", r"\\\1", " ".join(part.split())) for part in parts)


def _xml(text: str) -> str:
    """A text without what XML cannot hold."""
    return _NO_XML.sub("�", text)
