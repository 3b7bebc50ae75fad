"""What changed between two files, of files made by hand whose differences are known."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, values
from shell import octavo, refused

import octavo as api
from octavo.analysis import diff as module
from octavo.analysis import diff_views
from octavo.analysis.diff import Described, Diff, align, diff
from octavo.data.preprocess import Preprocess
from octavo.source.sidecar import Sidecar, write_model
from octavo.tflite.graph import Graph
from octavo.tflite.metadata import attach

WEIGHTS = values(6, 4)


def network(
    weights: np.ndarray = WEIGHTS,
    scale: Any = None,
    prefix: str = "",
    relu: bool = False,
    activation: int = 0,
    turned: bool = False,
    signature: str = "serving",
) -> bytes:
    """Two dense layers, by default in float.

    Args:
        weights: Of the first layer.
        scale: Its scale if it is quantized.
        prefix: Before the name of every tensor.
        relu: Whether a RELU lies between them.
        activation: The number of the first layer's own activation function.
        turned: Whether the constants lie in the file in another order.
        signature: The name of its signature.
    """
    file = File()
    x = file.tensor(f"{prefix}x", (1, 4))
    middle, after, out = (file.tensor(f"{prefix}{name}", (1, 6)) for name in ("middle", "after", "out"))
    constants = [("first", weights, scale), ("second", values(6, 6, seed=1), None)]
    made = {name: file.constant(f"{prefix}{name}", *given) for name, *given in constants[:: -1 if turned else 1]}
    file.op(
        "FULLY_CONNECTED",
        [x, made["first"], -1],
        [middle],
        "FullyConnected",
        fusedActivationFunction=activation,
    )
    if relu:
        file.op("RELU", [middle], [after])
    file.dense(after if relu else middle, made["second"], out)
    file.ports([x], [out]).signature(signature, {"x": x}, {"y": out})
    return file.bytes()


def found(before: bytes, after: bytes, *sidecars: Sidecar | None) -> Diff:
    one, two = sidecars or (None, None)
    return diff(Described("a", before, Graph(before, "a"), one), Described("b", after, Graph(after, "b"), two))


def test_equal_files_do_not_differ() -> None:
    made = found(network(), network())
    assert made.equal and made.size == made.tensors == made.signature == ()
    assert repr(made) == "Diff(no difference between a and b)"
    turned = found(network(), network(turned=True))
    assert turned.equal and turned.before.sha256 != turned.after.sha256
    assert "but the bytes lie in another order" in repr(turned)


def test_weights_are_compared_as_reals_and_as_codes() -> None:
    codes = np.arange(-12, 12, dtype=np.int8).reshape(6, 4)
    other = codes.copy()
    other[0, 0], other[5, 3] = 100, 5
    scale = np.linspace(0.01, 0.06, 6, dtype=np.float32)
    made = found(network(codes, scale), network(other, scale))
    (change,) = made.tensors
    assert (change.before, change.op, change.changes) == ("first", "FULLY_CONNECTED #0", ())
    old, new = (given.astype(np.float64) * scale.astype(np.float64)[:, None] for given in (codes, other))
    assert change.values is not None
    assert change.values.max == pytest.approx(np.abs(new - old).max())
    assert change.values.rms == pytest.approx(np.sqrt(np.mean((new - old) ** 2)))
    assert change.values.relative == pytest.approx(np.sqrt(np.mean((new - old) ** 2) / np.mean(old**2)))
    assert (change.values.codes, change.values.count) == (2, 24)
    assert not made.equal and not (made.ops or made.added or made.removed or made.renamed or made.size)


def test_another_type_and_scale_are_changes_of_form() -> None:
    codes = np.rint(WEIGHTS / 0.01).clip(-127, 127).astype(np.int8)
    (change,) = found(network(), network(codes, 0.01)).tensors
    told = {item.key: (item.before, item.after) for item in change.changes}
    assert told == {
        "type": ("float32", "int8"),
        "scale": (None, pytest.approx(0.01)),
        "zero_point": (None, 0),
    }
    assert change.values is not None and change.values.codes is None and change.values.max is not None
    assert change.values.max == pytest.approx(np.abs(codes * np.float32(0.01) - WEIGHTS).max(), rel=1e-4)
    (moved,) = found(network(codes, 0.01), network(codes, 0.02)).tensors
    # The codes are the same and mean twice as much.
    assert moved.values is not None and (moved.values.codes, moved.values.relative) == (0, pytest.approx(1.0))


def test_the_most_changed_constant_comes_first() -> None:
    little, much = network(WEIGHTS + 1e-4), network(WEIGHTS * 3)
    assert found(network(), little).tensors[0].values != found(network(), much).tensors[0].values
    file = network(WEIGHTS + 1e-4)
    model = Graph(file, "b").replaced({"second": np.zeros((6, 6), np.float32)})
    made = found(network(), model.content)
    assert [change.before for change in made.tensors] == ["second", "first"]
    assert made.tensors[0].values is not None and made.tensors[0].values.relative == pytest.approx(1.0)


def test_an_op_more_is_found_whatever_the_names() -> None:
    made = found(network(), network(relu=True, prefix="other/"))
    assert [(item.op, item.name) for item in made.added] == [("RELU #1", "other/after")]
    assert (made.removed, made.ops, made.tensors) == ((), (), ())
    # x, middle, out, and two constants
    assert made.renamed == 5
    back = found(network(relu=True), network())
    assert [item.op for item in back.removed] == ["RELU #1"] and back.added == () and back.tensors == ()


def test_options_are_named() -> None:
    (change,) = found(network(), network(activation=1)).ops
    assert (change.before, change.name) == ("FULLY_CONNECTED #0", "middle")
    (option,) = change.changes
    assert (option.key, option.before, option.after) == ("fusedActivationFunction", "NONE", "RELU")


def test_what_programs_and_people_read() -> None:
    one = Sidecar(Preprocess((8, 8)), ("a", "b"))
    two = Sidecar(Preprocess((8, 8), scale=(0.0, 1.0)), ("b", "a"))
    said = [str(change) for change in found(network(), network(), one, two).sidecar]
    assert said == ['classes ["a", "b"] -> ["b", "a"]', "preprocess.scale 2 of -1 to 1 -> 2 of 0 to 1"]
    assert [change.key for change in found(network(), network(), None, two).sidecar] == ["classes", "preprocess"]
    made = found(network(), network(signature="other"))
    assert [(item.key, item.before, item.after) for item in made.signature] == [("keys", ["serving"], ["other"])]
    described = attach(Graph(network()), {"name": "Digits"}, {}).content
    assert [(item.key, item.after) for item in found(network(), described).metadata] == [("name", "Digits")]


def test_json_holds_no_infinity() -> None:
    file = File()
    x, y = file.tensor("x", (1, 2)), file.tensor("y", (1, 2))
    file.op("SOFTMAX", [x], [y], "Softmax", beta=float("inf"))
    hostile = file.ports([x], [y]).bytes()
    nan = WEIGHTS * np.float32("nan")
    for made in (found(network(), hostile), found(network(), network(nan)), found(network(nan), network(nan))):
        json.dumps(made.to_json(), allow_nan=False)
        assert diff_views.lines(made) and made._repr_html_()
    assert found(network(nan), network(nan)).equal


def chain(kinds: str) -> Graph:
    """A row of unary ops of one shape: N for NEG, A for ABS."""
    file = File()
    last = first = file.tensor("x", (1, 2))
    for place, kind in enumerate(kinds):
        last, before = file.tensor(f"{kinds[:1]}{place}", (1, 2)), last
        file.op({"N": "NEG", "A": "ABS"}[kind], [before], [last])
    return file.ports([first], [last]).graph()


def test_alignment_keeps_the_order() -> None:
    pairs = align(chain("NNANA"), chain("ANAAN"))
    assert [(one.index, two.index) for one, two in pairs] == [(2, 0), (3, 1), (4, 2)]
    assert all(one.kind == two.kind for one, two in pairs)


def test_alignment_ends_where_difflib_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two letters in rows are difflib's worst case: 800 of them take 12 s."""
    first, second = "NA" * 2000, "N" * 2000 + "A" * 2000
    monkeypatch.setattr(module, "MOST_ALIGNED", 1_000_000)
    start = time.perf_counter()
    blocks = module._blocks(first, second, module.MOST_ALIGNED)
    assert time.perf_counter() - start < 20
    end = (0, 0)
    for i, j, count in blocks:
        assert i >= end[0] and j >= end[1] and first[i : i + count] == second[j : j + count]
        end = (i + count, j + count)
    assert sum(count for _, _, count in blocks) > 500
    assert module._blocks("NA" * 50, "NA" * 50, 100)[0][2] > 0
    assert sum(count for *_, count in module._blocks("NA" * 50, "NA" * 50, 100)) == 100


