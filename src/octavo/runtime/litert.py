"""LiteRT: runs a model on a batch, with one interpreter per core and a chosen kernel family."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from octavo.base.affine import QParams
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet
from octavo.tflite.graph import Graph, as_codes, as_stored

Array = npt.NDArray[Any]
Kernels = Literal["xnnpack", "builtin", "reference"]

# The name of each family for people.
KERNEL_NAMES: dict[Kernels, str] = {
    "xnnpack": "LiteRT with XNNPACK",
    "builtin": "LiteRT built-in kernels",
    "reference": "LiteRT reference kernels",
}


def interpreter(
    content: bytes, kernels: Kernels = "xnnpack", threads: int = 1, shapes: Mapping[int, Sequence[int]] | None = None
) -> Any:
    """An allocated LiteRT interpreter.

    Args:
        content: The bytes of a `.tflite` file.
        kernels: ``xnnpack`` is the runtime's default; ``reference`` equals TFLite Micro bit for bit.
        threads: Threads inside one run.
        shapes: Shapes of inputs, by tensor index, if they differ from the file's.

    Raises:
        ModelError: LiteRT refuses the model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolvers = {
        "xnnpack": OpResolverType.AUTO,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    }
    try:
        with quiet():
            made = Interpreter(
                model_content=content, num_threads=threads, experimental_op_resolver_type=resolvers[kernels]
            )
            for index, shape in (shapes or {}).items():
                made.resize_tensor_input(index, shape)
            made.allocate_tensors()
    except Exception as error:  # as at every border
        if unknown := re.search(r"unresolved custom op: (.+?)\.?\s", f"{error} "):
            raise ModelError(
                f"LiteRT has no kernel for the custom op '{unknown[1]}', so the model cannot run here.",
                "Export the model with built-in ops only, or end it before that op.",
            ) from error
        raise ModelError(
            f"LiteRT refuses the model: {' '.join(str(error).split()) or type(error).__name__}",
            "It may use an op or a version that LiteRT lacks; `octavo inspect` lists its ops.",
        ) from error
    return made


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Args:
        name: The tensor's name.
        shape: Its shape, with the batch axis.
        dtype: NumPy's name of its element type.
        qparams: Its quantization, if it has one.
        argument: Its name in the model's signature, if there is a signature.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    qparams: QParams | None
    argument: str | None = None

    @property
    def label(self) -> str:
        """Its name for people: the signature's name, or else the tensor's without TensorFlow's additions.

        Example:
            >>> Port("serving_default_speed:0", (1, 1), "float32", None).label
            'speed'
        """
        return self.argument or re.sub(r"^serving_default_|:\d+$", "", self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called: as the signature, the tensor, or people say it."""
        return tuple(name for name in (self.argument, self.name, self.label) if name is not None)

    @property
    def is_image(self) -> bool:
        """Whether its shape is that of images, ``(N, height, width, 1 or 3)``."""
        return len(self.shape) == 4 and self.shape[3] in (1, 3)

    @property
    def real(self) -> Port:
        """The same port of a float model, before any encoding."""
        return self if self.qparams is None else replace(self, dtype="float32", qparams=None)

    def encode(self, real: Array) -> Array:
        """Reals as the model takes them: codes of this port, float32, or unchanged whole numbers."""
        if self.qparams is None:
            return real.astype(self.dtype)
        return as_stored(self.qparams.quantize(real), self.dtype)

    def decode(self, raw: Array) -> Array:
        """The model's output as float32 reals."""
        if self.qparams is None:
            return raw.astype(np.float32)
        return self.qparams.dequantize(as_codes(raw))


class Model:
    """A `.tflite` model ready to run: one image at a time on each core, which is faster than several threads per image.

    Args:
        graph: The model.
        kernels: Which kernel family runs it.
        workers: How many interpreters run at the same time; as many as there are cores by default.

    Raises:
        ModelError: LiteRT refuses it.
    """

    def __init__(self, graph: Graph, kernels: Kernels = "xnnpack", workers: int | None = None) -> None:
        self.graph = graph
        self.kernels = kernels
        self.inputs = inputs_of(graph)
        self.outputs = outputs_of(graph)
        count = workers or os.cpu_count() or 1
        self._interpreters = [interpreter(graph.content, kernels) for _ in range(count)]
        for made in self._interpreters:
            shapes = {detail["index"]: tuple(detail["shape"]) for detail in made.get_input_details()}
            for index, port in zip(graph.inputs, self.inputs, strict=True):
                if shapes[index] != (1, *port.shape[1:]):
                    made.resize_tensor_input(index, (1, *port.shape[1:]))
                    made.allocate_tensors()

    @property
    def input(self) -> Port:
        """The one input.

        Raises:
            ModelError: There are several.
        """
        if len(self.inputs) != 1:
            raise ModelError(
                f"{self.graph.name} has {len(self.inputs)} inputs, but an image classifier has one.",
                "Export the model with its image input only.",
            )
        return self.inputs[0]

    def each(
        self, batch: Sequence[Array | tuple[Array, ...]] | Array, look: Callable[[int, list[Array]], None]
    ) -> None:
        """Runs every item of `batch` (each of the input's shape without its first axis) on all cores.

        Args:
            batch: Raw inputs, as `Port.encode` makes them; a tuple for each item where the model has several.
            look: Called with the item's place and its raw outputs, in no fixed order, from several threads;
                the arrays are views that the next run overwrites.
        """
        count = len(self._interpreters)
        stateful = bool(self.graph.variables)

        def work(worker: int) -> None:
            made = self._interpreters[worker]
            # The orders of get_input_details and get_output_details can differ from the file's, so indices are used.
            exits = [made.tensor(index) for index in self.graph.outputs]
            for place in range(worker, len(batch), count):
                item = batch[place]
                values = item if isinstance(item, tuple) else (item,)
                with border(f"LiteRT cannot run {self.graph.name}", kind=ModelError):
                    for index, value in zip(self.graph.inputs, values, strict=True):
                        made.set_tensor(index, value[None])
                    if stateful:
                        # Each item starts anew, whatever ran before it on this core.
                        made.reset_all_variables()
                    made.invoke()
                # No name holds the views, since LiteRT refuses the next run while there is one.
                look(place, self._read(exits))

        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(work, worker) for worker in range(count)]:
                done.result()

    def _read(self, exits: Sequence[Callable[[], Array]]) -> list[Array]:
        with border(f"LiteRT cannot run {self.graph.name}", kind=ModelError):
            # An output without axes has no batch axis either, and gets one.
            outputs = [np.atleast_1d(view()) for view in exits]
        clear_unfilled(self.graph, outputs)
        return outputs

    def run(
        self,
        batch: Sequence[Array | tuple[Array, ...]] | Array,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Array:
        """Raw inputs in, reals out: the first output for every item, float32.

        Args:
            batch: As in `each`.
            progress: Called after each item with 1.
        """
        port = self.outputs[0]
        results = np.zeros((len(batch), *(abs(n) for n in port.shape[1:])), port.dtype)

        def keep(place: int, outputs: list[Array]) -> None:
            results[place] = outputs[0][0]
            progress(1)

        self.each(batch, keep)
        return port.decode(results)

    def run_all(self, batch: Sequence[Array | tuple[Array, ...]] | Array) -> list[Array]:
        """Raw inputs in, reals out: every output for every item, float32.

        Args:
            batch: As in `each`.
        """
        found: dict[int, list[Array]] = {}
        self.each(batch, lambda place, outputs: found.__setitem__(place, [one[0].copy() for one in outputs]))
        return stacked(self.outputs, [found[place] for place in range(len(batch))])

    def predict(self, real: Array) -> Array:
        """Reals in, reals out: the first output for every item, float32.

        Args:
            real: Preprocessed images, ``(N, height, width, channels)``.
        """
        return self.run(self.input.encode(real))


def stacked(ports: Sequence[Port], raw: Sequence[Sequence[Array]]) -> list[Array]:
    """The reals of every output, stacked over samples.

    Args:
        ports: The outputs.
        raw: The raw outputs of each sample, without the batch axis.
    """
    return [port.decode(np.stack([outputs[at] for outputs in raw])) for at, port in enumerate(ports)]


def clear_unfilled(graph: Graph, outputs: Sequence[Array]) -> None:
    """Sets what an op never wrote to 0, in the outputs of one run, which are changed in place.

    TFLite_Detection_PostProcess writes as many boxes as it finds. What it leaves is whatever was in memory, so that two
    runs on one input differ, and values may be NaN.

    Args:
        graph: The model.
        outputs: Its raw outputs.
    """
    for op in graph.unfilled:
        if set(op.outputs) <= set(graph.outputs):
            *lists, count = (outputs[graph.outputs.index(index)] for index in op.outputs)
            for values in lists:
                values[:, int(count.flat[0]) :] = 0


def _port(graph: Graph, index: int) -> Port:
    tensor = graph.tensors[index]
    return Port(tensor.name, tensor.shape, tensor.dtype, tensor.qparams, graph.arguments.get(index))


def inputs_of(graph: Graph) -> tuple[Port, ...]:
    """The inputs of a model, without making it ready to run."""
    return tuple(_port(graph, index) for index in graph.inputs)


def outputs_of(graph: Graph) -> tuple[Port, ...]:
    """The outputs of a model, without making it ready to run."""
    return tuple(_port(graph, index) for index in graph.outputs)


@dataclass(frozen=True)
class Latency:
    """How long one run takes at batch 1.

    Args:
        median_ms: Median of all runs, in milliseconds.
        p90_ms: 90th percentile of all runs, in milliseconds.
        min_ms: The fastest run, in milliseconds.
        runs: How many runs were timed.
    """

    median_ms: float
    p90_ms: float
    min_ms: float
    runs: int

    def __post_init__(self) -> None:
        # Of a file that somebody changed: a clock always moves while a model runs.
        if min(self.median_ms, self.p90_ms, self.min_ms) <= 0:
            raise ValueError("a time is above 0")

    @classmethod
    def of(cls, milliseconds: Array) -> Self:
        """The latency from the times of many runs."""
        median, p90 = np.median(milliseconds), np.percentile(milliseconds, 90)
        return cls(float(median), float(p90), float(np.min(milliseconds)), len(milliseconds))


def latency(contents: Sequence[bytes], seconds: float = 1.0, kernels: Kernels = "xnnpack") -> list[Latency]:
    """Times models side by side on one thread; see `interleaved`."""
    return [Latency.of(times) for times in interleaved(contents, seconds, kernels)]


def interleaved(
    contents: Sequence[bytes],
    seconds: float = 1.0,
    kernels: Kernels = "xnnpack",
    threads: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Array:
    """Times models side by side, A B A B, so that drift of the machine affects all equally.

    Args:
        contents: The models' bytes.
        seconds: About how long to measure in all, after warm-up.
        kernels: Which kernel family runs them.
        threads: Threads inside one run.
        clock: Gives the seconds by which a run is timed. `time.thread_time` counts those in which it had a core, where
            other work takes the cores and there is one thread.

    Returns:
        Milliseconds of every run, float64 ``(models, rounds)``; a column was measured in one round.
    """
    runs: list[Callable[[], None]] = []
    random = np.random.default_rng(0)
    for content in contents:
        made = interpreter(content, kernels, threads)
        for detail in made.get_input_details():
            # Whole numbers may be indices, of which 0 and 1 are valid in any lookup table.
            most = 2 if detail["dtype"] in (np.int32, np.int64, np.bool_) else 127
            noise = random.integers(0, most, detail["shape"])
            made.set_tensor(detail["index"], noise.astype(detail["dtype"]))
        runs.append(made.invoke)
    for run in runs:
        for _ in range(3):
            run()
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 5:
        rounds.append([])
        for run in runs:
            start = clock()
            run()
            rounds[-1].append((clock() - start) * 1e3)
    return np.array(rounds).T


def refusal(content: bytes, kernels: Kernels, shapes: Mapping[int, Sequence[int]] | None = None) -> str:
    """Why LiteRT cannot run a model with a kernel family; empty if it can. A damaged model can crash the process.

    The model runs on zeros, whose refusal counts, and then on random values and on the largest ones, since kernels can
    also crash on what they read. An honest model may refuse these, such as an index out of range.

    Args:
        content: The bytes of a `.tflite` file.
        kernels: The kernel family.
        shapes: As for `interpreter`.
    """
    random = np.random.default_rng(0)
    ran = False
    try:
        made = interpreter(content, kernels, shapes=shapes)
        with quiet():
            for draw in (_zeros, _random, _largest):
                for detail in made.get_input_details():
                    made.set_tensor(detail["index"], draw(tuple(detail["shape"]), np.dtype(detail["dtype"]), random))
                made.invoke()
                ran = True
    except Exception as error:  # as at every border
        return "" if ran else " ".join(str(error).split()) or type(error).__name__
    return ""


def _zeros(shape: tuple[int, ...], dtype: Any, random: np.random.Generator) -> Array:
    return np.zeros(shape, dtype)


def _random(shape: tuple[int, ...], dtype: Any, random: np.random.Generator) -> Array:
    if dtype in (np.int8, np.uint8):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    # 0 and 1 are valid indices of any lookup table.
    return (random.standard_normal(shape) if dtype.kind == "f" else random.integers(0, 2, shape)).astype(dtype)


def _largest(shape: tuple[int, ...], dtype: Any, random: np.random.Generator) -> Array:
    if dtype.kind in "iu":
        return np.full(shape, np.iinfo(dtype).max, dtype)
    return np.full(shape, np.finfo(dtype).max if dtype.kind == "f" else 1, dtype)
