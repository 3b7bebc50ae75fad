"""Bias correction: rounded weights shift the mean of an op's outputs, and a change of the bias removes that shift.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction" (arXiv 1906.04721, section
4.2, equation 17): weight errors e shift an output channel by ``e E[x]``, where ``E[x]`` is the mean of the op's
inputs. Here the mean is over the calibration images. (The paper's data-free form takes it from the batch norms, which a
`.tflite` graph no longer has.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import QParams
from octavo.base.progress import Progress
from octavo.quantization.observer import Observer
from octavo.quantization.observers import Images, run_observers
from octavo.quantization.ranges import Ranges
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import bias_of
from octavo.tuning.im2col import kernels, known, windows
from octavo.tuning.tuning_pass import Plan, Tuned, TuningPass

Array = npt.NDArray[Any]

# Means of single images are stored as integers, in units of this share of a code. So the order of summation does not
# change the sum.
_FINE = 2.0**-24


def correct_biases(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Changes the biases of a float graph so that the mean outputs of every op are right in int8."""
    table = plan(graph, ranges)
    ops, unchanged = known(graph, table)
    biased = [op for op in ops if bias_of(graph, op) is not None]
    unchanged += [f"{op} has no bias to correct" for op in ops if op not in biased]
    entries = [graph.tensors[op.inputs[0]] for op in biased]
    params = [table.at(op, entry) for op, entry in zip(biased, entries, strict=True)]
    rules = [_observer(graph, op, at) for op, at in zip(biased, params, strict=True) if at is not None]
    with progress.track("bias correction", len(images)) as advance:
        states: list[Array] = run_observers(graph, entries, images, rules, advance)
    changed: dict[str, Array] = {}
    figures: dict[str, Any] = {}
    for op, at, sums in zip(biased, params, states, strict=True):
        weights, bias = (graph.tensors[index] for index in op.inputs[1:3])
        assert at is not None and weights.constant is not None and bias.constant is not None
        stored = table.stored[weights.name]
        off = kernels(op, stored.dequantize(stored.quantize(weights.constant))) - kernels(op, weights.constant)
        shift = (off * (sums * (_fine(at) / len(images)))).sum(axis=1)
        changed[bias.name] = (bias.constant - shift).astype(np.float32)
        figures[bias.name] = {"largest": float(np.abs(shift).max()), "mean": float(np.abs(shift).mean())}
    summary = (
        f"Corrected the biases of {len(biased)} ops for the mean shift of their outputs that rounded weights cause."
    )
    return Tuned(graph.replaced(changed), ranges, summary, tuple(unchanged), figures)


BIAS = TuningPass(correct_biases)


def _fine(params: QParams) -> float:
    return float(params.scale[0]) * _FINE


def _observer(graph: Graph, op: Op, params: QParams) -> Observer:
    """For every op, the sum over images of its mean input row: ``(columns,)``, or ``(output channels, taps)``."""
    look = windows(graph, op)

    def update(state: Array, values: Array) -> Array:
        mean = look(values).mean(axis=0, dtype=np.float64).T
        return np.asarray(state + np.rint(mean / _fine(params)))

    return Observer(init=lambda: np.zeros(1), update=update, merge=np.add, finish=lambda state: (0.0, 0.0))
