"""The time of each operator, from LiteRT's own profiler, through the C library in its wheel.

The Python interpreter does not offer the profiler, but the C library does. Its structures are read in the layout of
version 2.3, in a child process, so that another layout gives an error message and not a crash.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octavo.base import child
from octavo.base.errors import ModelError

_LIBRARY = "libLiteRt.so"
_CPU = 1
_OPTIONS = b"enable_profiling = true\n"
# Kinds of events, of TFLite's profiler: an op of the interpreter, and one inside a delegate.
_OP, _DELEGATED = 2, 8


@dataclass(frozen=True)
class Event:
    """One operator as the runtime ran it; a delegate may have fused or split those of the file.

    Args:
        name: Its name in the runtime, such as ``Convolution (NHWC, QC8) IGEMM``.
        delegated: Whether the delegate ran it.
        microseconds: Median of the profiled runs.
    """

    name: str
    delegated: bool
    microseconds: float


def profile(path: Path, runs: int = 20) -> list[Event]:
    """Profiles a model on XNNPACK and one thread, operator by operator in the order they run.

    Microseconds are whole numbers in each run; the medians say little about an op that takes less than two.

    Args:
        path: A `.tflite` file.
        runs: How many runs are profiled, after a warm-up.

    Raises:
        ModelError: The runtime in this wheel cannot be profiled, or not on this model.
    """
    done = child.run(child.module_command("octavo.runtime.profiler", path, runs))
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ModelError(
            f"LiteRT could not profile '{path}': {last[0]}.", "Leave out `profile`, or install ai-edge-litert 2.3."
        )
    return [Event(*row) for row in json.loads(done.stdout)]


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("peak", "allocated", "used")]


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start", ctypes.c_uint64),
        ("microseconds", ctypes.c_uint64),
        ("memory_before", _Memory),
        ("memory_after", _Memory),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class _Library:
    """The C functions that profiling needs; each that returns a status other than 0 raises."""

    def __init__(self) -> None:
        import ai_edge_litert

        self._functions = ctypes.CDLL(str(Path(ai_edge_litert.__file__).parent / _LIBRARY))
        # Objects that the library points to must live longer than the library.
        self._kept: list[Any] = []

    def keep(self, thing: Any) -> Any:
        self._kept.append(thing)
        return thing

    def call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._functions, f"LiteRt{name}")
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} answered {status}")

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """The value that a function writes into its last argument."""
        made = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(made))
        return made


def _compiled(library: _Library, content: bytes) -> tuple[Any, Any, Any]:
    environment = library.make("CreateEnvironment", 0, None)
    model = library.make("CreateModelFromBuffer", environment, library.keep(content), ctypes.c_size_t(len(content)))
    options = library.make("CreateOptions")
    library.call("SetOptionsHardwareAccelerators", options, _CPU)
    text = ctypes.cast(library.keep(ctypes.create_string_buffer(_OPTIONS)), ctypes.c_void_p)
    release = library.keep(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda pointer: None))
    given = library.make("CreateOpaqueOptions", b"runtime_options_string", text, release)
    library.call("AddOpaqueOptions", options, given)
    return environment, model, library.make("CreateCompiledModel", environment, model, options)


def _buffers(library: _Library, environment: Any, compiled: Any, signature: Any, kind: str) -> Any:
    count = ctypes.c_size_t()
    library.call(f"GetNumSignature{kind}s", signature, ctypes.byref(count))
    made = []
    for place in range(count.value):
        tensor = library.make(f"GetSignature{kind}TensorByIndex", signature, ctypes.c_size_t(place))
        # Larger than the structure, whose exact size is not needed.
        layout = ctypes.create_string_buffer(512)
        library.call("GetRankedTensorType", tensor, layout)
        first, index = ctypes.c_size_t(0), ctypes.c_size_t(place)
        needs = library.make(f"GetCompiledModel{kind}BufferRequirements", compiled, first, index)
        buffer = library.make("CreateManagedTensorBufferFromRequirements", environment, layout, needs)
        # Zeros are valid indices, and what new memory holds may be none.
        library.call("ClearTensorBuffer", buffer)
        made.append(buffer)
    return (ctypes.c_void_p * len(made))(*made)


def _profile_here(path: Path, runs: int) -> list[tuple[str, bool, float]]:
    library = _Library()
    environment, model, compiled = _compiled(library, path.read_bytes())
    signature = library.make("GetModelSignature", model, ctypes.c_size_t(0))
    inputs, outputs = (_buffers(library, environment, compiled, signature, kind) for kind in ("Input", "Output"))
    profiler = library.make("CompiledModelGetProfiler", compiled)

    def run() -> list[_Event]:
        library.call("StartProfiler", profiler)
        sizes = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        library.call("RunCompiledModel", compiled, ctypes.c_size_t(0), sizes[0], inputs, sizes[1], outputs)
        library.call("StopProfiler", profiler)
        count = ctypes.c_int()
        library.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        library.call("GetProfilerEvents", profiler, count, events)
        library.call("ResetProfiler", profiler)
        return [event for event in events if event.kind in (_OP, _DELEGATED)]

    for _ in range(3):
        run()
    rows = [[(event.tag.decode("ascii"), event.kind, event.microseconds) for event in run()] for _ in range(runs)]
    return _medians(rows)


def _medians(rows: Sequence[Sequence[tuple[str, int, int]]]) -> list[tuple[str, bool, float]]:
    first = [(name, kind) for name, kind, _ in rows[0]]
    if not first or any([(name, kind) for name, kind, _ in row] != first for row in rows):
        raise RuntimeError("the profiler's events are not the same in every run")
    times = np.median([[us for *_, us in row] for row in rows], axis=0)
    return [(name, kind == _DELEGATED, float(us)) for (name, kind), us in zip(first, times, strict=True)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_profile_here(Path(sys.argv[1]), int(sys.argv[2]))))
