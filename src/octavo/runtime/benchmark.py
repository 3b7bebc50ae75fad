"""The benchmark: times models side by side on this machine, and records the conditions.

The models run in turn, A B A B, so that other load on the machine affects all of them equally. Each pair of runs gives
a ratio; two models are compared by the median of these ratios.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.base.affine import QParams
from octavo.base.errors import ModelError
from octavo.base.stats import Interval, median_interval
from octavo.runtime import benchmark_views
from octavo.runtime.footprint import Footprint, footprint
from octavo.runtime.litert import Kernels, Latency, Model, interleaved, interpreter
from octavo.runtime.profiler import Event, profile
from octavo.tflite.graph import Graph, Op, serialize
from octavo.tflite.op_table import TABLE, macs, row

Array = npt.NDArray[Any]
WEIGHING = tuple(kind for kind, rules in TABLE.items() if rules.weight is not None)


@dataclass(frozen=True)
class Timing:
    """One model with one kernel family and number of threads.

    Args:
        model: The file's path.
        kernels: The kernel family.
        threads: Threads inside a run.
        latency: Milliseconds of a run at batch 1.
        ratio: Its time divided by the first model's: the median over pairs of runs, and its 95% interval.
        throughput: Images per second, one image at a time on each core; None if not measured (threads above 1).
        footprint: Time to load, and memory.
        undelegated: Ops that the delegate does not take, by index and kind; all of them without a delegate.
    """

    model: str
    kernels: Kernels
    threads: int
    latency: Latency
    ratio: Interval
    throughput: float | None
    footprint: Footprint
    undelegated: list[str]

    def __post_init__(self) -> None:
        if self.ratio.value <= 0:
            raise ValueError("a ratio of two times is above 0")


@dataclass(frozen=True)
class Cost:
    """One op of a profile: the runtime's event, and the op of the file that it belongs to, if that is known.

    Args:
        name: Its name in the runtime.
        delegated: Whether the delegate runs it.
        microseconds: Mean time of a run.
        share: Of the time of all ops.
        op: The op of the file; None if unknown.
        macs: Its multiply-accumulates.
        gmacs: Multiply-accumulates per second, in thousand millions; None below 2 µs, the profiler's resolution.
    """

    name: str
    delegated: bool
    microseconds: float
    share: float
    op: str | None
    macs: int | None
    gmacs: float | None


@dataclass(frozen=True)
class Machine:
    """The machine of a benchmark.

    Args:
        cpu: The processor's name.
        architecture: Its architecture, such as ``x86_64``.
        cores: How many cores the system sees.
        system: The operating system.
        litert: The version of LiteRT.
    """

    cpu: str
    architecture: str
    cores: int | None
    system: str
    litert: str


@dataclass(frozen=True)
class Timed:
    """A timed file.

    Args:
        bytes: Its size.
        macs: Multiply-accumulates of one image.
    """

    bytes: int
    macs: int


@dataclass(frozen=True, repr=False)
class Benchmark:
    """All timings, in the order models were given, for each kernel family and number of threads.

    Args:
        seconds: How long each kernel family and number of threads was measured.
        machine: The machine.
        files: The files by their paths.
        timings: One row for each model, kernel family and number of threads.
        peak_int8_gmacs: The machine's int8 peak, in thousand million multiply-accumulates a second; None where it was
            not profiled.
        profiles: Every op of each file, where it was profiled.
    """

    seconds: float
    machine: Machine
    files: dict[str, Timed]
    timings: list[Timing]
    peak_int8_gmacs: float | None
    profiles: dict[str, list[Cost]]

    def __repr__(self) -> str:
        return f"Benchmark({benchmark_views.headline(self)})"

    def _repr_html_(self) -> str:
        return benchmark_views.notebook(self)

    def to_json(self) -> dict[str, Any]:
        """A JSON value with every figure."""
        return asdict(self)


def benchmark(
    models: Sequence[tuple[Path, Graph]],
    threads: Sequence[int] = (1,),
    families: Sequence[Kernels] = ("xnnpack",),
    seconds: float = 4.0,
    profiled: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Times models side by side.

    Args:
        models: Files and their graphs; ratios are to the first.
        threads: Numbers of threads, each timed by itself.
        families: Kernel families, each timed by itself.
        seconds: About how long each of these takes, after warm-up.
        profiled: Measure each op too, on XNNPACK with one thread, and the machine's int8 peak.
        say: Called with a line before each step.

    Raises:
        ModelError: A model cannot run, or there are none.
    """
    if not models:
        raise ModelError("There is no model to time.", "Give the paths of one or more .tflite models.")
    timings: list[Timing] = []
    for family in families:
        for count in threads:
            say(f"timing {len(models)} models, {family}, {count} thread{'s' * (count > 1)}")
            timings += _time(models, family, count, seconds)
    return Benchmark(
        seconds,
        machine(),
        {str(path): Timed(len(graph.content), macs(graph)) for path, graph in models},
        timings,
        peak_int8_gmacs=peak_int8() if profiled else None,
        profiles={str(path): costs(graph, profile(path)) for path, graph in models} if profiled else {},
    )


