"""Twins: the same model in another file, smaller or nearer to the device, and what proves that it is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from octavo import equal
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_test
from octavo.equal import Equality
from octavo.errors import ModelError, ProofError
from octavo.files import write_bytes
from octavo.fuse import fuse
from octavo.graph import Graph
from octavo.pipeline import Loaded, load_model, preprocess_for
from octavo.pixels import raw_pixels, unsigned
from octavo.progress import Progress, Silent
from octavo.runtime import Kernels, Model
from octavo.sidecar import Sidecar
from octavo.size import breakdown
from octavo.slim import logits, logits_of, strip

Pixels = Literal["int8", "uint8"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One change of a model, and what both files said of the same images.

    Args:
        name: ``fuse``, ``pixels``, ``uint8``, ``logits`` or ``strip``.
        about: What was changed, for people.
        exact: Whether the outputs have to be bit-equal.
        equality: The comparison on every kernel family.
        loose: Families on which it may differ all the same: XNNPACK sums floats in another order with SAME than it does
            after PAD.
    """

    name: str
    about: str
    exact: bool
    equality: list[Equality]
    loose: tuple[Kernels, ...] = ()


@dataclass(frozen=True)
class Slimmed:
    """What `slim_file` wrote."""

    path: Path
    before: int
    content: bytes
    preprocess: Preprocess
    images: str
    steps: list[Step]
    left: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Bytes before and after, what they hold, and every step with its proof."""
        return {
            "path": str(self.path),
            "bytes_before": self.before,
            "bytes": len(self.content),
            "breakdown": breakdown(self.content),
            "preprocess": self.preprocess.to_json(),
            "images": self.images,
            "left": list(self.left),
            "steps": [
                {
                    "name": step.name,
                    "about": step.about,
                    "exact": step.exact,
                    "loose": list(step.loose),
                    "equality": [vars(item) | {"equal": item.equal} for item in step.equality],
                }
                for step in self.steps
            ],
        }


def slim_file(
    model: Path | str,
    out: Path | str,
    *,
    pixels: Pixels | None = None,
    drop_softmax: bool = False,
    fused: bool = True,
    data: Path | str | None = None,
    images: int | None = None,
    scale: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Slimmed:
    """Writes a slimmer file of a model, after proving on all kernel families that it says the same.

    Args:
        model: A `.tflite` model.
        out: The file to write; a sidecar goes beside it.
        pixels: Make the input raw pixels: ``int8`` takes the byte less 128, ``uint8`` the byte itself.
        drop_softmax: Give logits instead of probabilities.
        fused: Let kernels do as one what the exporter left apart.
        data: Images for the proof (test images, where there is a split); made-up ones when left out.
        images: How many of them; 16, or all where there are fewer, when left out.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        ProofError: A change that has to be exact changed an output; nothing is written.
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    out = Path(out)
    if out.resolve() == Path(model).resolve():
        raise ModelError("The output would overwrite the model that is read.", "Give another path with -o.")
    loaded = load_model(model)
    preprocess = preprocess_for(loaded, scale, progress=progress)
    if data is None:
        count = equal.IMAGES if images is None else images
        seen, what = equal.pictures(preprocess.shape, count), f"{count} made-up images"
    else:
        chosen = draw_test(open_dataset("path", Path(data)), images, 0, equal.IMAGES)
        seen, what = preprocess.resize(chosen.images), f"{len(chosen)} images of '{data}'"
    at = loaded.graph
    steps: list[Step] = []
    # Pixels are in the model's channel order by now.
    straight = replace(preprocess, channels="gray" if preprocess.channels == "gray" else "rgb")
    codes = _encoded(at, straight, seen)
    left: tuple[str, ...] = ()
    if fused:
        found = fuse(at)
        left = found.left
        if found.kinds:
            said = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
            loose: tuple[Kernels, ...] = ("xnnpack",) if codes.dtype == np.float32 else ()
            same = _same(at, found.graph, codes)
            steps.append(Step("fuse", f"ops taken into others: {said}", True, same, loose))
            at = found.graph
    if pixels is not None:
        at, preprocess, made = _pixels(at, preprocess, straight, seen, pixels)
        straight = replace(straight, scale=preprocess.scale)
        steps += made
        codes = _encoded(at, straight, seen)
    if drop_softmax:
        after = logits(at)
        steps.append(
            Step("logits", "the final SOFTMAX is left out", True, _same(at.exposed([logits_of(at)]), after, codes))
        )
        at = after
    after = strip(at)
    steps.append(Step("strip", "names, notes, metadata, and what was stored twice", True, _same(at, after, codes)))
    for step in steps:
        _check(step, loaded)
    write_bytes(out, after.content)
    Sidecar(preprocess, loaded.belongs.classes if loaded.belongs else ()).write(out)
    return Slimmed(out, len(loaded.graph.content), after.content, preprocess, what, steps, left)


def _pixels(
    graph: Graph, preprocess: Preprocess, straight: Preprocess, seen: Array, pixels: Pixels
) -> tuple[Graph, Preprocess, list[Step]]:
    made = raw_pixels(graph, preprocess)
    codes = _encoded(graph, straight, seen)
    raw = (seen.astype(np.int16) - 128).astype(np.int8)
    about = (
        "the input took raw pixels already"
        if made.folded is None
        else f"the input's grid moved by {abs(made.folded):.2f} of a step, folded into the first convolution's bias"
    )
    steps = [Step("pixels", about, made.folded is None, equal.compare(graph, made.graph, codes, raw))]
    if pixels == "int8":
        return made.graph, made.preprocess, steps
    bytes_in = unsigned(made.graph)
    same = equal.compare(made.graph, bytes_in, raw, seen)
    return bytes_in, made.preprocess, [*steps, Step("uint8", "one QUANTIZE op takes bytes", True, same)]


def _encoded(graph: Graph, preprocess: Preprocess, seen: Array) -> Array:
    return Model(graph, workers=1).input.encode(preprocess.normalize(seen))


def _same(before: Graph, after: Graph, codes: Array) -> list[Equality]:
    return equal.compare(before, after, codes, codes)


def _check(step: Step, loaded: Loaded) -> None:
    wrong = [item for item in step.equality if step.exact and not item.equal and item.kernels not in step.loose]
    if wrong:
        raise ProofError(
            f"'{step.name}' changed the outputs of {loaded.graph.name} by up to {wrong[0].steps:g} steps on "
            f"{wrong[0].kernels}, and should have changed none. Nothing was written.",
        )
