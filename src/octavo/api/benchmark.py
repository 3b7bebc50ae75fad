"""`octavo benchmark`: model files timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from octavo.base.errors import OctavoError
from octavo.base.progress import Progress, Silent
from octavo.runtime.benchmark import Benchmark
from octavo.runtime.benchmark import benchmark as timed
from octavo.runtime.litert import Kernels
from octavo.source.load import load_model


def benchmark(
    models: Sequence[Path | str],
    threads: Sequence[int] = (1,),
    kernels: Sequence[Kernels] = ("xnnpack",),
    seconds: float = 4.0,
    profile: bool = False,
    progress: Progress | None = None,
) -> Benchmark:
    """Times `.tflite` files side by side; see `octavo.runtime.benchmark.benchmark`.

    Args:
        models: The files; ratios are to the first.
        threads: Numbers of threads inside a run.
        kernels: Kernel families.
        seconds: About how long each comparison takes.
        profile: Time every op too.
        progress: Receives progress messages.

    Raises:
        OctavoError: A file is not a `.tflite` model that runs, or an option has an invalid value.

    Example:
        >>> import octavo
        >>> times = octavo.benchmark(["float.tflite", "int8.tflite"], seconds=0.2)
        >>> [timing.model for timing in times.timings], times.timings[1].latency.median_ms > 0
        (['float.tflite', 'int8.tflite'], True)
    """
    if not threads or min(threads) < 1:
        raise OctavoError(f"`threads` should be whole numbers of at least 1, and is {list(threads)}.")
    if not kernels or not set(kernels) <= set(get_args(Kernels)):
        raise OctavoError(f"`kernels` should be some of {', '.join(get_args(Kernels))}, and is {', '.join(kernels)}.")
    if not 0 < seconds < float("inf"):
        raise OctavoError(f"`seconds` should be above 0, and is {seconds:g}.")
    for path in models:
        if Path(path).is_file() and Path(path).suffix != ".tflite":
            raise OctavoError(f"'{path}' is not a .tflite file.", "Quantize or export it first: `octavo quantize`.")
    progress = progress or Silent()
    graphs = [(Path(path), load_model(path, progress=progress, kernels=kernels).graph) for path in models]
    return timed(graphs, list(threads), list(kernels), seconds, profile, progress.say)
