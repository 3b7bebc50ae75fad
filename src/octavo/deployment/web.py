"""The web demo of a deployed folder: a static page that runs the model in the browser, int8 next to float.

LiteRT.js supports uint8, int32 and float32 inputs and outputs, and fixed shapes. So the page gets a copy of the int8
model that takes bytes (`octavo.rewrite.raw_pixels`), proved to give the same outputs. Python computes the table with
the input value of each of the 256 pixel values, so both run on exactly the same input.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octavo.analysis.evaluation import Evaluation
from octavo.analysis.tasks.task import gives_probabilities
from octavo.base.errors import ModelError
from octavo.base.files import sha256
from octavo.deployment import litertjs
from octavo.rewrite import equality
from octavo.rewrite.raw_pixels import unsigned, unsigned_output
from octavo.runtime.litert import Model
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph, serialize

_PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True)
class Web:
    """The options of `octavo deploy` for a web demo.

    Args:
        beside: The float model to show next to the int8 one; the run's own by default, or none without a run.
        packed: The folder with the packed archives of LiteRT.js; downloaded with npm by default.
    """

    beside: Path | None = None
    packed: Path | None = None


@dataclass(frozen=True)
class Shown:
    """A model that the page runs, and its sidecar."""

    graph: Graph
    sidecar: Sidecar


def write_web(
    folder: Path, int8: Shown, beside: Shown | None, evaluation: Evaluation | None, packed: Path | None
) -> None:
    """Writes the page, its models and LiteRT.js.

    Args:
        folder: Where to; it is made.
        int8: The model that is deployed.
        beside: The float model, if there is one.
        evaluation: A run's `evaluation.json`, if there is one.
        packed: The folder with the packed archives of LiteRT.js; downloaded with npm by default.

    Raises:
        ModelError: The two models do not have the same preprocessing or the same classes.
        ProofError: The browser's copy of a model gave another output than the model.
        OctavoError: LiteRT.js could not be obtained.
    """
    if beside is not None:
        _agree(int8, beside)
    litertjs.vendor(folder / "litert", packed)
    copy_modules(folder)
    classes, preprocess = int8.sidecar.classes, int8.sidecar.images
    shown = {"int8": int8} if beside is None else {"int8": int8, "float32": beside}
    facts = {
        "title": f"Image classifier of {len(classes)} classes",
        "labels": list(classes),
        "preprocess": preprocess.to_json(),
        "output": "probabilities" if gives_probabilities(int8.graph) else "logits",
        "runtime": f"LiteRT.js {litertjs.VERSION}",
        "models": [_write(folder, name, one, _accuracy(evaluation, name, one)) for name, one in shown.items()],
    }
    (folder / "model.json").write_text(json.dumps(facts, ensure_ascii=False) + "\n", "utf-8", newline="\n")


def copy_modules(folder: Path) -> None:
    """Copies the page and its JavaScript modules into a folder."""
    shutil.copytree(_PAGE, folder, dirs_exist_ok=True)


def browser_twin(graph: Graph) -> Graph:
    """The same model with input and output types and shapes that LiteRT.js supports.

    Args:
        graph: A model with one input and one output, both float32, or each int8 or uint8.

    Returns:
        A model whose int8 inputs and outputs are uint8 instead (the code plus 128), and whose dynamic shapes are fixed
        as stored. The model itself, if nothing had to change.
    """
    if graph.tensors[graph.inputs[0]].dtype == "int8":
        graph = unsigned(graph)
    if graph.tensors[graph.outputs[0]].dtype == "int8":
        graph = unsigned_output(graph)
    model = graph.copied()
    tensors = model.subgraphs[0].tensors
    opened = [one for one in tensors if one.shapeSignature is not None and -1 in one.shapeSignature]
    for one in opened:
        one.shapeSignature = None
    return Graph(serialize(model), graph.name) if opened else graph


def _agree(int8: Shown, beside: Shown) -> None:
    ours, theirs = int8.sidecar.images, beside.sidecar.images
    same = (ours.size, ours.interpolation, ours.channels) == (theirs.size, theirs.interpolation, theirs.channels)
    if not same or int8.sidecar.classes != beside.sidecar.classes:
        raise ModelError(
            f"{int8.graph.name} and {beside.graph.name} do not have the same input images or the same classes.",
            "Give the float model that the int8 one was made from.",
        )
    if gives_probabilities(int8.graph) != gives_probabilities(beside.graph):
        raise ModelError(
            f"One of {int8.graph.name} and {beside.graph.name} gives logits, and the other probabilities.",
            "Give two models that both give logits or both give probabilities.",
        )


def _write(folder: Path, name: str, shown: Shown, accuracy: str | None) -> dict[str, Any]:
    """Writes the browser's copy of a model with its proof; returns the facts that the page needs."""
    graph, preprocess = shown.graph, shown.sidecar.images
    twin = browser_twin(graph)
    equality.prove(graph, twin, preprocess, f"the browser's copy of {graph.name}")
    path = folder / f"{name}.tflite"
    path.write_bytes(twin.content)
    ports = Model(twin, workers=1)
    output = ports.outputs[0]
    quantized = None
    if output.qparams is not None:
        # The page's codes are bytes; Octavo's are int8, as in the model.
        quantized = {"scale": float(output.qparams.scale[0]), "zero_point": int(output.qparams.zero_point[0]) + 128}
    return {
        "name": name,
        "file": path.name,
        "sha256": sha256(path),
        "inputs": ports.input.encode(preprocess.normalize(np.arange(256))).tolist(),
        "quantized": quantized,
        "accuracy": accuracy,
    }


def _accuracy(evaluation: Evaluation | None, name: str, shown: Shown) -> str | None:
    """The accuracy of this file in the run, if the run measured it."""
    found = evaluation.models.get("float" if name == "float32" else name) if evaluation is not None else None
    digest = hashlib.sha256(shown.graph.content).hexdigest()
    if evaluation is None or found is None or found.score is None or found.sha256 != digest:
        return None
    return f"{found.score.value:.1%} of {evaluation.images:,} test images right"
