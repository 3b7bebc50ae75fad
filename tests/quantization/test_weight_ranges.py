"""Files whose weights have other ranges than those of their values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from smallnet import batch, small_tflite

from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.tflite.graph import Graph

FOUR_BITS = {"*": "int4"}


def test_a_file_holds_the_ranges_that_its_weights_were_given() -> None:
    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, batch(8))
    table = quantize(graph, ranges, precision=FOUR_BITS).table  # type: ignore[arg-type]
    weights = {name: params for name, params in table.stored.items() if params.bits == 4}
    assert len(weights) > 2
    # Wider for one, narrower for another; the rest as they are.
    (wide, first), (narrow, second), *others = weights.items()
    given = {wide: tuple(first.maximum * 1.7), narrow: tuple(second.maximum * 0.6)}
    ranges = Ranges.from_json(replace(ranges, weights=given).to_json())
    made = quantize(graph, ranges, precision=FOUR_BITS)  # type: ignore[arg-type]
    prove(made)
    written = {t.name: t for t in Graph(made.content).tensors}
    real = {t.name: t.constant for t in graph.tensors}
    for name, params in weights.items():
        scale = written[name].qparams.scale  # type: ignore[union-attr]
        wanted = (np.array(given[name]) / 7).astype("f4") if name in given else params.scale
        np.testing.assert_array_equal(scale, wanted)
        shape = [-1 if axis == params.axis else 1 for axis in range(real[name].ndim)]  # type: ignore[union-attr]
        codes = np.clip(np.rint(real[name] / scale.astype("f8").reshape(shape)), -7, 7)  # type: ignore[operator]
        np.testing.assert_array_equal(written[name].constant, codes)
    assert np.abs(written[wide].constant).max() < 7  # type: ignore[arg-type]
    assert len(others) > 0
