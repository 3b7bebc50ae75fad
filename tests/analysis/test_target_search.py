"""Target search: on LiteRT's own accuracies, with ways that are known to fail."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures, tiny_tflite

import octavo.tuning.adaround
from octavo.analysis.evaluate import evaluate
from octavo.analysis.target_search import WAYS, Goal, Search, search
from octavo.base.errors import QuantizationError
from octavo.base.progress import Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.quantization.quantize import Quantized
from octavo.tflite.graph import Graph

PREPROCESS = Preprocess((SIZE, SIZE))


def _set(count: int, seed: int) -> ImageSet:
    images, labels = pictures(count, seed)
    return ImageSet(list(images), labels, CLASSES, tuple(str(k) for k in range(count)))


def _search(goal: Goal, content: bytes = b"", **more: object) -> Search:
    graph = Graph(content or tiny_tflite())
    return search(graph, _set(20, 0), _set(90, 1), PREPROCESS, goal, progress=Silent(), **more)  # type: ignore[arg-type]


def hard_tflite() -> bytes:
    """The tiny classifier with one channel that is always 0, and that its dense layer weighs by thousands."""
    graph = Graph(tiny_tflite()).unshared()
    first, dense = (next(op for op in graph.ops if op.kind == kind) for kind in ("CONV_2D", "FULLY_CONNECTED"))
    names = [graph.tensors[index].name for index in (*first.inputs[1:3], dense.inputs[1])]
    old = {tensor.name: tensor.constant for tensor in graph.tensors if tensor.name in names}
    kernel, bias, weights = (np.array(old[name]) for name in names)
    kernel[3], bias[3], weights[:, 3] = 0.0, 0.0, 4000.0
    return graph.replaced(dict(zip(names, (kernel, bias, weights), strict=True))).content


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after what is tested here, not how well it is learned."""
    monkeypatch.setattr(octavo.tuning.adaround, "_STEPS", 20)


def test_the_first_way_that_meets_the_wish_is_the_last_that_is_tried() -> None:
    found = _search(Goal(drop=5.0))
    assert [trial.way for trial in found.trials] == ["minmax"]
    assert found.chosen is found.trials[0]
    again = evaluate(Graph(found.chosen.content), _set(90, 1), PREPROCESS)
    assert found.chosen.score == again.value(again.metric)
    before = evaluate(Graph(tiny_tflite()), _set(90, 1), PREPROCESS)
    assert found.float_score == before.value(before.metric)


def test_a_verdict_is_no_bolder_than_the_images() -> None:
    """No answer changes, and the interval of 90 images reaches 4 points: 10 points are shown, half a point is not."""
    wide, narrow = _search(Goal(drop=10.0)), _search(Goal(drop=0.5))
    assert wide.chosen is not None and narrow.chosen is not None
    assert narrow.chosen.against.value == 0 and narrow.chosen.needed == 765
    said = narrow.record("model").verdict
    assert said is not None and "90 validation images cannot tell whether minmax loses at most 0.5 points" in said
    assert "about 765 would (`validation`)" in said
    shown = wide.record("model").verdict
    assert shown is not None and shown.startswith("minmax loses at most 10 points: the interval of the difference goes")
    assert _search(Goal(size=10**9)).record("model").verdict is None


def test_dearer_ways_follow_until_ops_in_float_meet_it() -> None:
    """One weight of 4,000 beside others of 6 rounds these to nothing: no observer or bias mends that."""
    found = _search(Goal(drop=0.5), hard_tflite())
    ways = [trial.way for trial in found.trials]
    assert ways[: len(WAYS)] == [" + ".join((observer, *passes)) for observer, passes in WAYS]
    assert found.trials[0].against.value < -0.2
    assert found.chosen is not None
    assert ways[len(WAYS)] == "minmax + equalize + adaround"
    assert ways[len(WAYS) + 1].endswith("1 op in float")
    assert found.chosen.meets(found.goal)
    assert found.obstacles[0].op == "FULLY_CONNECTED"


def test_training_is_the_last_resort_and_may_be_missing() -> None:
    asked: list[int] = []

    def train() -> Quantized:
        asked.append(1)
        return _search(Goal(drop=100.0)).trials[0].made

    goal = Goal(drop=0.0, latency=0.0)
    found = _search(goal, train=train)
    assert asked == [1] and found.trials[-1].way == "training for int8"
    assert found.chosen is None
    assert _search(goal).trials[-1].way != "training for int8"


@pytest.mark.slow
def test_a_size_is_met_by_stripping_and_then_by_int4() -> None:
    plain = len(_search(Goal(size=10**6)).chosen.content)  # type: ignore[union-attr]
    stripped = _search(Goal(size=plain - 1))
    assert stripped.chosen is not None and stripped.chosen.way.endswith(", stripped")
    assert len(stripped.chosen.content) < plain
    fewer = _search(Goal(size=len(stripped.chosen.content) - 1))
    assert fewer.trials[-1].way.endswith("int4 weights, stripped")
    nothing = _search(Goal(size=10))
    assert nothing.chosen is None


def test_a_latency_is_this_machines() -> None:
    found = _search(Goal(latency=1e6))
    assert len(found.trials) == len(WAYS)
    assert found.chosen is not None
    assert found.chosen.score == max(trial.score for trial in found.trials)
    assert _search(Goal(latency=1e-9)).chosen is None


def test_what_cannot_be_integer_is_refused_as_ever() -> None:
    import tensorflow as tf
    from oneop import convert

    content = convert(lambda x: tf.nn.softmax(tf.reduce_mean(tf.cumsum(x, 1), [1, 2])), (1, SIZE, SIZE, 3))
    with pytest.raises(QuantizationError, match="CUMSUM"):
        _search(Goal(drop=1.0), content)


def test_json_holds_what_was_tried() -> None:
    found = _search(Goal(drop=5.0))
    value = found.record("a.tflite").to_json()
    assert value["chosen"] == "minmax" and value["goal"] == {"drop": 5.0, "size": None, "latency": None}
    (trial,) = value["trials"]
    assert trial["bytes"] == len(found.trials[0].content)
    assert np.isclose(trial["against_float"]["value"], trial["score"]["value"] - value["float"]["score"])
