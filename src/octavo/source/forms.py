"""The forms in which a `.tflite` file is read: unchanged but for static sizes, or ready to be changed."""

from __future__ import annotations

from typing import Literal

from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.rewrite.canonical.passes import plain, static
from octavo.rewrite.canonical.signature import check, choose
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


def formed(content: bytes, name: str, signature: str | None, size: Size | None, form: Form) -> Rewritten:
    """The graph of a `.tflite` file in the form that is asked for, and what was changed.

    Args:
        content: The bytes of the file.
        name: The name of the file in error messages.
        signature: The signature to read, or None for the only one.
        size: Height and width of the images, if the file leaves them open.
        form: ``as_is`` gives a batch of 1 and static sizes. ``to_change`` also gives plain float32 constants, and ops
            that int8 supports.

    Raises:
        ModelError: The file cannot be read as a model, or not in this form.
    """
    with border(f"{name} cannot be read as a model", "It may be damaged: copy or export it again.", ModelError):
        chosen = choose(content, name, signature)
        graph = Graph(chosen.content, name)
        sizes = Sizes(size)
        check(content, chosen, opened(graph, sizes.shapes(graph)))
        done = static(graph, sizes)
        made = _FORMS[form](done.graph)
        return Rewritten(made.graph, (*chosen.changes, *done.changes, *made.changes))
