"""Writes a model's output codes for raw inputs, on each kernel family of LiteRT.

python codes.py MODEL.tflite INPUTS.npy CODES.npz

`arm64.py` runs it on both kinds of machine: it needs `ai-edge-litert` and NumPy, and nothing of Octavo.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

FAMILIES = {
    "xnnpack": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def codes(content: bytes, inputs: np.ndarray, resolver: OpResolverType) -> np.ndarray:
    """Raw outputs, one row for each of the raw inputs."""
    model = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    model.allocate_tensors()
    (entry,) = model.get_input_details()
    leave = model.get_output_details()[0]
    made = []
    for one in inputs:
        model.set_tensor(entry["index"], one[None])
        model.invoke()
        made.append(model.get_tensor(leave["index"]).ravel().copy())
    return np.stack(made)


def main(model: str, inputs: str, out: str) -> None:
    with open(model, "rb") as file:  # noqa: PTH123
        content = file.read()
    raw = np.load(inputs)
    made = {name: codes(content, raw, resolver) for name, resolver in FAMILIES.items()}
    np.savez(out, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
