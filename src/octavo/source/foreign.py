"""Handles model files of other frameworks: converts ONNX, and tells the user how to convert the others.

A PyTorch file is a pickle or may contain pickles. Reading a pickle runs code from its author, so Octavo does not open
such files. A user who trusts a file can load it in Python and pass the module to Octavo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from octavo.base.errors import MissingDependencyError, ModelError
from octavo.base.extras import EXTRAS
from octavo.source.export_check import differs
from octavo.tflite.graph import Graph

INSTALL_ONNX2TF = "pipx install onnx2tf (Python 3.12 or later)"
_TORCH = (
    "module = YourNetwork(); module.load_state_dict(torch.load('{path}')); "
    "octavo.from_torch(module.eval(), torch.zeros(1, 3, 224, 224), out='{stem}.tflite')"
)

# The description of a file and the advice for it, by file extension.
_KINDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (".pt", ".pth"),
        (
            "is a PyTorch pickle, which can run code when it is read. Octavo does not open pickles.",
            f"If you trust it: {EXTRAS['torch'].install}, and run in Python: {_TORCH}. Then give that .tflite.",
        ),
    ),
    ".pt2": (
        "is a PyTorch exported program, which can hold pickles that run code when it is read. Octavo does not open it.",
        f"If you trust it: {EXTRAS['torch'].install}, and run in Python: "
        "octavo.from_torch(torch.export.load('{path}'), out='{stem}.tflite'). Then give that .tflite.",
    ),
    ".safetensors": (
        "holds weights only, without their network.",
        "Load them into the network in the program that defines it, and convert the network with `octavo.from_torch` "
        "or `octavo.from_jax`.",
    ),
    ".ckpt": (
        "is a checkpoint: weights without their network, or a pickle. Octavo opens neither.",
        "Load it into the network in the program that defines it. Then convert a PyTorch module with "
        "`octavo.from_torch`, or save a TensorFlow network as a SavedModel folder and give that.",
    ),
    ".pb": (
        "is a TensorFlow graph without its signature; a SavedModel folder or a .tflite was expected.",
        "If it is the 'saved_model.pb' of a SavedModel, give the folder. Convert a frozen graph with "
        "tf.compat.v1.lite.TFLiteConverter.from_frozen_graph('{path}', [input], [output]).convert().",
    ),
}


def refuse(path: Path) -> None:
    """Refuses a model file that Octavo does not open, and says how to convert it.

    Raises:
        ModelError: The file is of such a kind.
    """
    found = _KINDS.get(path.suffix.lower())
    if found is not None:
        what, todo = found
        raise ModelError(f"'{path}' {what}", todo.format(path=path, stem=path.stem))


def of_onnx(path: Path) -> bytes:
    """Converts an ONNX model to a float `.tflite` with the program ``onnx2tf``, which also compares the two.

    The program runs as a separate process, because it pins other versions of NumPy and LiteRT than Octavo uses.

    Raises:
        MissingDependencyError: The program is not installed.
        ModelError: The program cannot convert the model, or the converted model computes something else.
    """
    program = shutil.which("onnx2tf")
    if program is None:
        raise MissingDependencyError(
            f"'{path}' is an ONNX model. The program onnx2tf, which converts it, is not installed.",
            f"{INSTALL_ONNX2TF}, and repeat the command. Or run where onnx2tf is installed: "
            f"onnx2tf -i {path} -o converted, and give 'converted/{path.stem}_float32.tflite'.",
        )
    content = _converted(program, path, ())
    graph = Graph(content, f"'{path}'")
    opened = [graph.tensors[index] for index in graph.inputs if -1 in graph.tensors[index].shape]
    if not opened:
        return content
    if any(-1 in tensor.shape[1:] for tensor in opened):
        shapes = ", ".join(f"'{tensor.name}' {tensor.shape}" for tensor in opened)
        raise ModelError(
            f"'{path}' has inputs with open sizes ({shapes}, where -1 is open). Fixed sizes were expected.",
            f"Fix them with onnx2tf -i {path} -ois NAME:1,3,224,224 -o converted, and give the .tflite.",
        )
    # onnx2tf keeps an open batch open, even with `-b`.
    return _converted(program, path, ("-ois", *(f"{t.name}:{','.join(map(str, _of_onnx(t.shape)))}" for t in opened)))


def _of_onnx(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a `.tflite` input in the ONNX model, with a batch of 1 and channels first."""
    return (1, shape[-1], *shape[1:-1]) if len(shape) > 2 else (1, *shape[1:])


def _converted(program: str, path: Path, options: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-i", str(path.resolve()), "-o", folder, *options, "-n", "-v", "error", "-ewo"]
        # onnx2tf runs in another Python, which must not import modules from the current folder or PYTHONPATH.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=clean, stdin=subprocess.DEVNULL
        )
        made, report = (Path(folder) / f"{path.stem}{end}" for end in ("_float32.tflite", "_accuracy_report.json"))
        todo = (
            f"Convert it yourself with onnx2tf -i {path} -o converted (its --help lists options for such cases), and "
            "give the .tflite."
        )
        if done.returncode or not made.is_file():
            lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
            cause = " ".join(lines[-1:])[:300] or f"exit code {done.returncode}"
            raise ModelError(f"onnx2tf could not convert '{path}' ({cause}).", todo)
        found = json.loads(report.read_text("utf-8"))["overall_metrics"]
        if differs(found["max_abs"], found["ref_max_abs"]):
            raise ModelError(
                f"'{path}' and the float graph that onnx2tf wrote do not compute the same: they differ by up to "
                f"{found['max_abs']:.3g}, where the largest value is {found['ref_max_abs']:.3g}.",
                todo,
            )
        return made.read_bytes()
