"""`Simulation`: a float graph that computes as its int8 file will, from a graph and its ranges."""

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
    """A float graph that computes as its int8 file will; its weights and activation ranges are trainable.

    Args:
        graph: The float graph.
        ranges: The initial ranges of its activations; `set_ranges` can set them later.
        allow_float: Leave ops without an int8 form in float, instead of raising.
        precision: Ops that are not int8, as `octavo.quantization.precision.resolve` takes it.
        name: What Keras calls the model.

    Raises:
        ModelError: The graph has ops that the simulation does not know; each is listed.
        QuantizationError: The graph has ops without an int8 form and `allow_float` is off, or ops that do not
            support their `precision`; each is listed. Or training does not simulate a precision.
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
        """The graph, its initial ranges and its teacher; the current ranges are variables."""
        return self._rounded_config()

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`."""
        made = cls(**arguments(config))
        made._take(config, custom_objects)
        return made
