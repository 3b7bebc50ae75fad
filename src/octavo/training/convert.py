"""Converts a trained simulation to the int8 file, and proves that the file holds the trained integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import QParams
from octavo.quantization.proof import Check, Proof, accept, prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.table import Slot
from octavo.source.tried import try_made

if TYPE_CHECKING:
    from octavo.simulate.rounded import Numbers, RoundedModel

# On a backend without float64 (JAX), the last bits of a scale may differ from the table's, and so the last digits of
# bias codes beyond 2**20.
PRECISION = 2.0**-21


@dataclass(frozen=True)
class Converted:
    """An int8 model made from a simulation, with its proof."""

    quantized: Quantized
    proof: Proof


def convert(simulation: RoundedModel) -> Converted:
    """Writes a calibrated, perhaps trained, simulation as int8.

    The simulation's weights, biases and ranges are rounded to their grids, which changes none of its
    outputs.

    Raises:
        ModelError: The simulation has no ranges yet, its weights are NaN or infinite, or LiteRT crashes on the file.
        ProofError: The file does not hold the trained integers, and must not be used.
    """
    simulation.snap()
    quantized = quantize(simulation.graph, simulation.ranges, simulation.allow_float, simulation.precision)
    try_made(quantized.content, simulation.graph.name)
    proof = prove(quantized)
    trained = accept(list(_checks(simulation.numbers(), quantized)))
    return Converted(quantized, proof.model_copy(update={"checks": [*proof.checks, *trained]}))


def _checks(numbers: Numbers, quantized: Quantized) -> Iterator[Check]:
    """Compares the trained integers with the table, to which the file was proved equal."""
    table = quantized.table
    constants = {t.name: t.constant for t in quantized.source.tensors if t.constant is not None}
    wrong = [
        name for name, codes in numbers.codes.items() if not _near(table.stored[name].quantize(constants[name]), codes)
    ]
    yield Check("every weight's and bias's code is the trained one", not wrong, len(numbers.codes), _few(wrong))
    written = {Slot(name): params for name, params in table.stored.items()} | dict(table.requantized)
    # What only ops read that the trained ranges leave in float is not rounded there.
    floats = {item.op for item in table.kept_in_float}
    readers = [op for op in quantized.source.ops if str(op) in floats]
    free = {quantized.source.tensors[i].name for op in readers for i in op.inputs if i >= 0}
    # Operands of sums that are constant at the trained ranges have no tensor in the file.
    free |= {slot.tensor for slot in numbers.params} - {t.name for t in quantized.source.tensors}
    trained = {slot: params for slot, params in numbers.params.items() if slot in written or slot.tensor not in free}
    wrong = [str(slot) for slot, params in trained.items() if slot not in written or not _same(params, written[slot])]
    yield Check(
        "every activation's scale and zero point is the trained one",
        not wrong,
        len(trained),
        _few(wrong),
    )


def _near(written: npt.NDArray[Any], trained: npt.NDArray[Any]) -> bool:
    """Equal, within the backend's precision."""
    apart = np.abs(written.astype(np.float64) - trained.astype(np.float64))
    return bool(np.all(apart <= np.floor(np.abs(trained.astype(np.float64)) * PRECISION)))


def _same(trained: QParams, written: QParams) -> bool:
    near = np.allclose(trained.scale, written.scale, rtol=PRECISION, atol=0)
    return bool(near) and np.array_equal(trained.zero_point, written.zero_point)


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