def machine() -> Machine:
    """The machine and the versions."""
    from importlib.metadata import version

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    return Machine(
        cpu=name or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=os.cpu_count(),
        system=platform.system(),
        litert=version("ai-edge-litert"),
    )


def _time(models: Sequence[tuple[Path, Graph]], family: Kernels, threads: int, seconds: float) -> list[Timing]:
    times = interleaved([graph.content for _, graph in models], seconds, family, threads)
    made = []
    for (path, graph), kept in zip(models, times, strict=True):
        latency = Latency.of(kept)
        made.append(
            Timing(
                model=str(path),
                kernels=family,
                threads=threads,
                latency=latency,
                ratio=median_interval(kept / times[0]),
                throughput=_throughput(graph, family, latency.median_ms, seconds / 4) if threads == 1 else None,
                footprint=footprint(path, family, threads),
                undelegated=[str(op) for op in undelegated(graph, family)],
            )
        )
    return made


def _throughput(graph: Graph, family: Kernels, milliseconds: float, seconds: float) -> float:
    model = Model(graph, family)
    count = max(int(seconds * 1e3 / milliseconds), 2 * (os.cpu_count() or 1))
    zeros = tuple(np.zeros(tuple(max(n, 1) for n in port.shape[1:]), port.dtype) for port in model.inputs)
    batch = [zeros] * min(count, 64)
    model.each(batch[:2], lambda place, outputs: None)
    start = time.perf_counter()
    done = 0
    while done < count:
        model.each(batch, lambda place, outputs: None)
        done += len(batch)
    return done / (time.perf_counter() - start)


def undelegated(graph: Graph, family: Kernels = "xnnpack") -> list[Op]:
    """The ops that no delegate takes: found from the delegates' own inputs and outputs, back to front."""
    nodes = interpreter(graph.content, family)._get_ops_details()
    taken: set[int] = set()
    for node in nodes[len(graph.ops) :]:
        if node["op_name"] != "DELEGATE":
            continue
        stop = {int(index) for index in node["inputs"]}
        ways = [int(index) for index in node["outputs"]]
        while ways:
            op = graph.producers.get(ways.pop())
            if op is not None and op.index not in taken:
                taken.add(op.index)
                ways += [index for index in op.inputs if index >= 0 and index not in stop]
    return [op for op in graph.ops if op.index not in taken]


def left_by_xnnpack(graph: Graph) -> tuple[list[str], list[str]]:
    """The ops of a model that XNNPACK leaves to LiteRT's own kernels, and those of them that can take time.

    Every int8 classifier has one that takes none: the SOFTMAX over its classes.
    """
    left = undelegated(graph)
    return [str(op) for op in left], [str(op) for op in left if not _is_final_softmax(graph, op)]


