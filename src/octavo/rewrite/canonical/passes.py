"""Applies the rewrites in order, and checks every rewrite that changed something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from octavo.base.errors import ModelError
from octavo.rewrite.canonical import exact
from octavo.rewrite.canonical.activations import activations, has_activations
from octavo.rewrite.canonical.arithmetic import arithmetic
from octavo.rewrite.canonical.batch import batch
from octavo.rewrite.canonical.change import Change, Rewrite
from octavo.rewrite.canonical.constants import constants
from octavo.rewrite.canonical.custom import custom, replaceable
from octavo.rewrite.canonical.dilation import dilation, has_dilation
from octavo.rewrite.canonical.dynamic_range import dynamic_range, weights
from octavo.rewrite.canonical.infinite import infinite
from octavo.rewrite.canonical.known import Known
from octavo.rewrite.canonical.lstm import lstm, plain_lstm
from octavo.rewrite.canonical.sizes import Sizes
from octavo.rewrite.canonical.softmax import has_softmax, softmax
from octavo.rewrite.canonical.unread import unread, unused
from octavo.rewrite.canonical.upsampling import has_upsampling, upsampling
from octavo.rewrite.rewritten import Rewritten
from octavo.tflite.graph import Graph


def static(graph: Graph, sizes: Sizes | None = None) -> Rewritten:
    """Gives a graph a batch of 1 and static sizes. This is the form for running a model without changing it.

    Args:
        graph: A float or integer graph.
        sizes: The sizes for open dimensions.

    Raises:
        ModelError: An open size is not given, or the graph cannot take one item at a time.
    """
    return _done(graph, (sizes or Sizes(), batch, arithmetic))


def plain(graph: Graph) -> Rewritten:
    """Makes constants plain, finite float32, removes unused tensors, unrolls LSTMs, and joins ops that stand for one.

    This is the form of a float model that is to be changed. A quantized graph is left unchanged.

    Args:
        graph: A graph of static sizes.

    Raises:
        ModelError: Its weights cannot be made float32.
    """
    rewrites = (unread, constants, dynamic_range, infinite, custom, lstm, dilation, softmax, upsampling, activations)
    return _done(graph, rewrites)


def concerns(graph: Graph) -> bool:
    """Whether a rewrite may change the graph, and so may run it on LiteRT's own kernels. This check runs nothing."""
    inputs = [graph.tensors[index].shape for index in graph.inputs]
    known = Known.of(graph).values
    return (
        any(n < 1 for tensor in graph.tensors if tensor.constant is None for n in tensor.shape)
        or any(shape[:1] > (1,) for shape in inputs)
        or any(known.intersection(op.outputs) for op in graph.ops)
        or bool(unused(graph))
        or bool(graph.sparse or weights(graph) or has_activations(graph) or has_dilation(graph))
        or has_softmax(graph)
        or has_upsampling(graph)
        or any(plain_lstm(graph, op) or replaceable(graph, op) for op in graph.ops)
    )


def _done(graph: Graph, rewrites: Sequence[Rewrite]) -> Rewritten:
    changes: list[Change] = []
    at = graph
    for rewrite in rewrites:
        if (change := rewrite(at)) is not None:
            changes.append(change)
            at = change.graph
    before = graph
    for tolerance, together in groupby(changes, lambda change: change.tolerance):
        alike = list(together)
        if exact.difference(before, alike[-1].graph, tolerance) is not None:
            raise _refusal(before, alike)
        before = alike[-1].graph
    return Rewritten(at, tuple(sentence for change in changes for sentence in change.changes))


def _refusal(graph: Graph, changes: Sequence[Change]) -> ModelError:
    """The error for changed outputs. It names the first rewrite that changed them."""
    found, at = None, graph
    for change in changes:
        found = exact.difference(at, change.graph, change.tolerance)
        if found is not None:
            break
        at = change.graph
    problem, todo = change.refusal
    return ModelError(f"{graph.name} cannot be used: {problem} ({found or 'all changes together'}).", todo)