def test_the_shell_exits_as_diff_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tflite", tmp_path / "two.tflite"
    write_model(one, network(), Sidecar(None, ("a",)))
    write_model(two, network(values(6, 4, seed=5), relu=True), Sidecar(None, ("b",)))
    same = octavo("diff", one, one)
    assert (same.returncode, same.stdout) == (0, f"no difference between {one} and {one}\n")
    other = octavo("diff", one, two)
    assert other.returncode == 1 and other.stderr == ""
    for said in ("added   RELU #1  after", "weights first  RMS ", "24 of 24 differ", 'classes ["a"] -> ["b"]'):
        assert said in other.stdout
    made = json.loads(octavo("diff", one, two, "--json").stdout)
    assert made["equal"] is False and made["added"] == [{"op": "RELU #1", "name": "after"}]
    assert "There is no file" in refused(octavo("diff", one, tmp_path / "none.tflite"))
    (tmp_path / "model.keras").write_bytes(b"")
    assert "is not a .tflite file" in refused(octavo("diff", one, tmp_path / "model.keras"))


def test_the_rest_is_counted() -> None:
    made = found(chain("N").content, chain("N" * 30).content)
    lines = diff_views.lines(made)
    assert lines.count("        and 19 more; --json lists them") == 1 and len(lines) < 20


def test_the_function_reads_files_as_they_are(tmp_path: Path) -> None:
    """An open batch is a difference, though commands that run a model set it to 1."""
    for name, batch in (("one", 1), ("open", -1)):
        file = File()
        x, y = file.tensor("x", (batch, 4)), file.tensor("y", (batch, 4))
        file.op("NEG", [x], [y])
        (tmp_path / f"{name}.tflite").write_bytes(file.ports([x], [y]).bytes())
    made = api.diff(tmp_path / "one.tflite", tmp_path / "open.tflite")
    assert [[item.key for item in change.changes] for change in made.tensors] == [["shape"], ["shape"]]
