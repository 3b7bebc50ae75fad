"""Compares the outputs of two files of one model, bit for bit, on every kernel family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from octavo.base.errors import ProofError
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.runtime.litert import Kernels, Model, Port, inputs_of
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]
# Raw inputs, one per sample. A sample is a tuple for a model with several inputs.
Raw = Array | Sequence[Array | tuple[Array, ...]]


@dataclass(frozen=True)
class Equality:
    """The outputs of two models compared on the same inputs and one kernel family.

    Args:
        kernels: The kernel family.
        inputs: The number of inputs that both models ran.
        distinct: The number of different outputs of the first model. A count of 1 would hide most differences.
        steps: The largest difference between two outputs, in codes (or in real values, for float outputs).
        agreement: The share of inputs for which both predict the same class. The lowest index wins a tie.
    """

    kernels: Kernels
    inputs: int
    distinct: int
    steps: float
    agreement: float

    @property
    def equal(self) -> bool:
        """Whether all outputs are bit-equal."""
        return self.steps == 0


# The default number of images in a comparison.
IMAGES = 16


def pictures(shape: Sequence[int], count: int, seed: int = 0) -> Array:
    """Synthetic photographs with smooth shading, a few edges and noise.

    Their outputs vary more than those of noise alone.

    Args:
        shape: Height, width and channels.
        count: The number of images.
        seed: The random seed.

    Returns:
        uint8, ``(count, height, width, channels)``.
    """
    random = np.random.default_rng(seed)
    height, width, channels = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / max(height, width)
    made = np.empty((count, *shape), np.uint8)
    for place in range(count):
        for channel in range(channels):
            slope, wave = random.normal(0, 90, 2), random.uniform(1, 12, 2)
            edge = 80 * np.sign(np.sin(wave[0] * x * 6 + wave[1] * y * 6 + random.uniform(0, 6)))
            plane = random.uniform(40, 215) + slope[0] * (x - 0.5) + slope[1] * (y - 0.5) + edge * random.uniform()
            made[place, ..., channel] = np.clip(plane + random.normal(0, 12, (height, width)), 0, 255)
    return made


def samples(ports: Sequence[Port], count: int, seed: int = 0) -> list[tuple[Array, ...]]:
    """Synthetic raw inputs for a model that takes no image.

    Quantized inputs are uniform over all codes, and float inputs are standard normal.

    Args:
        ports: The model's inputs.
        count: The number of samples.
        seed: The random seed.

    Returns:
        A tuple per sample, with one array per input. Integers that are not codes are 0 or 1, which are valid indices
        of any lookup table.
    """
    random = np.random.default_rng(seed)

    def one(port: Port) -> Array:
        shape = tuple(max(n, 1) for n in port.shape[1:])
        kind = np.dtype(port.dtype)
        if kind.kind == "f":
            return random.normal(size=shape).astype(kind)
        codes = np.iinfo(kind) if port.qparams is not None else None
        low, high = (0, 1) if codes is None else (int(codes.min), int(codes.max))
        return random.integers(low, high, shape, endpoint=True).astype(kind)

    return [tuple(one(port) for port in ports) for _ in range(count)]


def prove(before: Graph, after: Graph, preprocess: Preprocessing, name: str, images: int = 8) -> None:
    """Runs two models on synthetic inputs, on every kernel family, and requires bit-equal outputs.

    The outputs of models that take an image are dequantized first. A uint8 value and its int8 code represent the same
    real value, so such models can have different input and output types.

    Args:
        before: The original model.
        after: The rewritten model.
        preprocess: The preprocessing of both models. Of models that do not take one image, their raw inputs, and all of
            their raw outputs, are the same.
        name: The name of the rewritten model in error messages.
        images: The number of inputs.

    Raises:
        ProofError: The outputs differ.
    """
    for family in get_args(Kernels):
        if isinstance(preprocess, Preprocess):
            inputs = preprocess.normalize(pictures(preprocess.shape, images))
            wanted, found = (Model(one, family, workers=1).predict(inputs) for one in (before, after))
        else:
            raw = samples(inputs_of(before), images)
            wanted, found = (_raw(one, raw, family) for one in (before, after))
        if not np.array_equal(wanted, found):
            raise ProofError(f"The outputs of {name} differ from its model's on the {family} kernels.")


def compare(
    before: Graph, after: Graph, first: Raw, second: Raw, families: Sequence[Kernels] = get_args(Kernels)
) -> list[Equality]:
    """Runs two models on the same images and compares their raw outputs.

    Args:
        before: The original model.
        after: The rewritten model. Its output has the same shape and type.
        first: Raw inputs of the original model.
        second: Raw inputs of the rewritten model, for the same images.
        families: The kernel families to run both on.
    """
    return [_compare(before, after, first, second, family) for family in families]


def across(graph: Graph, inputs: Raw, families: Sequence[Kernels] = get_args(Kernels)) -> list[Equality]:
    """Runs one model on several kernel families, and compares the raw outputs of each with those of the first.

    Args:
        graph: The model.
        inputs: Raw inputs.
        families: Two or more kernel families.

    Returns:
        One comparison for each family but the first.
    """
    first, *others = (_raw(graph, inputs, family) for family in families)
    return [_apart(graph, first, other, family) for family, other in zip(families[1:], others, strict=True)]


def _compare(before: Graph, after: Graph, first: Raw, second: Raw, family: Kernels) -> Equality:
    return _apart(before, _raw(before, first, family), _raw(after, second, family), family)


def _apart(graph: Graph, old: Array, new: Array, family: Kernels) -> Equality:
    # NaN equals NaN here, and an infinity itself; a number and either of them are infinitely far apart.
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore"):
        steps = np.nan_to_num(np.where(same, 0.0, np.abs(old - new)), nan=np.inf, posinf=np.inf)
    # The class is that of the first output.
    count = math.prod(max(n, 1) for n in graph.tensors[graph.outputs[0]].shape[1:])
    return Equality(
        kernels=family,
        inputs=len(old),
        distinct=len(np.unique(old, axis=0)),
        steps=float(steps.max(initial=0.0)),
        agreement=float(np.mean(old[:, :count].argmax(1) == new[:, :count].argmax(1))),
    )


def _raw(graph: Graph, inputs: Raw, family: Kernels) -> Array:
    """All raw outputs of every input, one after the other, float64 ``(N, numbers)``."""
    model = Model(graph, family, workers=1)
    kept: dict[int, Array] = {}

    def keep(place: int, outputs: list[Array]) -> None:
        kept[place] = np.concatenate([output.ravel().astype(np.float64) for output in outputs])

    model.each(inputs, keep)
    return np.stack([kept[place] for place in range(len(inputs))])
