"""The forms in which a `.tflite` file is read: unchanged but for static sizes, or ready to be changed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.rewrite.canonical.passes import plain, static
from octavo.rewrite.canonical.signature import Chosen, check, choose
from octavo.rewrite.canonical.sizes import Size, Sizes, opened
from octavo.rewrite.integer_forms import integer_forms
from octavo.rewrite.rewritten import Rewritten
from octavo.tflite.graph import Graph

Form = Literal["as_is", "to_change"]


def _to_change(graph: Graph) -> Rewritten:
    done = plain(graph)
    formed = integer_forms(done.graph)
    return Rewritten(formed.graph, (*done.changes, *formed.changes))


_FORMS = {"as_is": Rewritten, "to_change": _to_change}


@dataclass(frozen=True)
class Unformed:
    """The graph of a `.tflite` file, as the file has it.

    Args:
        content: The bytes of the file.
        chosen: The graph that is read of it.
        graph: The same graph.
    """

    content: bytes = field(repr=False)
    chosen: Chosen = field(repr=False)
    graph: Graph


def unformed(content: bytes, name: str, signature: str | None) -> Unformed:
    """Reads the graph of a `.tflite` file.

    Args:
        content: The bytes of the file.
        name: The name of the file in error messages.
        signature: The signature to read, or None for the only one.

    Raises:
        ModelError: The file cannot be read as a model.
    """
    with _border(name):
        chosen = choose(content, name, signature)
        return Unformed(content, chosen, Graph(chosen.content, name))


def formed(found: Unformed, size: Size | None, form: Form) -> Rewritten:
    """The graph of a `.tflite` file in the form that is asked for, and what was changed.

    Args:
        found: The file.
        size: Height and width of the images, if the file leaves them open.
        form: ``as_is`` gives a batch of 1 and static sizes. ``to_change`` also gives plain float32 constants, and ops
            that int8 supports.

    Raises:
        ModelError: It cannot be brought into this form.
    """
    with _border(found.graph.name):
        sizes = Sizes(size)
        check(found.content, found.chosen, opened(found.graph, sizes.shapes(found.graph)))
        done = static(found.graph, sizes)
        made = _FORMS[form](done.graph)
        return Rewritten(made.graph, (*found.chosen.changes, *done.changes, *made.changes))


def _border(name: str) -> AbstractContextManager[None]:
    return border(f"{name} cannot be read as a model", "It may be damaged: copy or export it again.", ModelError)
