"""`Simulation`: a float graph as its int8 form will compute it, from a graph and its ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, final

import keras

from octavo.quantization.precision import Precision
from octavo.quantization.ranges import Ranges
from octavo.simulate.rounded import RoundedModel, arguments
from octavo.tflite.graph import Graph


@final
@keras.saving.register_keras_serializable("octavo")
class Simulation(RoundedModel):
    """A float graph as its int8 form will compute it, trainable in weights and in activation ranges.

    Args:
        graph: The float graph.
        ranges: Where its activations' ranges start; `set_ranges` gives them later.
        allow_float: Leave in float what has no int8 form, instead of raising.
        precision: Ops that are not int8, as `octavo.quantization.precision.resolve` takes it.
        name: What Keras calls the model.

    Raises:
        ModelError: The graph has ops that the simulation does not know; each is listed.
        QuantizationError: The graph has ops without an int8 form and `allow_float` is off, or not the one that
            `precision` asks for; each is listed. Or that is one that is not simulated.
    """

    def __init__(
        self,
        graph: Graph,
        ranges: Ranges | None = None,
        allow_float: bool = False,
        precision: Mapping[str, Precision] | None = None,
        name: str | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(graph, allow_float, precision, name, **keywords)
        if ranges is not None:
            self.set_ranges(ranges)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the graph as int8 will: see `RoundedModel.as_int8`."""
        return self.as_int8(inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The graph, from what its ranges started, and its teacher; the ranges themselves are variables."""
        return self._rounded_config()

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`."""
        made = cls(**arguments(config))
        made._take(config, custom_objects)
        return made
