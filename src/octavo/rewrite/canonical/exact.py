"""Checks that a rewrite is exact: runs both graphs on LiteRT's own kernels, on the same random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.evenly import evenly
from octavo.runtime.litert import clear_unfilled, interpreter
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

# Kernels sum floats in another order if the batch size changes, or if a sparse constant becomes dense.
ROUNDING = 1e-5
DRAWS = 2
# The largest number of batch items to compare. There can be many if the first axis is not really a batch.
MOST_ITEMS = 16


def difference(before: Graph, after: Graph, tolerance: float = 0.0) -> str | None:
    """Describes the first difference between the outputs of two graphs, or returns None if they agree.

    Args:
        before: The original graph. Open sizes of its inputs become those of `after`.
        after: The rewritten graph, with static inputs. If `before` takes N items, `after` is run on each.
        tolerance: The largest allowed difference of a float output, as a fraction of its largest value. Integers must
            be equal.

    Raises:
        ModelError: LiteRT cannot run one of them.
    """
    random = np.random.default_rng(0)
    batch = _batch(before, after)
    shapes = [after.tensors[index].shape for index in after.inputs]
    whole = runner(before, [(batch, *shape[1:]) for shape in shapes] if batch > 1 else shapes)
    alone = runner(after, shapes)
    for _ in range(DRAWS):
        items = [inputs(after, random) for _ in range(batch)]
        try:
            wanted = whole(_stacked(items))
        except ModelError:
            # Some models refuse random values, such as an index out of range. Every model here has run on zeros before.
            items = [[np.zeros_like(value) for value in given] for given in items]
            wanted = whole(_stacked(items))
        for place in evenly(batch, MOST_ITEMS):
            for index, one, two in zip(after.outputs, wanted, alone(items[place]), strict=True):
                name = after.tensors[index].name
                if batch > 1 and (one.ndim == 0 or len(one) != batch * len(two)):
                    return f"output '{name}' has the shape {one.shape} for {batch} items and {two.shape} for one"
                part = np.split(one, batch)[place] if batch > 1 else one
                if (found := apart(part, two, tolerance)) is not None:
                    return f"output '{name}' {found}"
    return None


def started(content: bytes, shapes: Mapping[int, Sequence[int]] | None = None) -> Any:
    """An interpreter on LiteRT's own kernels, where no delegate fuses ops. Models that these refuse run on XNNPACK.

    Args:
        content: The bytes of a `.tflite` file.
        shapes: As for `octavo.runtime.litert.interpreter`.

    Raises:
        ModelError: LiteRT refuses the model.
    """
    try:
        return interpreter(content, "builtin", shapes=shapes)
    except ModelError:
        return interpreter(content, "xnnpack", shapes=shapes)


def invoked(graph: Graph) -> Any:
    """An interpreter that has run a graph once, on zeros. It provides tensor shapes and values that need no input.

    Raises:
        ModelError: LiteRT cannot run the graph.
    """
    made = started(graph.content)
    with border(f"LiteRT cannot run {graph.name}", kind=ModelError):
        for detail in made.get_input_details():
            made.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        made.invoke()
    return made


def runner(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> Callable[[list[Array]], list[Array]]:
    """A function that runs a graph on LiteRT. It takes one array per input and returns one array per output.

    Args:
        graph: The graph.
        shapes: The shape of each input.

    Raises:
        ModelError: LiteRT cannot run the graph at these shapes. The returned function raises it for its arguments.
    """
    made = started(graph.content, dict(zip(graph.inputs, shapes, strict=True)))

    def run(given: list[Array]) -> list[Array]:
        made.reset_all_variables()
        with border(f"LiteRT cannot run {graph.name}", kind=ModelError):
            for index, value in zip(graph.inputs, given, strict=True):
                made.set_tensor(index, value)
            made.invoke()
            outputs = [np.array(made.get_tensor(index)) for index in graph.outputs]
        clear_unfilled(graph, outputs)
        return outputs

    return run


def _stacked(items: Sequence[list[Array]]) -> list[Array]:
    """The inputs of one run on a batch. A single item is returned unchanged, whatever its rank."""
    return [np.concatenate(given) for given in zip(*items, strict=True)] if len(items) > 1 else items[0]


def _batch(before: Graph, after: Graph) -> int:
    """The number of items of `after` that one run of `before` takes."""
    for index in before.inputs:
        old, new = before.tensors[index].shape, after.tensors[index].shape
        if old != new and old[0] > 1:
            return old[0] // new[0]
    return 1


def inputs(graph: Graph, random: np.random.Generator) -> list[Array]:
    """Random values for each input of a graph with static inputs."""
    made = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if tensor.dtype in ("int8", "uint8"):
            limits = np.iinfo(tensor.dtype)
            made.append(random.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype))
        elif "int" in tensor.dtype or tensor.dtype == "bool":
            # 0 and 1 are valid indices of any lookup table.
            made.append(random.integers(0, 2, tensor.shape).astype(tensor.dtype))
        else:
            made.append(random.uniform(-1, 1, tensor.shape).astype(tensor.dtype))
    return made


def apart(one: Array, two: Array, tolerance: float = 0.0) -> str | None:
    """Describes the difference between two outputs, or returns None if they are equal up to `tolerance`."""
    if one.shape != two.shape:
        return f"has the shape {two.shape} instead of {one.shape}"
    if not np.issubdtype(one.dtype, np.floating):
        return None if np.array_equal(one, two) else f"differs by up to {np.abs(one.astype(float) - two).max():g}"
    limit = tolerance * float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    if np.allclose(one, two, rtol=0, atol=limit, equal_nan=True):
        return None
    return f"differs by up to {np.nanmax(np.abs(one.astype(np.float64) - two)):g}"
