"""`octavo deploy`: one folder with everything that a device and its programmer need."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack, get_args

from octavo.analysis.evaluation import Evaluation
from octavo.analysis.tasks.choose import by_outputs, scored, task_named
from octavo.base.artefact import Artefact
from octavo.base.errors import ModelError, OctavoError
from octavo.base.files import check_file, check_new_folder, making_folder, replacing, sha256
from octavo.base.progress import Progress, Silent
from octavo.base.provenance import Provenance
from octavo.data.preprocess import Preprocess
from octavo.data.summary import DataSummary
from octavo.deployment import carray, cfacts, litertjs
from octavo.deployment.card import model_card
from octavo.deployment.described import LABELS, described, for_mediapipe, labels
from octavo.deployment.evaluated import Evaluated, evaluated, read_evaluation, samples_to_measure
from octavo.deployment.facts import NAMED, facts
from octavo.deployment.sbom import bill
from octavo.deployment.web import Shown, Web, write_web
from octavo.recipe.choices import TaskName
from octavo.recipe.options import InputFields, Inputs, Source, inputs_of
from octavo.runtime.litert import Kernels
from octavo.source.classes import class_names, outputs_of
from octavo.source.load import (
    Loaded,
    known_preprocess_for,
    load_model,
    output_of,
    scale_is_known,
    takes_an_image,
    task_of,
    unscaled,
    windows_of,
)
from octavo.source.own_model import OwnModel
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import WHOLE, Graph

A = TypeVar("A", bound=Artefact)
_PREDICT, _CLASSIFY = (Path(__file__).with_name(name) for name in ("predict.py", "classify.c"))
# Zip files store local times from 1980 on; a fixed date makes the archives of equal folders equal.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, repr=False)
class Deployed:
    """The result of `deploy`.

    Args:
        folder: The folder.
        archive: The same as a .zip, if asked for.
        files: Its files and their sizes in bytes.
        takes: What its program takes, for people, such as ``PICTURE``.
    """

    folder: Path
    archive: Path | None
    files: dict[str, int]
    takes: str

    def __repr__(self) -> str:
        archive = f", archive '{self.archive}'" if self.archive else ""
        return f"Deployed('{self.folder}', {len(self.files)} files, {sum(self.files.values()):,} bytes{archive})"

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        archive = str(self.archive) if self.archive else None
        return {"folder": str(self.folder), "archive": archive, "files": self.files}


def deploy(
    source: Path | str,
    out: Path | str,
    archive: bool = False,
    web: Web | None = None,
    mediapipe: bool = False,
    *,
    data: Source | Inputs | None = None,
    evaluation: Path | str | None = None,
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Deployed:
    """Writes a self-contained folder: model, labels, preprocessing, card, hashes, programs, C array, web demo.

    The model may have any task, and any inputs: ``predict.py`` takes images, or arrays for a model that takes none. The
    C program, the web demo and MediaPipe's copy are for image classifiers.

    Args:
        source: A run directory, whose int8 model is taken, or an int8 `.tflite` model of any converter.
        out: The folder to make; it must be empty if it exists.
        archive: Write ``OUT.zip`` too.
        web: Write the web demo too, in ``web/``.
        mediapipe: Write ``mediapipe.tflite`` too, which MediaPipe's image classifier takes.
        data: Labelled samples to measure the model on, for its card: their test images, as for `octavo.evaluate`.
            `images` of them; all when left out. They also tell the task, where neither `task` nor the sidecar does.
        evaluation: What ``octavo evaluate MODEL --json`` printed for this file, for its card, instead of `data`.
        progress: Where progress goes.
        **fields: Fields of `Inputs`, given one by one. `scale` and `labels` are needed where the file has neither a
            sidecar nor TFLite metadata.

    Raises:
        ProofError: A written file gave another output than the model.
        OctavoError: The model cannot be deployed, or the folder is not empty. Then nothing is written.

    Example:
        >>> import octavo
        >>> made = octavo.deploy("int8.tflite", "device")
        >>> [name for name in ("model.tflite", "labels.txt", "classify.c") if name in made.files]
        ['model.tflite', 'labels.txt', 'classify.c']
    """
    source, out = Path(source), Path(out)
    check_new_folder(out)
    if archive:
        check_file(_archive_of(out))
    run = source if source.is_dir() else None
    model = source / "int8.tflite" if source.is_dir() else source
    if run is not None and not model.is_file():
        raise ModelError(f"'{run}' holds no int8.tflite.", "Give the directory of a finished `octavo run`, or a model.")
    progress, inputs = progress or Silent(), inputs_of(data, fields)
    _check_file(model)
    loaded = load_model(model, kernels=get_args(Kernels))
    _check_graph(loaded)
    _check_scale(loaded, inputs)
    of_run = _of_run(run, Evaluation)
    _evaluated(of_run, "int8", model)
    if (inputs.data is not None) + (evaluation is not None) + (of_run is not None) > 1:
        raise OctavoError(
            "The card states one evaluation.",
            f"Leave out {'`data` and `evaluation`: the run has one' if of_run else '`data` or `evaluation`'}.",
        )
    given = None if evaluation is None else read_evaluation(Path(evaluation), model)
    drawn = None if inputs.data is None else samples_to_measure(loaded, inputs, progress)
    known = next((item.task for item in (of_run, given) if item is not None), drawn and drawn[1].name)
    sidecar = _belongs(loaded, inputs, known, progress)
    if drawn is not None and drawn[0].windows is not None:
        sidecar = replace(sidecar, windows=drawn[0].windows)
    loaded = replace(loaded, sidecar=sidecar)
    _check_classes(loaded.graph, sidecar)
    first = scored(loaded.graph, sidecar.output) == 0
    classifies_images = isinstance(sidecar.preprocess, Preprocess) and sidecar.task == "single-label" and first
    if not classifies_images:
        _refuse(loaded.graph, {"web": web is not None, "mediapipe": mediapipe})
        progress.say("Left out: classify.c and model_facts.h, which are for image classifiers.")
    measured = given if drawn is None else evaluated(model, loaded, *drawn, inputs.data, progress)
    beside = None
    if web is not None and (web.beside is not None or run is not None):
        beside = web.beside or source / "float.tflite"
        if web.beside is None:
            _evaluated(of_run, "float", beside)
    with making_folder(out) as made:
        # A run from a trained model does not know on which images it was trained.
        trained_on = _of_run(run, DataSummary) if _of_run(run, OwnModel) is None else None
        _fill(made, loaded.graph, sidecar, of_run or measured, trained_on)
        if classifies_images:
            (made / "model_facts.h").write_text(cfacts.header(loaded.graph, sidecar), "utf-8", newline="\n")
            shutil.copyfile(_CLASSIFY, made / _CLASSIFY.name)
        if mediapipe:
            (made / "mediapipe.tflite").write_bytes(for_mediapipe(loaded.graph, sidecar).content)
        if web is not None:
            shown = None if beside is None else _float(beside)
            write_web(made / "web", Shown(loaded.graph, sidecar), shown, of_run, web.packed)
        vendored = () if web is None else litertjs.PACKAGES
        materials = bill(sha256(made / "model.tflite"), _of_run(run, Provenance), vendored)
        (made / "sbom.json").write_text(materials, "utf-8", newline="\n")
        _sum(made)
        files = {path.relative_to(made).as_posix(): path.stat().st_size for path in _files(made)}
        zipped = _zip(made, out) if archive else None
    arrays = "FILE.npy" if len(loaded.graph.inputs) == 1 else "FILE.npz"
    return Deployed(out, zipped, files, "PICTURE" if isinstance(sidecar.preprocess, Preprocess) else arrays)


def _check_file(model: Path) -> None:
    if model.is_file() and model.suffix != ".tflite":
        raise ModelError(f"'{model}' is no .tflite file.", "Quantize it first: `octavo quantize`.")


def _check_scale(loaded: Loaded, inputs: Inputs) -> None:
    if takes_an_image(loaded.graph) and not scale_is_known(loaded, inputs):
        raise ModelError(
            f"{loaded.graph.name} has no sidecar, so its preprocessing is unknown.",
            "Set `scale` to the input values of pixels 0 and 255 that it was trained with, such as 0,1. Or deploy the "
            "file where `octavo quantize` or `octavo run` wrote it, with the .json beside it.",
        )


def _belongs(loaded: Loaded, inputs: Inputs, measured: TaskName | None, progress: Progress) -> Sidecar:
    """The preprocessing, classes and task of the model: as the caller says, else as the file or its sidecar do.

    Args:
        loaded: The model.
        inputs: What the caller says.
        measured: The task of the evaluation that is shown, if there is one.
        progress: Is told what was guessed.
    """
    graph, classes = loaded.graph, class_names(loaded, inputs)
    task = inputs.task or measured or task_of(loaded)
    if task is None and classes and (outputs_of(graph) is not None or _gives_the_class(graph, 0)):
        task = "single-label"
    output = output_of(loaded, inputs)
    place = scored(graph, output)
    if task is None:
        found = by_outputs(graph, classes, None if output is None else place)
        task = found.name
        if task != "single-label":
            progress.say(f"Task: {task}, because {found.because}. `task` sets another.")
    task_named(task)
    if task in NAMED and task != "single-label" and not classes:
        # Without names they are numbers, as everywhere.
        classes = tuple(map(str, range(_count(graph, task, place))))
    named = classes if task in (*NAMED, "detection") else ()
    for port in unscaled(loaded, inputs):
        progress.say(
            f"Nothing says how pixels of '{port.label}' are scaled, so `predict.py` takes its numbers as they are. "
            f"Set `scale` to say it, such as {port.label}=0,255."
        )
    return Sidecar(known_preprocess_for(loaded, inputs), named, task, windows_of(loaded), output)


def _gives_the_class(graph: Graph, place: int) -> bool:
    """Whether an output is one whole number, as ARG_MAX gives it."""
    given = graph.tensors[graph.outputs[place]]
    return given.dtype in WHOLE and math.prod(given.shape[1:]) == 1


def _count(graph: Graph, task: TaskName, place: int) -> int:
    """How many classes or labels an output stands for."""
    given = graph.tensors[graph.outputs[place]]
    if task == "segmentation":
        return max(given.shape[-1], 2) if len(given.shape) == 4 else 2
    count = math.prod(given.shape[1:])
    return max(count, 2) if task == "single-label" else count


def _check_graph(loaded: Loaded) -> None:
    graph = loaded.graph
    if any(t.dtype == "float32" for t in graph.tensors):
        raise ModelError(f"{graph.name} is not full-integer.", "Quantize it first: `octavo quantize`.")


def _check_classes(graph: Graph, sidecar: Sidecar) -> None:
    place, task = scored(graph, sidecar.output), sidecar.task
    given = graph.tensors[graph.outputs[place]]
    if task not in NAMED:
        return
    if task == "single-label" and _gives_the_class(graph, place):
        raise ModelError(
            f"{graph.name} outputs the class itself ({given.dtype}), but the folder's programs show scores.",
            "Export the model without its ARG_MAX, and quantize that.",
        )
    count = _count(graph, task, place)
    if given.dtype not in WHOLE and len(sidecar.classes) != count:
        raise ModelError(
            f"{graph.name} tells {count} classes apart, and {len(sidecar.classes)} are named.",
            "Set `labels` to a file with one class name a line, in the order of its outputs.",
        )
    if broken := [name for name in sidecar.classes if name.splitlines() != [name]]:
        raise ModelError(
            f"The class {broken[0]!r} is not one line of text, and labels.txt has one line for each class.",
            "Give the class another name in the sidecar.",
        )


def _refuse(graph: Graph, asked: Mapping[str, bool]) -> None:
    """Refuses what only image classifiers have."""
    if names := [f"`{name}`" for name, wanted in asked.items() if wanted]:
        raise ModelError(
            f"{graph.name} is no image classifier, and the web demo and MediaPipe's copy are for these only.",
            f"Leave out {' and '.join(names)}, or set `task` to single-label if it is one.",
        )


def _evaluated(evaluation: Evaluation | None, name: str, model: Path) -> None:
    """Refuses a model whose run has the figures of another model."""
    if evaluation is not None and model.is_file() and evaluation.models[name].sha256 != sha256(model):
        raise ModelError(
            f"'{model.parent}' was evaluated with another {model.name} than the one that is there now.",
            "Run it again: `octavo run`.",
        )


def _float(path: Path) -> Shown:
    loaded = load_model(path)
    graph, sidecar = loaded.graph, loaded.sidecar
    ports = {graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)}
    if ports != {"float32"} or sidecar is None:
        raise ModelError(
            f"{graph.name} is not a float .tflite model with its sidecar.",
            "Give the float model that the int8 one was made from, with the .json beside it, or leave --beside out.",
        )
    return Shown(graph, sidecar)


def _of_run(run: Path | None, kind: type[A]) -> A | None:
    return None if run is None or not (run / kind.file).is_file() else kind.read(run / kind.file)


def _fill(
    folder: Path,
    graph: Graph,
    sidecar: Sidecar,
    evaluation: Evaluation | Evaluated | None,
    data: DataSummary | None,
) -> None:
    """Writes what every folder has."""
    shipped = described(graph, sidecar)
    (folder / "model.tflite").write_bytes(shipped.content)
    digest, bare = sha256(folder / "model.tflite"), hashlib.sha256(graph.content).hexdigest()
    texts = {
        "preprocess.json": json.dumps(facts(shipped, sidecar), indent=2) + "\n",
        "model-card.md": model_card(shipped, sidecar, digest, bare, evaluation, data),
        "model_data.h": carray.header(bare),
        "model_data.cc": carray.source(graph.content),
    }
    if sidecar.task in NAMED or sidecar.classes:
        texts[LABELS] = labels(sidecar.classes)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    shutil.copyfile(_PREDICT, folder / _PREDICT.name)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sum(folder: Path) -> None:
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8", newline="\n")


def _archive_of(out: Path) -> Path:
    return out.with_name(out.name + ".zip")


def _zip(folder: Path, out: Path) -> Path:
    path = _archive_of(out)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(folder):
            entry = zipfile.ZipInfo(f"{out.name}/{file.relative_to(folder).as_posix()}", _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return path
