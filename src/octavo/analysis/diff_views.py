"""What changed between two files: as text, and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from octavo.base import notebook as page

if TYPE_CHECKING:
    from octavo.analysis.diff import Change, Diff, TensorChange

_LONGEST = 60
_FEW = 8
# The rows of each part that are shown; the rest is counted.
SHOWN = 10


def headline(made: Diff) -> str:
    """The difference in one line."""
    names = f"{made.before.path} and {made.after.path}"
    if made.equal:
        layout = "" if made.before.sha256 == made.after.sha256 else ", but the bytes lie in another order"
        return f"no difference between {names}{layout}"
    parts = {
        "ops added": len(made.added),
        "removed": len(made.removed),
        "changed": len(made.ops),
        "tensors changed": len(made.tensors),
        "renamed": made.renamed,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
    rest = [name for name in ("signature", "metadata", "sidecar") if getattr(made, name)]
    return f"{names} differ: {'; '.join(part for part in (told, ', '.join(rest)) if part) or 'in size'}"


def value(given: Any) -> str:
    """A value as short text."""
    if isinstance(given, list) and len(given) > 1 and all(isinstance(one, int | float) for one in given[:2]):
        if len(given) > _FEW or isinstance(given[0], float):
            low, high = min(given), max(given)
            return f"{len(given)} × {low:g}" if low == high else f"{len(given)} of {low:g} to {high:g}"
        return f"({', '.join(map(str, given))})"
    if given is None:
        return "none"
    if isinstance(given, float):
        return f"{given:.6g}"
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def lines(made: Diff) -> list[str]:
    """The difference as lines of text; of each part the first few, and how many more there are."""
    if made.equal:
        return [headline(made)]
    one, two = made.before, made.after
    gap = two.bytes - one.bytes
    found = [f"size    {one.bytes:,} -> {two.bytes:,} bytes ({gap:+,}){_sizes(made.size)}"]
    found += [f"ops     {one.ops:,} -> {two.ops:,}"] if made.added or made.removed or one.ops != two.ops else []
    found += _few("added", [f"{item.op}  {item.name}" for item in made.added])
    found += _few("removed", [f"{item.op}  {item.name}" for item in made.removed])
    found += _few("op", [f"{_both(item.before, item.after)}  {_all(item.changes)}" for item in made.ops])
    values = [item for item in made.tensors if item.values is not None]
    forms = [item for item in made.tensors if item.values is None]
    found += _few("weights", [_weights(item) for item in values])
    found += _few("tensor", [f"{_both(item.before, item.after)}  {_all(item.changes)}" for item in forms])
    found += [f"names   {made.renamed:,} tensors have another name"] if made.renamed else []
    for part in ("signature", "metadata", "sidecar"):
        found += _few(part, [str(item) for item in getattr(made, part)])
    return found


def notebook(made: Diff) -> str:
    """The differences as an HTML table, the most changed constants first."""
    return page.table(("what", "which", "change"), _rows(made), headline(made), texts=3)


def _rows(made: Diff) -> Iterator[tuple[str, str, str]]:
    yield from (("bytes", item.key, f"{value(item.before)} -> {value(item.after)}") for item in made.size)
    yield from (("op added", item.op, item.name) for item in made.added)
    yield from (("op removed", item.op, item.name) for item in made.removed)
    yield from (("op", _both(item.before, item.after), _all(item.changes)) for item in made.ops)
    for tensor in made.tensors:
        told = [_figures(tensor)] if tensor.values is not None else []
        told += [_all(tensor.changes)] if tensor.changes else []
        yield "tensor", _both(tensor.before, tensor.after), "; ".join(told)
    for part in ("signature", "metadata", "sidecar"):
        yield from ((part, item.key, f"{value(item.before)} -> {value(item.after)}") for item in getattr(made, part))


def _few(title: str, rows: Sequence[str]) -> list[str]:
    more = [f"        and {len(rows) - SHOWN:,} more; --json lists them"] if len(rows) > SHOWN else []
    return [*(f"{title:8}{row}" for row in rows[:SHOWN]), *more]


def _sizes(changes: Sequence[Change]) -> str:
    parts = [f"{item.key} {(item.after or 0) - (item.before or 0):+,}" for item in changes]
    return f": {', '.join(parts)}" if parts else ""


def _both(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _all(changes: Sequence[Change]) -> str:
    return ", ".join(str(item) for item in changes)


def _weights(item: TensorChange) -> str:
    forms = f"; {_all(item.changes)}" if item.changes else ""
    return f"{_both(item.before, item.after)}  {_figures(item)}{forms}"


def _figures(item: TensorChange) -> str:
    found = item.values
    assert found is not None
    shares = "" if found.relative is None else f" ({found.relative:.2%} of the values' own)"
    codes = "" if found.codes is None else f", {found.codes:,} of {found.count:,} differ"
    return f"RMS {_number(found.rms)}{shares}, at most {_number(found.max)}{codes}"


def _number(given: float | None) -> str:
    return "not finite" if given is None else f"{given:.3g}"
