"""Converts the serving signature of a SavedModel folder to a float graph, and refuses ops that access files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet
from octavo.source.export import convert

_TODO = "It may be truncated: copy or save it again."
# A TensorFlow graph is a program: these ops read or write files, print to them, or call Python.
_REACHES_OUT = (
    "File",
    "PyFunc",
    "Print",
    "Save",
    "MergeV2Checkpoints",
    "Summary",
    "Dataset",
    "Reader",
    "ImmutableConst",
    "Debug",
    "Rpc",
    "Socket",
)


def to_float_tflite(path: Path) -> bytes:
    """Converts the serving signature of a SavedModel to a float `.tflite` with a fixed batch of 1.

    Raises:
        ModelError: The SavedModel is damaged, TensorFlow 1 wrote it, its functions access files or
            call Python, it has no usable signature, an input has an open size, or TensorFlow cannot convert it.
    """
    _refuse_what_reaches_out(path)
    with border(f"TensorFlow could not load the SavedModel '{path}'", _TODO, ModelError), quiet():
        # This reference is kept: the functions work only while the loaded object exists.
        loaded = load("tensorflow").saved_model.load(str(path))
    signature = _signature(path, loaded.signatures)
    inputs = [_input(path, name, spec) for name, spec in sorted(signature.structured_input_signature[1].items())]
    names = [name for name, _, _ in inputs]
    return convert(lambda *given: signature(**dict(zip(names, given, strict=True))), inputs, f"the SavedModel '{path}'")


def _signature(path: Path, signatures: Mapping[str, Any]) -> Any:
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    found = f"has the signatures {', '.join(sorted(signatures))}" if signatures else "has no signature"
    raise ModelError(
        f"The SavedModel '{path}' {found}; one called 'serving_default' was expected.",
        "Save it with `tf.saved_model.save(model, path, signatures=…)`, or a Keras model with `model.export(path)`.",
    )


def _input(path: Path, name: str, spec: Any) -> tuple[str, tuple[int, ...], str]:
    """The name, the shape without the batch, and the type of one input."""
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    if not shape or shape[0] not in (None, 1) or any(size is None for size in shape[1:]):
        found = "any shape" if shape is None else tuple("any" if size is None else size for size in shape)
        raise ModelError(
            f"Input '{name}' of the SavedModel '{path}' takes {found}. Expected: a batch of 1 or of any size, and "
            "fixed sizes after it.",
            "Save it with an `input_signature` such as `tf.TensorSpec([None, 224, 224, 3])`.",
        )
    kind = str(spec.dtype.name)
    if kind in ("float16", "bfloat16", "float64", "string"):
        raise ModelError(
            f"Input '{name}' of the SavedModel '{path}' takes {kind}; float32 or whole numbers were expected.",
            "Save a signature that takes float32 and casts inside, or save the network in float32.",
        )
    return name, shape[1:], kind


def _refuse_what_reaches_out(path: Path) -> None:
    """Refuses a SavedModel whose functions could access files or call Python: loading it runs some of them.

    Raises:
        ModelError: The SavedModel has such functions, cannot be parsed, or was written by TensorFlow 1.
    """
    saved = load("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    with border(f"'{path / 'saved_model.pb'}' is not a SavedModel", _TODO, ModelError):
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    for meta in saved.meta_graphs:
        if not meta.object_graph_def.nodes:
            raise ModelError(
                f"The SavedModel '{path}' was written by TensorFlow 1, whose graphs run code when they are loaded.",
                "If you trust it, convert it with `tf.lite.TFLiteConverter.from_saved_model(folder).convert()`, and "
                "give that .tflite.",
            )
        library = {function.signature.name: function for function in meta.graph_def.library.function}
        found = sorted({op for op in _ops(meta.object_graph_def.concrete_functions, library) if _reaches_out(op)})
        if found:
            raise ModelError(
                f"The SavedModel '{path}' has functions that access files or call Python ({', '.join(found)}). Octavo "
                "runs no such code from a file.",
                "If you trust it, convert it with `tf.lite.TFLiteConverter.from_saved_model(folder).convert()`, and "
                "give that .tflite.",
            )


def _reaches_out(op: str) -> bool:
    return any(part in op for part in _REACHES_OUT)


def _ops(start: Iterable[str], library: Mapping[str, Any]) -> Iterator[str]:
    """All ops in the given functions, and in the functions that they call."""
    seen: set[str] = set()
    ways = list(start)
    while ways:
        name = ways.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            yield node.op
            ways.append(node.op)
            for value in node.attr.values():
                ways += [value.func.name, *(function.name for function in value.list.func)]
