"""Makes a model file smaller and easier to use on a device, and proves each change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from octavo.base.errors import ModelError, ProofError
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.rewrite import equality
from octavo.rewrite import strip as strips
from octavo.rewrite.equality import Equality, Raw
from octavo.rewrite.fuse import fuse as fused
from octavo.rewrite.raw_pixels import raw_pixels, unsigned
from octavo.runtime.litert import Kernels, Port, inputs_of
from octavo.tflite.graph import Graph, as_codes

Pixels = Literal["int8", "uint8"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One change of a model, and the comparison of the outputs before and after it.

    Args:
        name: ``fuse``, ``pixels``, ``uint8``, ``logits`` or ``strip``.
        about: What was changed, for display.
        exact: Whether the outputs must be bit-equal.
        equality: The comparison on every kernel family.
        loose: Kernel families on which an exact change may still differ. With padding SAME, XNNPACK sums floats in
            another order than after PAD.
    """

    name: str
    about: str
    exact: bool
    equality: list[Equality]
    loose: tuple[Kernels, ...] = ()


@dataclass(frozen=True)
class Slim:
    """The result of `slim`.

    Args:
        graph: The smaller model.
        preprocess: The preprocessing of an image, which `pixels` changes. None if the model takes no image.
        steps: Every change, with its proof.
        not_fused: What could not be fused, and why.
    """

    graph: Graph
    preprocess: Preprocessing
    steps: list[Step]
    not_fused: tuple[str, ...]


def slim(
    graph: Graph,
    preprocess: Preprocessing,
    images: Raw,
    *,
    pixels: Pixels | None = None,
    logits: bool = False,
    fuse: bool = True,
) -> Slim:
    """Makes a model file smaller, and compares the outputs on some images on every kernel family.

    Args:
        graph: The model, int8 or float.
        preprocess: The preprocessing of an image. None if the model takes no image.
        images: The images to compare on: uint8 ``(N, height, width, channels)`` of the input's size, in the model's
            channel order; or float32, where they are the model's own input. For a model that takes no image, its raw
            inputs.
        pixels: Make the input raw pixels: ``int8`` takes the byte less 128, ``uint8`` the byte itself.
        logits: Remove the final Softmax.
        fuse: Fuse ops that one kernel can compute.

    Raises:
        ProofError: A change that must be exact changed an output.
        ModelError: The model has no final Softmax to remove, or no input that can take pixels.
    """
    at = graph
    steps: list[Step] = []
    codes = _encoded(at, preprocess, images)
    not_fused: tuple[str, ...] = ()
    if fuse:
        found = fused(at)
        not_fused = found.not_fused
        if found.kinds:
            kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
            loose: tuple[Kernels, ...] = ("xnnpack",) if inputs_of(at)[0].dtype == "float32" else ()
            same = _same(at, found.graph, codes)
            steps.append(Step("fuse", f"fused into other ops: {kinds}", True, same, loose))
            at = found.graph
    if pixels is not None:
        if not isinstance(preprocess, Preprocess):
            raise ModelError(
                f"{graph.name} does not take one image: its input cannot be pixels.", "Leave out `pixels`."
            )
        if np.asarray(images).dtype != np.uint8:
            raise ModelError(
                "The proof of `pixels` needs images, and the data are the model's own input.",
                "Give images of 8 bits, or leave out `data`.",
            )
        at, preprocess, made = _pixels(at, preprocess, np.asarray(images), pixels)
        steps += made
        codes = _encoded(at, preprocess, images)
    if logits:
        after = strips.logits(at)
        same = _same(at.exposed([strips.logits_of(at)]), after, codes)
        steps.append(Step("logits", "removed the final SOFTMAX", True, same))
        at = after
    after = strips.strip(at)
    steps.append(Step("strip", "removed names, notes, metadata and duplicate data", True, _same(at, after, codes)))
    for step in steps:
        _check(step, graph)
    return Slim(after, preprocess, steps, not_fused)


def _pixels(
    graph: Graph, preprocess: Preprocess, images: Array, pixels: Pixels
) -> tuple[Graph, Preprocess, list[Step]]:
    made = raw_pixels(graph, preprocess)
    codes = _encoded(graph, preprocess, images)
    raw = as_codes(images)
    about = (
        "the input took raw pixels already"
        if made.folded is None
        else f"the input's grid shifted by {abs(made.folded):.2f} of a step, folded into the first convolution's bias"
    )
    steps = [Step("pixels", about, made.folded is None, equality.compare(graph, made.graph, codes, raw))]
    if pixels == "int8":
        return made.graph, made.preprocess, steps
    bytes_in = unsigned(made.graph)
    same = equality.compare(made.graph, bytes_in, raw, images)
    return bytes_in, made.preprocess, [*steps, Step("uint8", "one QUANTIZE op converts uint8 to int8", True, same)]


def _encoded(graph: Graph, preprocess: Preprocessing, images: Raw) -> Raw:
    """The raw inputs of the model. Images are in the model's channel order already."""
    if not isinstance(preprocess, Preprocess):
        return images
    return encoded(inputs_of(graph)[0], preprocess, np.asarray(images))


def encoded(port: Port, preprocess: Preprocess, images: Array) -> Array:
    """Images as raw inputs.

    Args:
        port: The input.
        preprocess: The preprocessing.
        images: uint8 of the input's shape, in the model's channel order; or float, where they are the model's own
            input.
    """
    return port.encode(preprocess.normalize(images) if images.dtype == np.uint8 else images)


def _same(before: Graph, after: Graph, codes: Raw) -> list[Equality]:
    return equality.compare(before, after, codes, codes)


def _check(step: Step, graph: Graph) -> None:
    wrong = [item for item in step.equality if step.exact and not item.equal and item.kernels not in step.loose]
    if wrong:
        raise ProofError(
            f"'{step.name}' changed the outputs of {graph.name} by up to {wrong[0].steps:g} steps on "
            f"{wrong[0].kernels}. It should not change them. Nothing was written.",
        )
