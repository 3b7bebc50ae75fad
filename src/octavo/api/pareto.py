"""`octavo pareto`: accuracy against size and latency over what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from octavo.analysis.pareto import Tried, front, picture, points
from octavo.base.files import check_file, write_bytes


def pareto(tried: Sequence[Path | str], out: Path | str | None = None) -> Tried:
    """Reads what was tried, and says which of it nothing else beats.

    Args:
        tried: Records of target searches (``.search.json``), or run directories.
        out: A `.png` to draw.

    Returns:
        A row for each model: ``name``, ``kind``, ``accuracy`` (a share), ``bytes``, ``median_ms``, and under ``front``
        whether nothing of no more bytes, or no more milliseconds, is more accurate.

    Raises:
        OctavoError: A path is neither.

    Example:
        >>> import octavo
        >>> tried = octavo.pareto(["runs/digits"])
        >>> [row["name"] for row in tried if row["front"]["bytes"]]
        ['digits: int8', 'digits: control']
    """
    if out is not None:
        check_file(Path(out))
    rows = points([Path(path) for path in tried])
    fronts = {cost: front(rows, cost) for cost in ("bytes", "median_ms")}
    if out is not None:
        write_bytes(Path(out), picture(rows))
    return Tried(tuple({**row, "front": {cost: row in best for cost, best in fronts.items()}} for row in rows))
