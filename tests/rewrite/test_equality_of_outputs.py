"""The comparison of two files of one model looks at every output, and takes any inputs."""

from __future__ import annotations

import numpy as np
import pytest
from handmade import File

from octavo.base.errors import ProofError
from octavo.rewrite import equality
from octavo.runtime.litert import inputs_of
from octavo.tflite.graph import Graph


def two_outputs(second: str) -> Graph:
    """The sum of two inputs, and another result of them."""
    file = File()
    a, b = file.tensor("a", (1, 3)), file.tensor("b", (1, 3))
    total, other = file.tensor("total", (1, 3)), file.tensor("other", (1, 3))
    file.op("ADD", [a, b], [total], "Add")
    file.op(second.upper(), [a, b], [other], second)
    return file.ports([a, b], [total, other]).graph()


def test_a_difference_in_the_second_output_is_found() -> None:
    one, other = two_outputs("Sub"), two_outputs("Mul")
    raw = equality.samples(inputs_of(one), 8)
    for found in equality.compare(one, other, raw, raw):
        wanted = max(float(np.abs((a - b) - a * b).max()) for a, b in raw)
        assert not found.equal and found.steps == pytest.approx(wanted, rel=1e-5)
        # The class is that of the first output, which is the same.
        assert found.agreement == 1.0 and found.distinct == 8
    assert all(found.equal for found in equality.compare(one, one, raw, raw))


def test_models_without_an_image_are_proved_too() -> None:
    equality.prove(two_outputs("Sub"), two_outputs("Sub"), None, "the copy")
    with pytest.raises(ProofError, match="the copy differ from its model's on the xnnpack kernels"):
        equality.prove(two_outputs("Sub"), two_outputs("Mul"), None, "the copy")
