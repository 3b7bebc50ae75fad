"""`octavo deploy`: one folder with everything that a device and its programmer need."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from octavo.analysis.evaluate import gives_probabilities
from octavo.analysis.evaluation import Evaluation
from octavo.base.artefact import Artefact
from octavo.base.errors import ModelError, OctavoError
from octavo.base.files import check_folder, replacing, sha256
from octavo.data.summary import DataSummary
from octavo.deployment import carray, cfacts
from octavo.deployment.card import model_card
from octavo.deployment.described import LABELS, described, for_mediapipe, labels
from octavo.deployment.web import Shown, Web, write_web
from octavo.runtime.litert import Kernels
from octavo.source.load import Loaded, load_model
from octavo.tflite.graph import WHOLE

A = TypeVar("A", bound=Artefact)
_PROGRAMS = tuple(Path(__file__).with_name(name) for name in ("predict.py", "classify.c"))
# Zip files store local times from 1980 on; a fixed date makes the archives of equal folders equal.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, repr=False)
class Deployed:
    """The result of `deploy`.

    Args:
        folder: The folder.
        archive: The same as a .zip, if asked for.
        files: Its files and their sizes in bytes.
    """

    folder: Path
    archive: Path | None
    files: dict[str, int]

    def __repr__(self) -> str:
        archive = f", archive '{self.archive}'" if self.archive else ""
        return f"Deployed('{self.folder}', {len(self.files)} files, {sum(self.files.values()):,} bytes{archive})"

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        archive = str(self.archive) if self.archive else None
        return {"folder": str(self.folder), "archive": archive, "files": self.files}


def deploy(
    source: Path | str, out: Path | str, archive: bool = False, web: Web | None = None, mediapipe: bool = False
) -> Deployed:
    """Writes a self-contained folder: model, labels, preprocessing, card, hashes, programs, C array, web demo.

    Args:
        source: A run directory, whose int8 model is taken, or a `.tflite` classifier with its sidecar.
        out: The folder to make; it must be empty if it exists.
        archive: Write ``OUT.zip`` too.
        web: Write the web demo too, in ``web/``.
        mediapipe: Write ``mediapipe.tflite`` too, which MediaPipe's image classifier takes.

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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OctavoError(f"'{out}' exists already and is not empty.", "Set `out` to another folder, or remove it.")
    check_folder(out)
    run = source if source.is_dir() else None
    model = source / "int8.tflite" if source.is_dir() else source
    if run is not None and not model.is_file():
        raise ModelError(f"'{run}' holds no int8.tflite.", "Give the directory of a finished `octavo run`, or a model.")
    loaded = load_model(model, kernels=get_args(Kernels))
    _check(loaded, model)
    evaluation = _of_run(run, Evaluation)
    _evaluated(evaluation, "int8", model)
    beside = None
    if web is not None and (web.beside is not None or run is not None):
        beside = web.beside or source / "float.tflite"
        if web.beside is None:
            _evaluated(evaluation, "float", beside)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        made = Path(temporary) / "folder"
        made.mkdir()
        _fill(made, loaded, evaluation, _of_run(run, DataSummary))
        assert loaded.belongs is not None
        if mediapipe:
            (made / "mediapipe.tflite").write_bytes(for_mediapipe(loaded.graph, loaded.belongs).content)
        if web is not None:
            shown = None if beside is None else _float(beside)
            write_web(made / "web", Shown(loaded.graph, loaded.belongs), shown, evaluation, web.packed)
        _sum(made)
        files = {path.relative_to(made).as_posix(): path.stat().st_size for path in _files(made)}
        zipped = _zip(made, out) if archive else None
        if out.exists():
            out.rmdir()
        made.rename(out)
    return Deployed(out, zipped, files)


def _check(loaded: Loaded, model: Path) -> None:
    graph, belongs = loaded.graph, loaded.belongs
    if model.suffix != ".tflite":
        raise ModelError(f"'{model}' is no .tflite file.", "Quantize it first: `octavo quantize`.")
    if any(t.dtype == "float32" for t in graph.tensors):
        raise ModelError(f"{graph.name} is not full-integer.", "Quantize it first: `octavo quantize`.")
    if belongs is None:
        raise ModelError(
            f"{graph.name} has no sidecar, so its preprocessing is unknown.",
            "Deploy the file where `octavo quantize` or `octavo run` wrote it, with the .json beside it.",
        )
    given = graph.tensors[graph.outputs[0]]
    if given.dtype in WHOLE:
        raise ModelError(
            f"{graph.name} gives the class itself ({given.dtype}), and a folder's programs show the score of each.",
            "Export the model without its ARG_MAX, and quantize that.",
        )
    count = given.shape[-1]
    if len(belongs.classes) != max(count, 2):
        raise ModelError(
            f"{graph.name} tells {count} classes apart, and its sidecar names {len(belongs.classes)}.",
            "Quantize it with --data whose folders are named as the classes.",
        )


def _evaluated(evaluation: Evaluation | None, name: str, model: Path) -> None:
    """Refuses a model whose run has the figures of another model."""
    if evaluation is not None and model.is_file() and evaluation.models[name].sha256 != sha256(model):
        raise ModelError(
            f"'{model.parent}' was evaluated with another {model.name} than is there now.",
            "Run it again: `octavo run`.",
        )


def _float(path: Path) -> Shown:
    loaded = load_model(path)
    graph, belongs = loaded.graph, loaded.belongs
    ports = {graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)}
    if ports != {"float32"} or belongs is None:
        raise ModelError(
            f"{graph.name} is not a float .tflite model with its sidecar.",
            "Give the float model that the int8 one was made from, with the .json beside it, or leave --beside out.",
        )
    return Shown(graph, belongs)


def _of_run(run: Path | None, kind: type[A]) -> A | None:
    return None if run is None or not (run / kind.file).is_file() else kind.read(run / kind.file)


def _fill(folder: Path, loaded: Loaded, evaluation: Evaluation | None, data: DataSummary | None) -> None:
    graph, belongs = loaded.graph, loaded.belongs
    assert belongs is not None
    shipped = described(graph, belongs)
    (folder / "model.tflite").write_bytes(shipped.content)
    digest, bare = sha256(folder / "model.tflite"), hashlib.sha256(graph.content).hexdigest()
    facts = belongs.images.to_json() | {"output": "probabilities" if gives_probabilities(graph) else "logits"}
    texts = {
        LABELS: labels(belongs.classes),
        "preprocess.json": json.dumps(facts, indent=2) + "\n",
        "model-card.md": model_card(shipped, belongs.images, belongs.classes, digest, bare, evaluation, data),
        "model_data.h": carray.header(bare),
        "model_data.cc": carray.source(graph.content),
        "model_facts.h": cfacts.header(graph, belongs),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    for program in _PROGRAMS:
        shutil.copyfile(program, folder / program.name)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sum(folder: Path) -> None:
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8", newline="\n")


def _zip(folder: Path, out: Path) -> Path:
    path = out.with_name(out.name + ".zip")
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(folder):
            entry = zipfile.ZipInfo(f"{out.name}/{file.relative_to(folder).as_posix()}", _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return path
