"""Extracts one graph from a file with several: that of the requested signature, or of the only one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.base.border import border
from octavo.base.errors import ModelError
from octavo.rewrite.canonical import exact
from octavo.rewrite.sweep import sweep
from octavo.tflite import control_flow
from octavo.tflite.graph import Graph, reading, serialize, unpack


@dataclass(frozen=True)
class Chosen:
    """One graph of a file.

    Args:
        content: The bytes of a `.tflite` file with only that graph. The given bytes if the file has no other graph.
        key: The name of the signature that the file was reduced to, or None.
        changes: What was changed, for display.
    """

    content: bytes
    key: str | None = None
    changes: tuple[str, ...] = ()


def choose(content: bytes, name: str, signature: str | None = None) -> Chosen:
    """Extracts the graph of one signature from a file.

    Args:
        content: The bytes of a `.tflite` file.
        name: The name of the file in error messages.
        signature: The name of the signature. Required if the file has several.

    Raises:
        ModelError: The file has several signatures and none was named, it does not have the named one, it has control
            flow, or it is damaged.
    """
    if signature is None and _is_single(content):
        return Chosen(content)
    model = unpack(content, name)
    with reading(name):
        return _choose(content, model, name, signature)


def _choose(content: bytes, model: Any, name: str, signature: str | None) -> Chosen:
    known = {(one.signatureKey or b"").decode("utf-8", "replace"): one for one in model.signatureDefs or ()}
    key = _key(model, known, name, signature)
    number = 0 if key is None else int(known[key].subgraphIndex or 0)
    subgraph = model.subgraphs[number]
    control_flow.refuse(model, subgraph, name)
    if len(model.subgraphs) == 1 and (key is None or _is_whole(subgraph, known[key])):
        return Chosen(content)
    if len(known) > 1:
        change = f"The signature '{key}' is used, of {_listed(known)}."
    else:
        change = f"{len(model.subgraphs) - 1} unused subgraphs were removed."
    if key is not None:
        _cut(subgraph, known[key])
        known[key].subgraphIndex = 0
    model.subgraphs, model.signatureDefs = [subgraph], None if key is None else [known[key]]
    sweep(model)
    return Chosen(serialize(model), key, (change,))


def check(content: bytes, chosen: Chosen, graph: Graph) -> None:
    """Checks on LiteRT that an extracted graph gives the same outputs as its signature in the whole file.

    Args:
        content: The bytes of the whole file.
        chosen: The extracted graph.
        graph: The graph of `chosen`, with inputs of static shapes.

    Raises:
        ModelError: The outputs differ.
    """
    if chosen.key is None or chosen.content == content:
        return
    (entry,) = unpack(chosen.content).signatureDefs
    given = exact.inputs(graph, np.random.default_rng(0))
    by_index = dict(zip(graph.inputs, given, strict=True))
    with border(f"LiteRT cannot run the signature '{chosen.key}' of {graph.name}", kind=ModelError):
        runner = exact.started(content).get_signature_runner(chosen.key)
        wanted = runner(**{item.name.decode(): by_index[item.tensorIndex] for item in entry.inputs})
    answers = exact.runner(graph, [value.shape for value in given])(given)
    found = dict(zip(graph.outputs, answers, strict=True))
    for item in entry.outputs:
        if (apart := exact.apart(wanted[item.name.decode()], found[item.tensorIndex])) is not None:
            raise ModelError(
                f"The signature '{chosen.key}' of {graph.name} gives other outputs once it is extracted: output "
                f"'{item.name.decode()}' {apart}.",
                "Export the model with that signature only.",
            )


def _is_single(content: bytes) -> bool:
    """Whether a file has one graph and at most one signature. True for a damaged file, which its reader reports."""
    try:
        model = schema.Model.GetRootAs(content, 0)
        return bool(model.SubgraphsLength() == 1 and model.SignatureDefsLength() <= 1 and not _keeps_state(model))
    except Exception:  # as at every border
        return True


def _keeps_state(model: Any) -> bool:
    return any(
        model.OperatorCodes(place).BuiltinCode() == schema.BuiltinOperator.VAR_HANDLE
        for place in range(model.OperatorCodesLength())
    )


def _key(model: Any, known: dict[str, Any], name: str, signature: str | None) -> str | None:
    if signature is not None and signature not in known:
        problem = f"{name} has no signature '{signature}': it has {_listed(known) if known else 'none'}."
        raise ModelError(problem, "Name one of them with `signature`." if known else "Leave `signature` out.")
    if signature is not None or not known:
        return signature
    ports = {
        (int(one.subgraphIndex or 0), *(frozenset(i.tensorIndex for i in part) for part in (one.inputs, one.outputs)))
        for one in known.values()
    }
    if len(ports) > 1:
        raise ModelError(
            f"{name} has {len(known)} signatures, and one was expected: {_listed(known)}.",
            "Choose with `signature`.",
            details=[_described(model, key, one) for key, one in known.items()],
        )
    return next(iter(known))


def _listed(known: dict[str, Any]) -> str:
    return ", ".join(f"'{key}'" for key in known)


def _described(model: Any, key: str, entry: Any) -> str:
    tensors = model.subgraphs[int(entry.subgraphIndex or 0)].tensors

    def ports(items: Any) -> str:
        shapes = ((item.name.decode("utf-8", "replace"), tensors[item.tensorIndex].shape) for item in items)
        return ", ".join(f"{name} ({', '.join(str(int(n)) for n in shape)})" for name, shape in shapes)

    return f"{key}: {ports(entry.inputs)} -> {ports(entry.outputs)}"


def _is_whole(subgraph: Any, entry: Any) -> bool:
    """Whether a signature has all outputs of its subgraph."""
    return {item.tensorIndex for item in entry.outputs} == {int(index) for index in subgraph.outputs}


def _cut(subgraph: Any, entry: Any) -> None:
    """Reduces a subgraph to the inputs, outputs and ops of one signature."""
    if _is_whole(subgraph, entry):
        return
    given = {item.tensorIndex for item in entry.outputs}
    subgraph.outputs = [int(index) for index in subgraph.outputs if index in given]
    reached = set(subgraph.outputs)
    kept = []
    for op in reversed(subgraph.operators):
        if reached & {int(index) for index in op.outputs}:
            kept.append(op)
            reached |= {int(index) for index in op.inputs}
    subgraph.operators = kept[::-1]
    taken = {item.tensorIndex for item in entry.inputs}
    subgraph.inputs = [int(index) for index in subgraph.inputs if index in taken]
