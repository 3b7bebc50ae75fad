"""Reads and runs a stranger's model in a child process, before this process does the same.

The child is this module too. It imports only what reading and running need, since every command waits for it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from octavo.base import child, limits, trial
from octavo.base.errors import ModelError
from octavo.rewrite.canonical.signature import choose
from octavo.rewrite.canonical.sizes import Size, Sizes
from octavo.runtime.litert import Kernels, refusal
from octavo.source.forms import Form, formed
from octavo.tflite.graph import Graph, Tensor, read_bytes


@dataclass(frozen=True)
class Use:
    """What this process will do with a model.

    Args:
        kernels: The kernel families that will run it.
        inner: What becomes of the tensors inside it: they are kept inside, read, or both read and fed.
        form: The form in which it is read.
    """

    kernels: Sequence[Kernels]
    inner: Literal["kept", "read", "fed"]
    form: Form


def try_out(file: Path, name: str, signature: str | None, size: Size | None, use: Use) -> None:
    """Reads and runs a model in a child process.

    Args:
        file: The `.tflite` file.
        name: Its name in error messages.
        signature: As for `octavo.source.forms.formed`.
        size: As for `octavo.source.forms.formed`.
        use: What will be done with it.

    Raises:
        ModelError: LiteRT refuses it, crashes on it, or needs too much memory or time.
    """
    done = _in_child(file, name, signature, size, use)
    if done.returncode == 2:
        raise ModelError(f"LiteRT cannot run {name}: {done.stderr.strip()}")


def try_made(content: bytes, name: str, kernels: Sequence[Kernels] = ("xnnpack",)) -> None:
    """Runs a model that Octavo made of a stranger's in a child process, before this process runs and compares it.

    Args:
        content: The bytes of the `.tflite` file.
        name: The name of the model that it was made of, in error messages.
        kernels: The kernel families that will run it.

    Raises:
        ModelError: LiteRT crashes on it, or needs too much memory or time. What it refuses in words is no danger: the
            proof names it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.tflite"
        file.write_bytes(content)
        _in_child(file, f"the quantized form of {name}", None, None, Use(kernels, "fed", "as_is"))


def _in_child(
    file: Path, name: str, signature: str | None, size: Size | None, use: Use
) -> subprocess.CompletedProcess[str]:
    wanted = json.dumps([str(file), name, signature, size, [*use.kernels], use.inner, use.form])
    seconds = limits.model_seconds(file.stat().st_size)
    return trial.survived(child.module_command("octavo.source.tried", wanted), name, seconds)


def _trial(wanted: str) -> int:
    """The child process: reads the model as its parent will, and runs it with each kernel family."""
    file, name, signature, size, kernels, inner, form = json.loads(wanted)
    trial.confine(limits.model_bytes(Path(file).stat().st_size))
    content = read_bytes(Path(file))
    try:
        chosen = choose(content, name, signature)
        shapes = Sizes(size and tuple(size)).shapes(Graph(chosen.content, name))
    except ModelError:
        return 0  # This process's parent will find the same, and say it.
    if refused := refusal(chosen.content, "xnnpack", shapes):
        sys.stderr.write(refused)
        return 2
    with contextlib.suppress(ModelError):
        graph = formed(content, name, signature, size and tuple(size), form).graph
        computed = [tensor for tensor in _computed(graph) if tensor.dtype == "float32" or tensor.qparams is not None]
        forms = [graph]
        if inner != "kept" and computed:
            forms.append(graph.exposed(computed))
        if inner == "fed" and computed:
            forms.append(graph.severed(computed).exposed(computed))
        for family in dict.fromkeys(("xnnpack", "builtin", *kernels)):
            for made in forms:
                # A family that refuses the model in words is no danger.
                refusal(made.content, family)
    return 0


def _computed(graph: Graph) -> list[Tensor]:
    return [graph.tensors[index] for index in dict.fromkeys(out for op in graph.ops for out in op.outputs)]


if __name__ == "__main__":
    sys.exit(_trial(sys.argv[1]))
