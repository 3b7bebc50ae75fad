from __future__ import annotations

import copy

from tiny import tiny_tflite

from octavo.analysis.inspect import inspect
from octavo.tflite.dedup import Sharing
from octavo.tflite.graph import Graph, serialize
from octavo.tflite.size import breakdown


def test_breakdown_adds_up_and_finds_the_weights() -> None:
    content = tiny_tflite()
    parts = breakdown(content)
    assert sum(vars(parts).values()) == len(content)
    # conv 3*6 + bias 6, dense 6*3, in float32, beside axes and converter metadata.
    assert parts.weights >= 4 * (18 + 6 + 18)
    assert parts.quantization == 0
    assert parts.names > 0


def test_inspect_counts_by_hand() -> None:
    value = inspect(Graph(tiny_tflite()))
    ops = {row["op"]: row for row in value["ops"]}
    assert value["kind"] == "float"
    assert ops["CONV_2D"]["macs"] == 8 * 8 * 6 * 3
    assert ops["FULLY_CONNECTED"]["macs"] == 6 * 3
    assert value["macs"] == 8 * 8 * 6 * 3 + 6 * 3
    assert value["inputs"][0]["shape"] == [1, 8, 8, 3]
    assert value["no_int8_form"] == []
    assert value["classes"] is None


def test_what_two_buffers_share_counts_once() -> None:
    model = Graph(tiny_tflite()).copied()
    twin = copy.copy(model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]])
    model.buffers.append(model.buffers[twin.buffer])
    twin.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(twin)
    apart, shared = serialize(model), serialize(model, Sharing(1024))
    size = 4 * 6 * 3
    assert breakdown(apart).weights - breakdown(shared).weights == size
    assert sum(vars(breakdown(shared)).values()) == len(shared)
