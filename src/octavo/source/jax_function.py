"""Converts JAX functions to a float graph through StableHLO, without TensorFlow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet
from octavo.source.export_check import check_export
from octavo.tflite.graph import Graph


def to_float_tflite(function: Callable[..., Any], examples: Sequence[Any]) -> bytes:
    """Converts a JAX function to a float `.tflite`, and compares the two on a few inputs.

    Args:
        function: The function. The values that it closes over are its weights.
        examples: One example per argument: an array or a tree of arrays, with a leading batch of 1. Only shapes and
            types are used.

    Raises:
        MissingDependencyError: The extra ``jax`` is not installed.
        ModelError: The function cannot be traced or converted, or the converted model computes something else.
    """
    names = _names(load("jax"), function, examples)
    return _exported(
        function, examples, names, f"the JAX function '{getattr(function, '__name__', type(function).__name__)}'"
    )


def convert(run: Callable[..., Any], inputs: Sequence[tuple[str, tuple[int, ...], str]], what: str) -> bytes:
    """Converts a JAX function of one array per input, as `octavo.source.export.convert` does one of TensorFlow.

    Args:
        run: The function.
        inputs: The name, the shape without the batch, and the type of each input.
        what: The name of the model in error messages.

    Raises:
        MissingDependencyError: The extra ``jax`` is not installed.
        ModelError: The function cannot be converted, or the converted model computes something else.
    """
    examples = [np.zeros((1, *shape), dtype) for _, shape, dtype in inputs]
    return _exported(run, examples, [name for name, _, _ in inputs], what)


def _exported(function: Callable[..., Any], examples: Sequence[Any], names: Sequence[str], what: str) -> bytes:
    """The float `.tflite` of a function whose flat inputs have these names."""
    jax = load("jax")
    leaves, structure = jax.tree.flatten(tuple(examples))
    shapes = [
        jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype)) for leaf in leaves
    ]
    compiled = jax.jit(function)
    todo = "The function must run under `jax.jit` on the examples, and use ops that LiteRT has."
    with border(f"litert-converter could not convert {what}", todo, ModelError):
        module = load("jax.export").export(compiled)(*jax.tree.unflatten(structure, shapes)).mlir_module()
        with quiet():
            content = _converted(str(module), names)
    graph = Graph(content, what)
    order = [names.index(graph.arguments[index]) for index in graph.inputs]

    def run(values: Sequence[Any]) -> list[Any]:
        given: list[Any] = [None] * len(values)
        for place, value in zip(order, values, strict=True):
            given[place] = value
        return [np.asarray(leaf) for leaf in jax.tree.leaves(compiled(*jax.tree.unflatten(structure, given)))]

    check_export(graph, run, what)
    return content


def _names(jax: Any, function: Callable[..., Any], examples: Sequence[Any]) -> list[str]:
    """The names of the inputs: the name of the function's argument, followed by the path inside a tree."""
    try:
        arguments = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        arguments = []
    names = []
    for place, example in enumerate(examples):
        name = arguments[place] if place < len(arguments) else f"input_{place}"
        for path, _ in jax.tree_util.tree_flatten_with_path(example)[0]:
            names.append(name + jax.tree_util.keystr(path))
    return names


def _converted(module: str, names: Sequence[str]) -> bytes:
    """Converts StableHLO to a float `.tflite` with the converter that litert-torch uses."""
    load("litert_converter")
    ir, passes = load("litert_converter.mlir.ir"), load("litert_converter.mlir.passmanager")
    converter = load("litert_converter.mlir._mlir_libs.converter_api_ext")
    with ir.Context() as context:
        converter.prepare_mlir_context(context)
        parsed = ir.Module.parse(module)
        count = len(parsed.body.operations[0].type.results)
        outputs = [f"output_{place}" for place in range(count)]
        converter.set_signature(
            parsed.operation, signature_name="serving_default", input_names=list(names), output_names=outputs
        )
        converter.run_convert_to_tfl_passes(parsed, passes.PassManager(), converter.ConvertToTFLConfig())
        return bytes(converter.export_flatbuffer_to_bytes(parsed.operation))
