"""One pass of a model over samples: in this process, or in parts by several processes, with the same result.

Samples in memory are run as they are. Of samples that are not, each process gets the places of a part and the path of
the model's file, reads a few samples at a time, and keeps its interpreter for the next part.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from octavo.base.progress import Advance
from octavo.data.encoded_inputs import Feed
from octavo.data.streamed import divided
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]
# Raw inputs of a model: each item is an array, or a tuple of arrays if the model has several inputs.
Samples = Sequence[Array | tuple[Array, ...]] | Array
Found = TypeVar("Found")
# (the model, samples, the place of the first, a function to call with 1 after each) -> what was found
Work = Callable[[Model, Samples, int, Advance], Found]

# Each thread of a process keeps the model that it ran last: a part of the samples follows another.
_KEPT = threading.local()


class Some(Sequence[Any]):
    """Some of many samples, in a given order, each made when it is needed.

    Args:
        samples: All samples.
        places: The places of those that are taken.

    Example:
        >>> list(Some([10, 20, 30], [2, 0]))
        [30, 10]
    """

    def __init__(self, samples: Sequence[Any] | Array, places: Sequence[int]) -> None:
        self._samples = samples
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        """One sample, or several."""
        if isinstance(place, slice):
            return [self._samples[at] for at in self.places[place]]
        return self._samples[self.places[place]]


def taken(samples: Samples, places: Sequence[int]) -> Samples:
    """Some of many samples; several processes share them as they share all."""
    if isinstance(samples, Feed) and samples.streamed is not None:
        return samples.take(np.array(places, np.int64))
    return Some(samples, places)


def pass_over(
    graph: Graph,
    samples: Samples,
    work: Work[Found],
    merge: Callable[[Found, Found], Found],
    progress: Advance = lambda done: None,
    kernels: Kernels = "xnnpack",
) -> Found:
    """Runs a model over samples once.

    Args:
        graph: The model.
        samples: Its raw inputs, one or more.
        work: Runs the model over some of them. It goes to other processes by value, so it holds no large object.
        merge: Joins what was found in some samples with what was found in those that follow them; associative.
        progress: Called with the number of samples done.
        kernels: Which of LiteRT's kernel families runs the model.
    """
    stream = samples.streamed if isinstance(samples, Feed) else None
    if stream is None:
        return work(Model(graph, kernels), samples, 0, progress)
    assert isinstance(samples, Feed)
    jobs = stream.jobs
    ends = divided(stream.store, stream.positions, len(samples) if jobs.alone else jobs.tasks)
    parts = [(start, samples.part(start, end)) for start, end in ends]
    with tempfile.TemporaryDirectory(prefix="octavo-") as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(graph.content)
        # A process of several runs one sample at a time; alone it uses all cores.
        task = partial(_of_part, str(file), graph.name, kernels, None if jobs.alone else 1, work, merge)

        def each() -> Iterator[Found]:
            for (_, part), found in zip(parts, jobs.map(task, parts), strict=True):
                yield found
                progress(len(part))

        return merged(each(), merge)


def merged(parts: Iterable[Found], merge: Callable[[Found, Found], Found]) -> Found:
    """What was found in all parts.

    Neighbours that stand for as many parts are merged: to merge each part with all before it would take time in the
    square of their number, where what is found has an entry for each sample.

    Args:
        parts: What was found in each part, one or more, in their order.
        merge: Joins what was found in neighbours; associative.

    Example:
        >>> merged(["a", "b", "c", "d", "e"], lambda one, two: f"({one}{two})")
        '(((ab)(cd))e)'
    """
    waiting: list[tuple[int, Found]] = []
    for found in parts:
        count = 1
        while waiting and waiting[-1][0] == count:
            before = waiting.pop()
            count, found = count + before[0], merge(before[1], found)
        waiting.append((count, found))
    made = waiting.pop()[1]
    while waiting:
        made = merge(waiting.pop()[1], made)
    return made


def _of_part(
    file: str,
    name: str,
    kernels: Kernels,
    workers: int | None,
    work: Work[Found],
    merge: Callable[[Found, Found], Found],
    part: tuple[int, Feed],
) -> Found:
    """What a process finds in its part of the samples, of which it holds a few at a time."""
    model = _model(file, name, kernels, workers)
    first, samples = part

    def each(start: int) -> Iterator[Found]:
        for few in samples.held():
            yield work(model, few, start, lambda done: None)
            start += len(few)

    return merged(each(first), merge)


def _model(file: str, name: str, kernels: Kernels, workers: int | None) -> Model:
    key = (file, kernels)
    if getattr(_KEPT, "key", None) != key:
        _KEPT.key, _KEPT.model = None, None
        _KEPT.model = Model(Graph(Path(file).read_bytes(), name), kernels, workers)
        _KEPT.key = key
    model: Model = _KEPT.model
    return model
