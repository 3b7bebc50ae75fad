"""`octavo slim`: the same model in a smaller file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.api.written import check_output
from octavo.base.files import write_bytes
from octavo.base.progress import Progress, Silent
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import draw_test
from octavo.rewrite import equality
from octavo.rewrite import slim as slimming
from octavo.rewrite.slim import Pixels, Step
from octavo.source.load import load_model, preprocess_for
from octavo.source.sidecar import Sidecar
from octavo.tflite.size import breakdown


@dataclass(frozen=True)
class Slimmed:
    """What `slim` wrote.

    Args:
        path: The file.
        before: Bytes of the model that was read.
        content: The file's bytes.
        preprocess: From image to input.
        images: What the proof ran.
        steps: Every change, with its proof.
        left: What could not be fused, and why.
    """

    path: Path
    before: int
    content: bytes
    preprocess: Preprocess
    images: str
    steps: list[Step]
    left: tuple[str, ...]

    def __repr__(self) -> str:
        names = ", ".join(step.name for step in self.steps)
        return f"Slimmed('{self.path}', {self.before:,} -> {len(self.content):,} bytes: {names})"

    def to_json(self) -> dict[str, Any]:
        """Bytes before and after, what they hold, and every step with its proof."""
        return {
            "path": str(self.path),
            "bytes_before": self.before,
            "bytes": len(self.content),
            "breakdown": vars(breakdown(self.content)),
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


def slim(
    model: Path | str,
    out: Path | str,
    *,
    pixels: Pixels | None = None,
    logits: bool = False,
    fuse: bool = True,
    data: Path | str | None = None,
    images: int | None = None,
    scale: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Slimmed:
    """Writes a smaller file of a model, after proving on all kernel families that it says the same.

    Args:
        model: A `.tflite` model.
        out: The file to write; a sidecar goes beside it.
        pixels: Make the input raw pixels: ``int8`` takes the byte less 128, ``uint8`` the byte itself.
        logits: Give logits instead of probabilities.
        fuse: Let kernels do as one what the exporter left apart.
        data: Images for the proof (test images, where there is a split); made-up ones when left out.
        images: How many of them; 16, or all where there are fewer, when left out.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        ProofError: A change that has to be exact changed an output; nothing is written.
        OctavoError: The model or the images are not as they should be.
    """
    out = Path(out)
    check_output(out, model)
    loaded = load_model(model)
    preprocess = preprocess_for(loaded, scale, progress=progress or Silent())
    if data is None:
        count = equality.IMAGES if images is None else images
        seen, what = equality.pictures(preprocess.shape, count), f"{count} made-up images"
    else:
        chosen = draw_test(open_dataset("path", Path(data)), images, 0, equality.IMAGES)
        seen, what = preprocess.resize(chosen.images), f"{len(chosen)} images of '{data}'"
    made = slimming.slim(loaded.graph, preprocess, seen, pixels=pixels, logits=logits, fuse=fuse)
    content = made.graph.content
    write_bytes(out, content)
    Sidecar(made.preprocess, loaded.belongs.classes if loaded.belongs else ()).write(out)
    return Slimmed(out, len(loaded.graph.content), content, made.preprocess, what, made.steps, made.left)
