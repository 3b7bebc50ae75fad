"""Reads and runs a stranger's model in a child process, before this process does the same.

The child is this module too. It imports only what reading and running need, since every command waits for it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from octavo.base import child, limits, trial
from octavo.base.errors import ModelError
from octavo.rewrite.canonical.sizes import Size, Sizes
from octavo.runtime.litert import Kernels, refusal
from octavo.source.forms import Form, formed, unformed
from octavo.tflite.graph import Graph, Tensor, read_bytes
from octavo.tflite.reduced import is_reducible, reduced

# What becomes of the tensors inside a model: they are kept inside, read and reduced, or fed too.
Inner = Literal["kept", "read", "fed"]

# The kernel families that run a model of which nobody says what becomes of it.
FAMILIES: Sequence[Kernels] = ("xnnpack", "builtin")


@dataclass(frozen=True)
class Use:
    """What this process will do with a model.

    Args:
        kernels: The kernel families that will run it. What XNNPACK refuses is refused.
        inner: What becomes of the tensors inside it.
        form: The form in which it is read.
    """

    kernels: Sequence[Kernels]
    inner: Inner
    form: Form


class Trials:
    """The trials of one command: a child process reads and runs its models, one after the other.

    The process starts at once and ends with the block.
    """

    def __init__(self) -> None:
        self._attendant = trial.Attendant(child.module_command("octavo.source.tried"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._attendant.end()

    def given(self, file: Path, name: str, signature: str | None, size: Size | None, use: Use) -> None:
        """Reads and runs a model of a stranger.

        Args:
            file: The `.tflite` file.
            name: Its name in error messages.
            signature: As for `octavo.source.forms.unformed`.
            size: As for `octavo.source.forms.formed`.
            use: What will be done with it.

        Raises:
            ModelError: LiteRT refuses it, crashes on it, or needs too much memory or time.
        """
        asked = [str(file.absolute()), name, signature, size, [*use.kernels], use.inner, use.form]
        if refused := self._ask("given", file, name, asked):
            raise ModelError(f"LiteRT cannot run {name}: {refused}")

    def made(self, content: bytes, name: str, kernels: Sequence[Kernels] = FAMILIES, inner: Inner = "fed") -> None:
        """Runs a model that Octavo made of a stranger's, before this process runs and compares it.

        Args:
            content: The bytes of the `.tflite` file.
            name: The name of the model that it was made of, in error messages.
            kernels: The kernel families that will run it.
            inner: What becomes of the tensors inside it.

        Raises:
            ModelError: LiteRT crashes on it, or needs too much memory or time. What it refuses in words is no danger:
                the proof names it.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "made.tflite"
            file.write_bytes(content)
            self._ask("made", file, f"the quantized form of {name}", [str(file), [*kernels], inner])

    def _ask(self, what: str, file: Path, name: str, asked: list[Any]) -> str:
        seconds = limits.model_seconds(file.stat().st_size)
        refused: str = json.loads(self._attendant.ask(json.dumps([what, asked]), name, seconds))
        return refused


def try_made(content: bytes, name: str, kernels: Sequence[Kernels] = FAMILIES, inner: Inner = "fed") -> None:
    """Like `Trials.made`, in a child process of its own."""
    with Trials() as trials:
        trials.made(content, name, kernels, inner)


def _given(
    file: str,
    name: str,
    signature: str | None,
    numbers: list[int] | None,
    kernels: list[Kernels],
    inner: Inner,
    form: Form,
) -> str:
    """In the child process: reads a model as its parent will, and runs it. Gives why LiteRT refuses it, or nothing."""
    content, size = read_bytes(Path(file)), None if numbers is None else (numbers[0], numbers[1])
    try:
        found = unformed(content, name, signature)
        shapes = Sizes(size).shapes(found.graph)
    except ModelError:
        return ""  # This process's parent will find the same, and say it.
    if refused := refusal(found.graph.content, "xnnpack", shapes):
        return refused
    with contextlib.suppress(ModelError):
        graph = formed(found, size, form).graph
        _run(_forms(graph, inner), kernels, {("xnnpack", found.graph.content)})
    return ""


def _made(file: str, kernels: list[Kernels], inner: Inner) -> str:
    """In the child process: runs a model that Octavo made."""
    content = read_bytes(Path(file))
    with contextlib.suppress(ModelError):
        _run([[content]] if inner == "kept" else _forms(Graph(content), inner), kernels, set())
    return ""


def _forms(graph: Graph, inner: Inner) -> Iterator[Iterable[bytes]]:
    """The forms of a graph that its use needs, each with what takes its place where the runtime refuses it."""
    computed = [graph.tensors[index] for index in dict.fromkeys(out for op in graph.ops for out in op.outputs)]
    computed = [tensor for tensor in computed if tensor.dtype == "float32" or tensor.qparams is not None]
    yield [graph.content]
    if inner != "kept" and computed:
        yield _readable(graph, computed)
    if inner == "fed" and computed:
        yield [graph.severed(computed).exposed(computed).content]


def _readable(graph: Graph, computed: Sequence[Tensor]) -> Iterator[bytes]:
    """A graph whose inner tensors are reduced and read, and one whose inner tensors are read only."""
    if reducible := [tensor for tensor in computed if is_reducible(graph, tensor)]:
        yield reduced(graph, reducible, computed).content
    yield graph.exposed(computed).content


def _run(forms: Iterable[Iterable[bytes]], kernels: list[Kernels], done: set[tuple[Kernels, bytes]]) -> None:
    """Runs models with each kernel family. A family that refuses a model in words is no danger.

    Args:
        forms: The models, each followed by those that take its place, which are made only if a family refuses it.
        kernels: The kernel families.
        done: What has run already.
    """
    for form in forms:
        refusing = kernels
        for content in form:
            refusing = [family for family in refusing if (family, content) not in done and refusal(content, family)]
            if not refusing:
                break


def _answer(line: str) -> str:
    """In the child process: does what `Trials` asks for."""
    what, asked = json.loads(line)
    trial.confine(limits.model_bytes(Path(asked[0]).stat().st_size))
    return json.dumps(_given(*asked) if what == "given" else _made(*asked))


if __name__ == "__main__":
    # Before anything is tried, so that it is no memory of a model.
    import ai_edge_litert.interpreter  # noqa: F401

    child.answer_all(_answer)
    sys.exit()
