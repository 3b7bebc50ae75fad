"""`octavo slim`: makes a model file smaller without changing its function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, get_args

from octavo.analysis.tasks.choose import by_outputs
from octavo.api.opened import opened, scale_of
from octavo.api.samples import draw_samples
from octavo.api.written import check_output
from octavo.base.progress import Progress, Silent
from octavo.data.preprocess import Preprocessing, preprocessing_to_json
from octavo.recipe.options import InputFields, Inputs, Source, inputs_of
from octavo.rewrite import slim as slimming
from octavo.rewrite.slim import Pixels, Step
from octavo.runtime.litert import Kernels
from octavo.source.classes import class_names
from octavo.source.load import load_model, output_of, task_of, windows_of
from octavo.source.sidecar import Sidecar, write_model
from octavo.tflite.size import breakdown


@dataclass(frozen=True)
class Slimmed:
    """The result of `slim`.

    Args:
        path: The file.
        before: Bytes of the model that was read.
        content: The file's bytes.
        preprocess: As in the file's sidecar.
        images: A description of the images that the proof ran on.
        steps: Every change, with its proof.
        not_fused: What could not be fused, and why.
        classified: Whether the first output tells classes apart, so that the class of a sample has a meaning.
    """

    path: Path
    before: int
    content: bytes
    preprocess: Preprocessing
    images: str
    steps: list[Step]
    not_fused: tuple[str, ...]
    classified: bool

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
            "preprocess": preprocessing_to_json(self.preprocess),
            "images": self.images,
            "not_fused": list(self.not_fused),
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
    data: Source | Inputs | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Slimmed:
    """Writes a smaller file of a model, after comparing the outputs on all kernel families.

    Args:
        model: A `.tflite` model.
        out: The file to write; a sidecar goes beside it.
        pixels: Make the input raw pixels: ``int8`` takes the byte less 128, ``uint8`` the byte itself.
        logits: Give logits instead of probabilities.
        fuse: Fuse ops that one kernel can compute.
        data: Images for the proof (test images, where there is a split); synthetic ones by default. `images` of
            them; 16, or all if there are fewer, by default.
        force: Also replace an `out` that Octavo did not write.
        progress: Receives progress messages.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        ProofError: A change that must be exact changed an output. Nothing is written.
        OctavoError: The model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> slimmed = octavo.slim("int8.tflite", "slim.tflite", pixels="int8")
        >>> len(slimmed.content) < slimmed.before, [step.name for step in slimmed.steps]
        (True, ['pixels', 'strip'])
    """
    inputs, out = inputs_of(data, fields), Path(out)
    check_output(out, model, force=force)
    loaded = load_model(model, inputs.signature, inputs.size, progress=progress, kernels=get_args(Kernels))
    source = None if inputs.data is None else opened(inputs, progress or Silent(), loaded)
    preprocess = scale_of(loaded, inputs, source, progress or Silent()).preprocess
    samples = draw_samples(loaded.graph, preprocess, inputs, source)
    made = slimming.slim(loaded.graph, preprocess, samples.inputs, pixels=pixels, logits=logits, fuse=fuse)
    content = made.graph.content
    classes, task = class_names(loaded, inputs), inputs.task or task_of(loaded)
    observer = None if loaded.sidecar is None else loaded.sidecar.observer
    known = Sidecar(made.preprocess, classes, task, windows_of(loaded), output_of(loaded, inputs), observer)
    write_model(out, content, known)
    return Slimmed(
        path=out,
        before=len(loaded.graph.content),
        content=content,
        preprocess=made.preprocess,
        images=samples.about,
        steps=made.steps,
        not_fused=made.not_fused,
        classified=(task or by_outputs(loaded.graph, classes).name) == "single-label",
    )
