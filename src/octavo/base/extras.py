"""Optional packages: what each group of them is for, and the command that installs it.

Octavo is not on PyPI, so its own extras are installed from its checkout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """A group of optional packages.

    Args:
        purpose: What needs them.
        modules: The modules that they bring.
        install: The command that installs them.
    """

    purpose: str
    modules: tuple[str, ...]
    install: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed. None of them is imported."""
        return tuple(module for module in self.modules if find_spec(module) is None)


def _own(purpose: str, name: str, *modules: str) -> Extra:
    return Extra(purpose, modules, f"pip install -e '.[{name}]' (in Octavo's checkout)")


EXTRAS: Mapping[str, Extra] = {
    "train": _own("training or Keras models", "train", "keras", "tensorflow"),
    "torch": _own("PyTorch modules", "torch", "torch", "litert_torch"),
    "jax": _own("JAX functions", "jax", "jax", "litert_converter"),
    "tensorboard": _own("logging with TensorBoard", "tensorboard", "tensorboardX"),
    "mlflow": _own("logging with MLflow", "mlflow", "mlflow", "sqlalchemy", "alembic"),
    "detection": _own("the average precision of boxes", "detection", "pycocotools"),
    "sweeps": _own("sweeps", "sweeps", "optuna"),
    "dask": _own("work on Dask's processes", "distributed", "distributed"),
    "ray": _own("work on Ray's processes", "distributed", "ray"),
    "parquet": _own("images in Parquet files", "shards", "pyarrow"),
    "urls": _own("data at a URL", "shards", "fsspec"),
    "openvino": Extra("OpenVINO", ("openvino",), "pip install openvino"),
    "vela": Extra("Arm's compiler Vela", ("ethosu",), "pip install ethos-u-vela"),
    "micro": Extra("TFLite Micro's own kernels", ("tflite_micro",), "pip install tflite-micro"),
}
