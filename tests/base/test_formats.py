from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from octavo.base.affine import QParams
from octavo.base.formats import DEFAULT, FORMATS, Precision, named, trainable
from octavo.quantization.precision import possible
from octavo.recipe.schema import QuantizeRecipe
from octavo.tflite.graph import Op
from octavo.tflite.op_table import TABLE


def test_every_name_has_a_row_and_words() -> None:
    assert get_args(Precision) == tuple(FORMATS)
    assert all(row.meaning for row in FORMATS.values())
    assert named().count(",") == len(FORMATS) - 2
    assert not {name for name, row in FORMATS.items() if not row.trainable} & set(trainable().replace(",", "").split())


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_says_what_its_codes_can_be(name: Precision) -> None:
    row = FORMATS[name]
    if not row.integer:
        assert (row.weight_type, row.activation_type) == ("float32", "float32")
        return
    weights = QParams.symmetric(QParams.from_range(-1, 1).scale, None, row.weights)
    assert (weights.qmin, weights.qmax) == (-row.largest_weight, row.largest_weight)
    # A sum is a bias and as many products again.
    assert row.largest_bias <= 2 ** (row.biases - 2)


def test_the_op_table_knows_no_other_precision_and_int8_of_every_op() -> None:
    for kind, rules in TABLE.items():
        assert set(rules.forms) <= {name for name, row in FORMATS.items() if row.integer}, kind
        assert DEFAULT in rules.forms, kind
        op = Op(0, kind, (), (), None, 1)
        assert possible(op) == (*(name for name in FORMATS if name in rules.forms), "float")


@pytest.mark.parametrize("name", FORMATS)
def test_recipes_train_what_is_trainable(name: Precision) -> None:
    assert QuantizeRecipe(method="ptq", precision={"*": name}).precision == {"*": name}
    if FORMATS[name].trainable:
        assert QuantizeRecipe(method="qat", precision={"*": name}).method == "qat"
    else:
        with pytest.raises(ValidationError, match=f"does not simulate {name}: use {trainable()}"):
            QuantizeRecipe(method="qat", precision={"*": name})


def test_what_is_trainable_has_the_activations_that_the_simulation_rounds_to() -> None:
    usual = FORMATS[DEFAULT]
    for row in FORMATS.values():
        if row.trainable and row.integer:
            assert (row.activations, row.biases, row.largest_bias, row.symmetric) == (
                *(usual.activations, usual.biases),
                *(usual.largest_bias, usual.symmetric),
            )
