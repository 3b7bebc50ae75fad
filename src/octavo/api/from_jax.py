"""`octavo.from_jax`: a float `.tflite` of a JAX function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from octavo.data.preprocess import Preprocessing
from octavo.source.jax_function import to_float_tflite
from octavo.source.sidecar import Sidecar, check_model, write_model
from octavo.tflite.graph import Graph


def from_jax(
    function: Callable[..., Any],
    *examples: Any,
    out: Path | str,
    preprocess: Preprocessing = None,
    classes: Sequence[str] = (),
) -> Graph:
    """Writes a float `.tflite` of a JAX function, after comparing the two on a few inputs.

    It needs the extra ``jax``, and no TensorFlow.

    Args:
        function: The function. The values that it closes over are its weights. In Flax, use
            `functools.partial(model.apply, variables)`.
        *examples: Its arguments, arrays or trees of arrays, with a leading batch of 1. Images are
            ``(1, height, width, channels)``. Only shapes and types are used.
        out: The file to write. Its sidecar goes beside it where `preprocess` or `classes` are given; an earlier file's
            sidecar never stays.
        preprocess: How images become the inputs.
        classes: The class names in the order of the outputs.

    Returns:
        The float graph, as in the file.

    Raises:
        MissingDependencyError: The extra is not installed.
        ModelError: The function cannot be converted, or the converted model computes something else.

    Example:
        >>> import jax, octavo  # doctest: +SKIP
        >>> classify = lambda image: jax.nn.softmax(image.mean((1, 2)))  # doctest: +SKIP
        >>> octavo.from_jax(classify, np.zeros((1, 8, 8, 3), np.float32), out="float.tflite")  # doctest: +SKIP
        Graph('float.tflite': 2 ops, 1,540 bytes, float32 (1, 8, 8, 3) -> float32 (1, 3))
    """
    out = Path(out)
    check_model(out)
    content = to_float_tflite(function, examples)
    known = Sidecar(preprocess, tuple(classes)) if preprocess is not None or classes else None
    write_model(out, content, known)
    return Graph(content, f"'{out}'")
