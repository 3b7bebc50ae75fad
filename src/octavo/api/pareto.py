"""`octavo pareto`: accuracy against size and latency of several models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from octavo.analysis.pareto import Pareto, front, is_picture, picture, points
from octavo.base.errors import OctavoError
from octavo.base.files import check_file, write_bytes


def pareto(tried: Sequence[Path | str], out: Path | str | None = None, force: bool = False) -> Pareto:
    """Reads the results of searches and runs, and finds the Pareto-optimal models.

    Args:
        tried: Records of target searches (``.search.json``), or run directories.
        out: The path of a `.png` chart to write.
        force: Also replace a file that is no picture of Octavo's.

    Returns:
        A row for each model: ``name``, ``kind``, ``score``, ``bytes``, ``median_ms``, and ``front``. ``front`` tells,
        for bytes and for milliseconds, whether no model of equal or lower cost has a better score.

    Raises:
        OctavoError: A path is neither a search record nor a run directory, or `out` is there and not Octavo's.

    Example:
        >>> import octavo
        >>> tried = octavo.pareto(["runs/digits"])
        >>> [row["name"] for row in tried if row["front"]["bytes"]]
        ['digits: int8', 'digits: control']
    """
    if out is not None:
        check_file(Path(out))
        if Path(out).exists() and not force and not is_picture(Path(out)):
            raise OctavoError(
                f"'{out}' is there already, and is no picture of Octavo's. It is not replaced.",
                "Set `out` to another path, or `force` to replace it.",
            )
    found = points([Path(path) for path in tried])
    fronts = {cost: front(found.rows, cost, found.metric.higher) for cost in ("bytes", "median_ms")}
    if out is not None:
        write_bytes(Path(out), picture(found.rows, found.metric))
    rows = tuple({**row, "front": {cost: row in best for cost, best in fronts.items()}} for row in found.rows)
    return Pareto(rows, found.metric)
