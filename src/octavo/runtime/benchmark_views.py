"""The benchmark as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.base import notebook as page

if TYPE_CHECKING:
    from octavo.runtime.benchmark import Benchmark, Cost, Timing

_HEADS = (
    *("model", "kernels", "threads", "median ms", "p90", "min", "runs", "ratio (95% interval)"),
    *("images/s", "load ms", "memory MB", "bytes", "left to the CPU's own kernels"),
)


def headline(made: Benchmark, most: int = 5) -> str:
    """The benchmark in one line: the machine, and the first few medians, each with its ratio to the first model."""
    names, shown = _names(made), made.timings[:most]
    times = [
        f"{names[item.model]} {item.kernels} x{item.threads} {item.latency.median_ms:.3g} ms ({item.ratio.value:.2f})"
        for item in shown
    ]
    more = [f"{len(made.timings) - most} more"] if len(made.timings) > most else []
    return f"{made.machine.cpu}, {made.machine.cores} cores: {', '.join([*times, *more])}"


def notebook(made: Benchmark) -> str:
    """The benchmark as an HTML table, one row per timing."""
    title = f"{made.machine.cpu}, {made.machine.cores} cores, LiteRT {made.machine.litert}"
    return page.table(_HEADS, [_cells(made, item) for item in made.timings], title, texts=2)


def table(made: Benchmark) -> str:
    """The benchmark as text, columns aligned."""
    names = _names(made)
    width = max(map(len, names.values()))
    lines = [
        f"{made.machine.cpu}, {made.machine.cores} cores, LiteRT {made.machine.litert}",
        "",
        f"{'model':{width}}  kernels    threads  median ms     p90     min   runs  ratio (95% interval)   "
        "images/s  load ms  memory MB       bytes  left to the CPU's own kernels",
    ]
    for item in made.timings:
        name, kernels, threads, median, p90, least, runs, ratio, rate, load, memory, size, left = _cells(made, item)
        lines.append(
            f"{name:{width}}  {kernels:9}  {threads:>7}  {median:>9}  {p90:>6}  {least:>6}  {runs:>5}  {ratio}  "
            f"{rate:>8}  {load:>7}  {memory:>9}  {size:>10}  {left}"
        )
    for path, costs in made.profiles.items():
        lines += ["", f"{names[path]}, op by op on XNNPACK, one thread", *_profile(costs)]
    if (peak := made.peak_int8_gmacs) is not None:
        lines += ["", f"int8 peak of this machine on one thread: {peak:.1f} GMAC/s (one 1x1 convolution in cache)"]
    return "\n".join(lines)


def _names(made: Benchmark) -> dict[str, str]:
    """The name of each file, or its path if names are equal."""
    names = {path: Path(path).name for path in made.files}
    return names if len(set(names.values())) == len(names) else {path: path for path in names}


def _cells(made: Benchmark, item: Timing) -> tuple[str, ...]:
    """One timing as a row under `_HEADS`."""
    time, ratio, memory = item.latency, item.ratio, item.footprint.memory
    return (
        _names(made)[item.model],
        item.kernels,
        str(item.threads),
        f"{time.median_ms:.2f}",
        f"{time.p90_ms:.2f}",
        f"{time.min_ms:.2f}",
        str(time.runs),
        f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})",
        "–" if item.throughput is None else f"{item.throughput:,.0f}",
        f"{item.footprint.load_ms:.1f}",
        "–" if memory is None else f"{memory / 1e6:.1f}",
        f"{made.files[item.model].bytes:,}",
        _left(item.undelegated) if item.kernels == "xnnpack" else "all (no delegate)",
    )


def _left(ops: Sequence[str]) -> str:
    if not ops:
        return "none"
    return ", ".join(ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")


def _profile(costs: Sequence[Cost]) -> list[str]:
    lines = [f"{'op':44}  {'of the file':24}  {'us':>8}  {'share':>6}  {'MACs':>13}  {'GMAC/s':>7}"]
    for cost in costs:
        name = cost.name if cost.delegated else f"{cost.name} (not delegated)"
        macs = "–" if cost.macs is None else f"{cost.macs:,}"
        rate = "–" if cost.gmacs is None else f"{cost.gmacs:.1f}"
        lines.append(
            f"{name:44}  {cost.op or '–':24}  {cost.microseconds:8.1f}  {cost.share:6.1%}  {macs:>13}  {rate:>7}"
        )
    return lines
