"""`octavo doctor`: what is installed, and what can run here."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from octavo import __version__
from octavo.base.extras import EXTRAS
from octavo.base.provenance import versions
from octavo.deployment.targets.ask import every
from octavo.recipe.choices import TRACKERS
from octavo.source.foreign import INSTALL_ONNX2TF

# In the order shown. Missing ones have no version.
_PACKAGES = (
    *("ai-edge-litert", "litert-quantizer", "numpy", "keras", "tensorflow", "tensorflow-cpu", "torch", "litert-torch"),
    *(
        "jax",
        "litert-converter",
        "onnx",
        "onnx2tf",
        "pycocotools",
        "openvino",
        "ethos-u-vela",
        "tflite-micro",
        "tensorboardX",
        "mlflow",
        "optuna",
    ),
)


@dataclass(frozen=True)
class Ability:
    """Something that this installation can do or lacks packages for.

    Args:
        name: What it is.
        install: The command that installs what is missing; empty if nothing is.
    """

    name: str
    install: str

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.install


@dataclass(frozen=True)
class Diagnosis:
    """What is installed, and what can run here.

    Args:
        octavo: The version of Octavo.
        python: The version of Python.
        platform: Operating system and architecture.
        versions: The installed versions of the packages that Octavo uses; None for those that are missing.
        ways_in: The kinds of models that can be read.
        training: Training for int8, and of float baselines.
        trackers: Where runs can be logged.
        sweeps: Many runs of one recipe, and searches.
        engines: What else can share the images of `jobs`.
        data: Images that need a package of their own.
        scores: Scores that need a package of their own.
        targets: The deployment targets.
    """

    octavo: str
    python: str
    platform: str
    versions: dict[str, str | None]
    ways_in: tuple[Ability, ...]
    training: Ability
    trackers: tuple[Ability, ...]
    sweeps: Ability
    engines: tuple[Ability, ...]
    data: tuple[Ability, ...]
    scores: tuple[Ability, ...]
    targets: tuple[Ability, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)


def doctor() -> Diagnosis:
    """Looks up what is installed, and which kinds of models and targets can be used here.

    Packages are looked up, not imported, and nothing uses the network.

    Example:
        >>> import octavo
        >>> found = octavo.doctor()
        >>> [way.name for way in found.ways_in if way.ready][0], found.octavo == octavo.__version__
        ('.tflite', True)
    """
    installed = versions(_PACKAGES)
    return Diagnosis(
        octavo=__version__,
        python=platform.python_version(),
        platform=platform.platform(terse=True) + f" {platform.machine()}",
        versions={name: installed.get(name) for name in _PACKAGES},
        ways_in=tuple(_ways_in()),
        training=_extra("quantization-aware training", "train"),
        trackers=tuple(_extra(choice.title, name) for name, choice in TRACKERS.items()),
        sweeps=_extra("sweeps and searches", "sweeps"),
        engines=(_extra("Dask", "dask"), _extra("Ray", "ray")),
        data=(_extra("Parquet", "parquet"), _extra("data at URLs", "urls")),
        scores=(_extra("average precision of boxes", "detection"),),
        targets=tuple(Ability(target.name, target.lacks()) for target in every()),
    )


def _ways_in() -> Iterator[Ability]:
    yield Ability(".tflite", "")
    yield _extra(".keras, .h5, SavedModel", "train")
    yield Ability(".onnx", "" if shutil.which("onnx2tf") else INSTALL_ONNX2TF)
    yield _extra("PyTorch (octavo.from_torch)", "torch")
    yield _extra("JAX (octavo.from_jax)", "jax")


def _extra(name: str, extra: str) -> Ability:
    return Ability(name, EXTRAS[extra].install if EXTRAS[extra].missing else "")
