"""The benchmark as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from octavo.runtime.benchmark import Benchmark, Cost


def table(made: Benchmark) -> str:
    """The benchmark as text, columns aligned."""
    names = {path: Path(path).name for path in made.files}
    if len(set(names.values())) < len(names):
        names = {path: path for path in names}
    width = max(map(len, names.values()))
    lines = [
        f"{made.machine.cpu}, {made.machine.cores} cores, LiteRT {made.machine.litert}",
        "",
        f"{'model':{width}}  kernels    threads  median ms     p90     min   runs  ratio (95% interval)   "
        "images/s  load ms  memory MB       bytes  left to the CPU's own kernels",
    ]
    for item in made.timings:
        time, ratio, memory = item.latency, item.ratio, item.footprint.memory
        lines.append(
            f"{names[item.model]:{width}}  {item.kernels:9}  {item.threads:7}  {time.median_ms:9.2f}  "
            f"{time.p90_ms:6.2f}  {time.min_ms:6.2f}  {time.runs:5}  "
            f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})  "
            f"{'–' if item.throughput is None else f'{item.throughput:,.0f}':>8}  {item.footprint.load_ms:7.1f}  "
            f"{'–' if memory is None else f'{memory / 1e6:.1f}':>9}  {made.files[item.model].bytes:>10,}  "
            f"{_left(item.left) if item.kernels == 'xnnpack' else 'all (no delegate)'}"
        )
    for path, costs in made.profiles.items():
        lines += ["", f"{names[path]}, op by op on XNNPACK, one thread", *_profile(costs)]
    if (peak := made.peak_int8_gmacs) is not None:
        lines += ["", f"int8 peak of this machine on one thread: {peak:.1f} GMAC/s (one 1x1 convolution in cache)"]
    return "\n".join(lines)


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
