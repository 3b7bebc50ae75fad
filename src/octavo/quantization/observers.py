"""Runs observers, chosen by name, over images, in one pass on all cores. `octavo.quantization.observer` defines them.

`minmax` keeps every value inside the range. The others clip outliers for a finer step, and differ in how they weigh
the clipping error against the rounding error. `octavo.recipe.choices` lists them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import QuantizationError
from octavo.quantization.minmax import MINMAX
from octavo.quantization.observer import Observer
from octavo.quantization.ranges import Ranges
from octavo.recipe import choices
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Tensor
from octavo.tflite.op_table import clips

Array = npt.NDArray[Any]
Progress = Callable[[int], None]
# Raw inputs of a model: each item is an array, or a tuple of arrays if the model has several inputs.
Images = Sequence[Array | tuple[Array, ...]] | Array

OBSERVERS: Mapping[str, Observer] = choices.Loaded(choices.OBSERVERS)


def run_observers(
    graph: Graph,
    tensors: Sequence[Tensor],
    images: Images,
    rules: Sequence[Observer],
    progress: Progress = lambda done: None,
    look: Callable[[int, list[Array]], None] = lambda place, outputs: None,
) -> list[Any]:
    """Runs an observer for each tensor over the images, in one pass on all cores, and returns their states.

    The tensors become outputs of a copy of the graph, so that the runtime's own fast kernels compute them. Only the
    states are kept of an image. A tensor that an activation function clips is skipped once both of its bounds were
    reached: these tensors hold seven of eight values of MobileNetV2.

    Args:
        graph: A float graph.
        tensors: The activations to observe.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        rules: The observer of each tensor.
        progress: Called with 1 after each image.
        look: Called with the place of each image and the graph's own outputs, as `Model.each` does.
    """
    exposed = list(dict.fromkeys((*(tensor.index for tensor in tensors), *graph.outputs)))
    exits = [exposed.index(index) for index in graph.outputs]
    # One list of states for each thread: the loop needs no lock, and the order of merging does not matter.
    local: dict[int, list[Any]] = {}
    makers = [graph.producers.get(tensor.index) for tensor in tensors]
    bounds = [(-np.inf, np.inf) if maker is None else clips(maker) for maker in makers]

    def observe_image(place: int, outputs: list[Array]) -> None:
        states = local.setdefault(threading.get_ident(), [rule.init() for rule in rules])
        for index, (rule, within, values) in enumerate(zip(rules, bounds, outputs, strict=False)):
            if not rule.settled(states[index], within):
                states[index] = rule.update(states[index], values)
        look(place, [outputs[at] for at in exits])
        progress(1)

    Model(graph.exposed([graph.tensors[index] for index in exposed])).each(images, observe_image)
    merged = [rule.init() for rule in rules]
    for states in local.values():
        merged = [rule.merge(a, b) for rule, a, b in zip(rules, merged, states, strict=True)]
    return merged


def rules_for(graph: Graph, tensors: Sequence[Tensor], observer: str) -> list[Observer]:
    """The observer of each tensor: min-max for inputs that are images, the named one for all other tensors.

    Pixels have 256 values within known bounds, and 256 codes represent them all: clipping them would only add error.
    Other inputs, such as those of sensors, have outliers, as activations do.

    Raises:
        QuantizationError: There is no such observer.
    """
    if observer not in OBSERVERS:
        raise QuantizationError(f"There is no observer '{observer}'.", f"Use one of {', '.join(OBSERVERS)}.")
    return [MINMAX if tensor.is_image and tensor.index in graph.inputs else OBSERVERS[observer] for tensor in tensors]


def observe(graph: Graph, images: Images, observer: str = "minmax", progress: Progress = lambda done: None) -> Ranges:
    """Finds the range of every activation over the images; NaN or infinite if a value was.

    Args:
        graph: A float graph.
        images: Raw inputs, float32, each ``(height, width, channels)``.
        observer: A name in `OBSERVERS`.
        progress: Called with 1 after each image.

    Raises:
        QuantizationError: There is no such observer.
    """
    tensors = graph.activations
    rules = rules_for(graph, tensors, observer)
    states = run_observers(graph, tensors, images, rules, progress)
    found = {tensor.name: rule.finish(state) for tensor, rule, state in zip(tensors, rules, states, strict=True)}
    return Ranges(observer, len(images), found)
