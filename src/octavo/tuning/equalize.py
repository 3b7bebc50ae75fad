"""Cross-layer equalization: scales channels that share one range, so that all of them use it well.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction" (arXiv 1906.04721, section
4.1): if only ops that commute with a positive scale lie between two layers, channel i of the tensors between them can
be divided by any s_i > 0, and the weights that read it multiplied by s_i. The outputs do not change.

In the paper weights have one range per tensor. Here they have one per channel, so the pass balances the ranges of the
activations (one per tensor) and of the input channels of the weights that read them. Scales are powers of two: every
product is then exact in floating point, and the equalized graph computes the same outputs bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.progress import Advance, Progress
from octavo.quantization.observer import Observer
from octavo.quantization.observers import Images, observe, run_observers
from octavo.quantization.ranges import Ranges
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import TABLE, activation, clips, row
from octavo.tuning.tuning_pass import Plan, Tuned, TuningPass

Array = npt.NDArray[Any]

_SIX = 6.0
# A channel that is scaled up must stay below 6 by this factor, since other images may reach higher values.
_HEADROOM = 2.0


@dataclass(frozen=True)
class Region:
    """Tensors whose channels must be scaled together, with the ops that write and read them.

    Args:
        tensors: The tensors, in order.
        capped: Those that are outputs of a ReLU6.
        writers: Ops with weights that compute the channels.
        readers: Ops with weights that read the channels.
    """

    tensors: tuple[Tensor, ...]
    capped: tuple[Tensor, ...]
    writers: tuple[Op, ...]
    readers: tuple[Op, ...]


def equalize(graph: Graph, ranges: Ranges, images: Images, plan: Plan, progress: Progress) -> Tuned:
    """Balances the channels of every region of a float graph, and measures the ranges again.

    A channel that reaches 6 in a ReLU6 on any image keeps its scale, and no other channel is scaled beyond 6. So on
    these images the outputs stay the same, bit for bit. On other images a ReLU6 may clip at another value, but there
    the int8 range clips too.
    """
    found, unchanged = regions(graph)
    with progress.track("equalize: channels", len(images)) as advance:
        peaks = channel_peaks(graph, found, images, advance)
    scales = [_scales(graph, region, peaks) for region in found]
    figures: dict[str, Any] = {
        region.tensors[0].name: {
            "channels": len(scale),
            "scaled": int(np.count_nonzero(scale != 1)),
            "smallest": float(scale.min()),
            "largest": float(scale.max()),
        }
        for region, scale in zip(found, scales, strict=True)
        if np.any(scale != 1)
    }
    if not figures:
        summary = "Nothing to equalize: every channel is within a factor of two of its best scale."
        return Tuned(graph, ranges, summary, tuple(unchanged), exact=True)
    made = rescaled(graph, found, scales)
    with progress.track("equalize: ranges", len(images)) as advance:
        ranges = observe(made, images, ranges.observer, advance)
    scaled = sum(entry["scaled"] for entry in figures.values())
    count = sum(entry["channels"] for entry in figures.values())
    summary = f"Scaled {scaled:,} of {count:,} channels in {len(figures)} regions of the graph, by powers of two."
    return Tuned(made, ranges, summary, tuple(unchanged), figures, exact=True)


EQUALIZE = TuningPass(equalize)


def rescaled(graph: Graph, found: Sequence[Region], scales: Sequence[Array]) -> Graph:
    """The same function with the channels of some regions divided by scales, and the weights that read them multiplied.

    Args:
        graph: A float graph in which no two ops share a constant.
        found: Regions of it.
        scales: For each region its scales, ``(channels,)``; powers of two are exact.
    """
    constants: dict[str, Array] = {t.name: t.constant for t in graph.tensors if t.constant is not None}
    changed: dict[str, Array] = {}
    for region, scale in zip(found, scales, strict=True):
        for tensor, axis, factor in _parts(graph, region, scale):
            shape = [1] * len(tensor.shape)
            shape[axis] = -1
            values = changed.get(tensor.name, constants[tensor.name])
            changed[tensor.name] = (values * factor.reshape(shape)).astype(np.float32)
    return graph.replaced(changed)


def regions(graph: Graph) -> tuple[list[Region], list[str]]:
    """The regions whose channels can be scaled, and the reasons why others cannot.

    Args:
        graph: A float graph in which no two ops share a constant.

    Returns:
        The regions, and a sentence for every tensor between weights that is in none.
    """
    found: list[Region] = []
    unchanged: list[str] = []
    visited: set[int] = set()
    for op in graph.ops:
        start = op.outputs[0] if op.outputs else -1
        if _weights(graph, op) is None or start in visited:
            continue
        inside, why = _flood(graph, start)
        visited |= inside
        touched = [o for o in graph.ops if inside & {*o.inputs, *o.outputs}]
        writers = [o for o in touched if o.outputs[0] in inside and _weights(graph, o) is not None]
        readers = [o for o in touched if _weights(graph, o) is not None and _image(o) in inside]
        if why is None and not readers:
            why = "no weights read it"
        if why is not None:
            unchanged.append(f"'{graph.tensors[start].name}' is not equalized: {why}")
            continue
        made = [o for o in touched if o.outputs[0] in inside]
        capped = tuple(graph.tensors[o.outputs[0]] for o in made if _caps(o))
        tensors = tuple(graph.tensors[o.outputs[0]] for o in made)
        found.append(Region(tensors, capped, tuple(writers), tuple(readers)))
    return found, unchanged


def _flood(graph: Graph, start: int) -> tuple[set[int], str | None]:
    """The tensors that must be scaled together with one of them, and what prevents it."""
    inside, border, why = {start}, [start], None
    channels = graph.tensors[start].shape[-1]
    while border:
        index = border.pop()
        maker = graph.producers.get(index)
        if index in graph.outputs:
            why = why or "it is an output of the model"
        if maker is None:
            why = why or "no weights lie between it and an input of the model"
        for op in (*([maker] if maker is not None else []), *graph.consumers.get(index, ())):
            if _weights(graph, op) is not None:
                reads = _image(op) == index
                problem = _unscalable_writer(op) if op is maker else None
                if op is not maker and (not reads or not _reads_channels(graph, op, channels)):
                    problem = f"{op} does not read it channel by channel"
                why = why or problem
                continue
            others = [i for i in (*op.inputs, *op.outputs) if i >= 0 and graph.tensors[i].dtype == "float32"]
            if not _commutes(graph, op, others, channels):
                why = why or f"{op} does not commute with a scale"
                continue
            new = [i for i in others if i not in inside]
            inside.update(new)
            border.extend(new)
    return inside, why


def _weights(graph: Graph, op: Op) -> Tensor | None:
    """The constant weights of an op; None if it has none."""
    rules = row(op)
    if rules is None or rules.weight is None:
        return None
    tensor = graph.tensors[op.inputs[rules.weight]]
    return tensor if tensor.constant is not None and tensor.dtype == "float32" else None


def _image(op: Op) -> int:
    """The input that the weights of an op multiply."""
    rules = row(op)
    assert rules is not None
    return op.inputs[rules.image]


def _scales_with(kind: str | None) -> bool:
    """Whether an operator, or none, commutes with a scale."""
    return kind is None or (kind in TABLE and TABLE[kind].scales)


def _caps(op: Op) -> bool:
    return clips(op) == (0.0, 6.0)


def _unscalable_writer(op: Op) -> str | None:
    if not _scales_with(activation(op)):
        return f"the activation function of {op} does not commute with a scale"
    return None


def _reads_channels(graph: Graph, op: Op, channels: int) -> bool:
    """Whether every input channel has its own weights, unlike in grouped convolutions and after a flattening."""
    weights = _weights(graph, op)
    assert weights is not None
    return weights.shape[-1] % channels == 0 if TABLE[op.kind].depthwise else weights.shape[-1] == channels


def _commutes(graph: Graph, op: Op, tensors: list[int], channels: int) -> bool:
    if not (_scales_with(op.kind) and _scales_with(activation(op))):
        return False
    # A constant summand would have to be scaled too, and a mean must not run over channels.
    return all(graph.tensors[i].constant is None and graph.tensors[i].shape[-1] == channels for i in tensors)


def channel_peaks(graph: Graph, found: Sequence[Region], images: Images, advance: Advance) -> dict[str, Array]:
    """The largest magnitude of every channel of every tensor of some regions over images, ``(channels,)``, by name."""
    tensors = list({t.index: t for region in found for t in region.tensors}.values())

    def update(state: Array | None, values: Array) -> Array:
        peak = np.asarray(np.abs(values).reshape(-1, values.shape[-1]).max(axis=0))
        return peak if state is None else np.maximum(state, peak)

    def merge(first: Array | None, second: Array | None) -> Array | None:
        return first if second is None else second if first is None else np.maximum(first, second)

    rule = Observer(init=lambda: None, update=update, merge=merge, finish=lambda state: (0.0, 0.0))
    if not tensors:
        return {}
    states = run_observers(graph, tensors, images, [rule] * len(tensors), advance)
    return {tensor.name: state for tensor, state in zip(tensors, states, strict=True)}


def _scales(graph: Graph, region: Region, peaks: dict[str, Array]) -> Array:
    """The scale of every channel, a power of two; 1 if it is not scaled.

    ``s_i = sqrt(r1_i / r2_i)`` (equation 11 of the paper), with r1 the magnitude of activation channel i and r2 the
    largest ratio of one of its weights to the range of the weight's kernel. A depthwise kernel has a range for every
    channel, so only r1 counts.
    """
    largest = np.max([peaks[t.name].astype(np.float64) for t in region.tensors], axis=0)
    reading = [_share_of_range(graph, op) for op in region.readers if not TABLE[op.kind].depthwise]
    wanted = np.sqrt(largest / np.maximum(np.max(reading, axis=0), 1e-3)) if reading else largest
    alive = largest > 0
    if not alive.any():
        return np.ones_like(largest)
    # The largest channel keeps about its magnitude, since a factor common to all channels changes nothing.
    safe = np.where(alive, wanted, 1.0)
    safe = safe * (largest[alive] / safe[alive]).max() / largest.max()
    # Rounded up, so that no channel becomes larger than the largest.
    scale = np.where(alive, 2.0 ** np.ceil(np.log2(safe) - 1e-9), 1.0)
    for tensor in region.capped:
        lowest = 2.0 ** np.ceil(np.log2(np.maximum(peaks[tensor.name], 1e-9) * _HEADROOM / _SIX))
        scale = np.where(peaks[tensor.name] >= _SIX, 1.0, np.maximum(scale, np.minimum(lowest, 1.0)))
    return np.asarray(scale)


def _share_of_range(graph: Graph, op: Op) -> Array:
    """For every input channel, the largest ratio of one of its weights to the range of the weight's kernel."""
    weights = _weights(graph, op)
    assert weights is not None and weights.constant is not None
    magnitude = np.abs(weights.constant.astype(np.float64)).reshape(weights.shape[0], -1, weights.shape[-1])
    whole = magnitude.max(axis=(1, 2), keepdims=True)
    return np.asarray((magnitude / np.where(whole > 0, whole, 1.0)).max(axis=(0, 1)))


def _parts(graph: Graph, region: Region, scale: Array) -> Iterator[tuple[Tensor, int, Array]]:
    """Every constant to change, with its channel axis and its factors."""
    for op in region.writers:
        weights, rules = _weights(graph, op), row(op)
        assert weights is not None and rules is not None and rules.axis is not None and rules.bias is not None
        yield weights, rules.axis, 1 / scale
        if rules.bias < len(op.inputs) and op.inputs[rules.bias] >= 0:
            yield graph.tensors[op.inputs[rules.bias]], 0, 1 / scale
    for op in region.readers:
        weights = _weights(graph, op)
        assert weights is not None
        # Input channel i of a depthwise kernel computes `multiplier` outputs, from i * multiplier on.
        yield weights, len(weights.shape) - 1, np.repeat(scale, weights.shape[-1] // len(scale))