def _is_final_softmax(graph: Graph, op: Op) -> bool:
    shape = graph.tensors[op.outputs[0]].shape
    return op.kind == "SOFTMAX" and op.outputs[0] in graph.outputs and math.prod(shape) == shape[-1]


def costs(graph: Graph, events: Sequence[Event]) -> list[Cost]:
    """Joins a profile with the file's ops.

    A delegate fuses and splits ops but keeps the order of those with multiplications, so these are matched one by one.
    If their numbers or kinds differ, none is matched, to avoid wrong matches.
    """
    total = sum(event.microseconds for event in events) or 1.0
    heavy = [op for op in graph.ops if op.kind in WEIGHING]
    places = [place for place, event in enumerate(events) if _multiplies(event.name)]
    matched = len(heavy) == len(places) and all(
        _depthwise(events[place].name) == TABLE[op.kind].depthwise for place, op in zip(places, heavy, strict=True)
    )
    ops: dict[int, Op] = dict(zip(places, heavy, strict=True)) if matched else {}
    return [_cost(graph, event, event.microseconds / total, ops.get(place)) for place, event in enumerate(events)]


def _cost(graph: Graph, event: Event, share: float, op: Op | None) -> Cost:
    rules = row(op) if op is not None else None
    found = rules.macs(graph, op) if rules and op else None
    # The profiler counts whole microseconds.
    rate = found / event.microseconds / 1e3 if found and event.microseconds >= 2 else None
    return Cost(event.name, event.delegated, event.microseconds, share, str(op) if op else None, found, rate)


def _multiplies(name: str) -> bool:
    return name.startswith(("Convolution", "Fully Connected", "Deconvolution")) or name in WEIGHING


def _depthwise(name: str) -> bool:
    return "DWConv" in name or name == "DEPTHWISE_CONV_2D"


def peak_int8(seconds: float = 0.5) -> float:
    """The machine's int8 peak in thousand million multiply-accumulates a second, on XNNPACK and one thread.

    The yardstick is one 1x1 convolution, 512 to 512 channels over 16x16 pixels, whose operands stay in cache. The
    fastest run counts.
    """
    graph = yardstick(16, 512)
    (times,) = interleaved([graph.content], seconds)
    return macs(graph) / float(np.min(times)) / 1e6


def yardstick(side: int, channels: int) -> Graph:
    """A model of one int8 1x1 convolution with random weights."""
    random = np.random.default_rng(0)
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    subgraph = schema.SubGraphT()

    def tensor(name: bytes, shape: Iterable[int], kind: int, params: QParams, data: Array | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), kind
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = params.scale, params.zero_point.astype(np.int64)
        if data is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.ascontiguousarray(data).view(np.uint8).ravel()
        subgraph.tensors = [*(subgraph.tensors or []), made]
        return len(subgraph.tensors) - 1

    types = schema.TensorType
    image, weight = QParams.from_range(-1, 1), QParams.symmetric(np.ones(channels), 0)
    shape = (1, side, side, channels)
    kernel = random.integers(-127, 128, (channels, 1, 1, channels), dtype=np.int8)
    subgraph.inputs = [tensor(b"image", shape, types.INT8, image)]
    constants = [
        tensor(b"weight", kernel.shape, types.INT8, weight, kernel),
        tensor(
            b"bias", (channels,), types.INT32, QParams.bias(image.scale, weight.scale), np.zeros(channels, np.int32)
        ),
    ]
    subgraph.outputs = [tensor(b"out", shape, types.INT8, QParams.from_range(-8, 8))]
    op, code = schema.OperatorT(), schema.OperatorCodeT()
    op.inputs, op.outputs, op.opcodeIndex = [*subgraph.inputs, *constants], subgraph.outputs, 0
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
    op.builtinOptions.strideH = op.builtinOptions.strideW = 1
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    model.operatorCodes, subgraph.operators, model.subgraphs = [code], [op], [subgraph]
    return Graph(serialize(model), "the yardstick")
