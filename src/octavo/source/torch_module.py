"""Converts PyTorch modules and exported programs with litert-torch, LiteRT's own converter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.base.quiet import quiet
from octavo.source.export_check import check_export
from octavo.tflite.graph import Graph


def to_float_tflite(module: Any, examples: Sequence[Any]) -> bytes:
    """Converts a PyTorch module to a float `.tflite`, and compares the two on a few inputs.

    Images are ``(1, channels, height, width)`` in PyTorch and ``(1, height, width, channels)`` in the file, as
    everywhere in LiteRT. Outputs with four dimensions are converted in the same way.

    Args:
        module: An `nn.Module` in evaluation mode, or an `ExportedProgram`.
        examples: Example inputs: tensors with a leading batch of 1. An exported program may leave them empty, and then
            its own example inputs are used.

    Raises:
        MissingDependencyError: The extra ``torch`` is not installed.
        ModelError: The module is in training mode, litert-torch cannot convert it, or the converted model computes
            something else.
    """
    torch, converter = load("torch"), load("litert_torch")
    if isinstance(module, torch.export.ExportedProgram):
        examples = examples or module.example_inputs[0]
        module = module.module()
    elif any(part.training for part in module.modules()):
        raise ModelError(
            "The PyTorch module is in training mode, in which dropout and batch norms compute something else.",
            "Call `module.eval()` first.",
        )
    if not examples:
        raise ModelError(
            "A PyTorch module does not know the shapes of its inputs.", "Give example inputs, such as torch.zeros(…)."
        )
    what = f"the PyTorch module '{type(module).__name__}'"
    todo = "The module must run on the examples, and `torch.export.export(module, examples)` must accept it."
    with (
        border(f"litert-torch could not convert {what}", todo, ModelError),
        torch.no_grad(),
        quiet(),
        redirect_stdout(StringIO()),
    ):
        outputs = _listed(module(*examples))
        turned = converter.to_channel_last_io(
            module,
            args=[place for place, value in enumerate(examples) if value.ndim == 4],
            outputs=[place for place, value in enumerate(outputs) if getattr(value, "ndim", 0) == 4],
        )
        turned.training = False
        given = tuple(_last(value) for value in examples)
        content = bytes(converter.convert(turned, given).model_content())

    def run(values: Sequence[Any]) -> list[Any]:
        with torch.no_grad():
            return [value.numpy() for value in _listed(turned(*map(torch.from_numpy, values)))]

    check_export(Graph(content, what), run, what)
    return content


def _last(value: Any) -> Any:
    """An example with its channels last, if it is an image."""
    return value.permute(0, 2, 3, 1).contiguous() if value.ndim == 4 else value


def _listed(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
