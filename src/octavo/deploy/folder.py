"""`octavo deploy`: one folder with everything that a device and its programmer need."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.deploy import carray
from octavo.deploy.card import model_card
from octavo.errors import ModelError, OctavoError
from octavo.evaluate import gives_probabilities
from octavo.files import replacing, sha256
from octavo.pipeline import Loaded, load_model

_PREDICT = Path(__file__).with_name("predict.py")
# Zip files hold local times from 1980 on; one date makes the same folder the same archive.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Deployed:
    """What `deploy` wrote.

    Args:
        folder: The folder.
        archive: The same as a .zip, if asked for.
        files: Its files and their sizes in bytes.
    """

    folder: Path
    archive: Path | None
    files: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        archive = str(self.archive) if self.archive else None
        return {"folder": str(self.folder), "archive": archive, "files": self.files}


def deploy(source: Path | str, out: Path | str, archive: bool = False) -> Deployed:
    """Writes a folder that works alone: model, labels, preprocessing, card, hashes, `predict.py`, C array.

    Args:
        source: A run directory, whose int8 model is taken, or a `.tflite` classifier with its sidecar.
        out: The folder to make; it must not hold anything yet.
        archive: Write ``OUT.zip`` too.

    Raises:
        OctavoError: The model is not as it should be, or the folder is taken. Nothing is written then.
    """
    source, out = Path(source), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OctavoError(f"'{out}' is there already, and not empty.", "Give another --out, or remove it.")
    run = source if source.is_dir() else None
    model = source / "int8.tflite" if source.is_dir() else source
    if run is not None and not model.is_file():
        raise ModelError(f"'{run}' holds no int8.tflite.", "Give the directory of a finished `octavo run`, or a model.")
    loaded = load_model(model)
    _check(loaded, model)
    evaluation = _facts(run, "evaluation.json")
    if evaluation is not None and evaluation["models"]["int8"]["sha256"] != sha256(model):
        raise ModelError(
            f"'{run}' was evaluated with another int8.tflite than is there now.", "Run it again: `octavo run`."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        made = Path(temporary) / "folder"
        made.mkdir()
        _fill(made, loaded, evaluation, _facts(run, "data.json"))
        files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
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
    count = graph.tensors[graph.outputs[0]].shape[-1]
    if len(belongs.classes) != max(count, 2):
        raise ModelError(
            f"{graph.name} tells {count} classes apart, and its sidecar names {len(belongs.classes)}.",
            "Quantize it with --data whose folders are named as the classes.",
        )


def _facts(run: Path | None, name: str) -> Any:
    if run is None or not (run / name).is_file():
        return None
    try:
        return json.loads((run / name).read_text("utf-8"))
    except ValueError as error:
        raise OctavoError(f"'{run / name}' is damaged: {error}.", "Run it again: `octavo run`.") from error


def _fill(folder: Path, loaded: Loaded, evaluation: Mapping[str, Any] | None, data: Mapping[str, Any] | None) -> None:
    graph, belongs = loaded.graph, loaded.belongs
    assert belongs is not None
    (folder / "model.tflite").write_bytes(graph.content)
    digest = sha256(folder / "model.tflite")
    facts = belongs.preprocess.to_json() | {"output": "probabilities" if gives_probabilities(graph) else "logits"}
    texts = {
        "labels.txt": "\n".join(belongs.classes) + "\n",
        "preprocess.json": json.dumps(facts, indent=2) + "\n",
        "model-card.md": model_card(graph, belongs.preprocess, belongs.classes, digest, evaluation, data),
        "model_data.h": carray.header(digest),
        "model_data.cc": carray.source(graph.content),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    shutil.copyfile(_PREDICT, folder / "predict.py")
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums), "utf-8", newline="\n")


def _zip(folder: Path, out: Path) -> Path:
    path = out.with_name(out.name + ".zip")
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(f"{out.name}/{file.name}", _DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return path
