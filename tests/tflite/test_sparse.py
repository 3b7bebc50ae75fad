"""Sparse constants, dense as LiteRT's own DENSIFY makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade import answers
from sparsefile import CASES, holey, sparse_file, sparsify

from octavo.base.errors import ModelError
from octavo.tflite.sparse import dense


@pytest.mark.parametrize("case", CASES)
def test_a_sparse_constant_is_what_litert_makes_dense(case: str) -> None:
    file, whole = sparse_file(case)
    graph = file.graph()
    (stored,) = graph.sparse
    np.testing.assert_array_equal(graph.tensors[stored].constant, whole)
    np.testing.assert_array_equal(answers(graph.content, np.zeros_like(whole))[0], whole)


def test_a_replaced_sparse_constant_is_dense() -> None:
    file, whole = sparse_file("rows")
    changed = file.graph().replaced({"stored": whole + 1})
    assert changed.sparse == ()
    assert changed.tensors[0].constant is not None
    np.testing.assert_array_equal(changed.tensors[0].constant, whole + 1)


@pytest.mark.parametrize(
    ("part", "value"),
    [("arraySegments", [0, 2, 900, 4, 5, 6]), ("arraySegments", [0, 9, 2, 3, 4, 5]), ("arrayIndices", [200] * 9)],
)
def test_damaged_parameters_are_one_clear_error(part: str, value: list[int], tmp_path: Path) -> None:
    file, _ = sparse_file("rows")
    level = file.at.tensors[0].sparsity.dimMetadata[1]
    getattr(level, part).values = value
    with pytest.raises(ModelError, match="is damaged"):
        file.graph()


def test_more_places_than_the_array_has_are_refused_before_memory_is_taken() -> None:
    kept, parameters = sparsify(holey(4, 4), [0, 1], ["dense", "csr"])
    parameters.dimMetadata[0].denseSize = 1 << 40
    with pytest.raises(ValueError, match="an index outside its shape"):
        dense(kept, (4, 4), parameters)
