"""`octavo.from_torch`: a float `.tflite` of a PyTorch module or exported program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from octavo.data.preprocess import Preprocessing
from octavo.source.sidecar import Sidecar, check_model, write_model
from octavo.source.torch_module import to_float_tflite
from octavo.tflite.graph import Graph


def from_torch(
    module: Any, *examples: Any, out: Path | str, preprocess: Preprocessing = None, classes: Sequence[str] = ()
) -> Graph:
    """Writes a float `.tflite` of a PyTorch module, after comparing the two on a few inputs.

    It needs the extra ``torch``, and no TensorFlow. Images are ``(1, channels, height, width)`` in PyTorch and
    ``(1, height, width, channels)`` in the file, as everywhere in LiteRT. So are outputs with four dimensions.

    Args:
        module: An `nn.Module` after `module.eval()`, or an exported program, such as the result of `torch.export.load`.
        *examples: Example inputs: tensors with a leading batch of 1. An exported program does not need them.
        out: The file to write. Its sidecar goes beside it where `preprocess` or `classes` are given; an earlier file's
            sidecar never stays.
        preprocess: How images become the inputs.
        classes: The class names in the order of the outputs.

    Returns:
        The float graph, as in the file.

    Raises:
        MissingDependencyError: The extra is not installed.
        ModelError: The module is in training mode or cannot be converted, or the converted model computes
            something else.

    Example:
        >>> import octavo, torch  # doctest: +SKIP
        >>> network = torch.nn.Conv2d(3, 4, 3).eval()  # doctest: +SKIP
        >>> octavo.from_torch(network, torch.zeros(1, 3, 8, 8), out="float.tflite")  # doctest: +SKIP
        Graph('float.tflite': 1 ops, 1,624 bytes, float32 (1, 8, 8, 3) -> float32 (1, 6, 6, 4))
    """
    out = Path(out)
    check_model(out)
    content = to_float_tflite(module, examples)
    known = Sidecar(preprocess, tuple(classes)) if preprocess is not None or classes else None
    write_model(out, content, known)
    return Graph(content, f"'{out}'")
