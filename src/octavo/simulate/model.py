"""A float `.tflite` graph as a Keras model: differentiable, trainable, for any batch."""

from __future__ import annotations

from typing import Any, Self, final

import keras

from octavo.simulate.graph_model import GraphModel, unpack
from octavo.simulate.kernels import KERNELS, Site
from octavo.tflite.graph import Op, Tensor

Value = Any


@final
class Exact:
    """Float arithmetic: no rounding."""

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """The value."""
        return value

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """The value."""
        return value

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """The values."""
        return weights, bias

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The output of the op's kernel."""
        return KERNELS[site.op.kind](site, *arguments)


@final
@keras.saving.register_keras_serializable("octavo")
class FloatModel(GraphModel):
    """A float `.tflite` graph in float arithmetic; see `octavo.simulate.graph_model.GraphModel`.

    Args:
        graph: The float graph.
        name: What Keras calls the model.

    Raises:
        ModelError: The graph has ops that the simulation does not know; each is listed.
    """

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **keywords: Any) -> None:
        """Keras' `compile`, with the loss adapted to the graph's last op.

        Args:
            optimizer: As in Keras; one given by its name gets a learning rate for fine-tuning, 1e-4.
            loss: As in Keras. A cross-entropy given by its name adapts to logits or probabilities.
            keywords: Keras' other arguments.

        Raises:
            ModelError: The loss was made for logits where the outputs are probabilities, or the other way round.
        """
        super().compile(*self._fitted(optimizer, loss), **keywords)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Keras' loss, of the outputs that the labels are for."""
        return self.labelled_loss(x, y, y_pred, sample_weight, training)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Called by Keras when a compiled model is loaded."""
        self._recompile(config)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the graph; shapes as in `GraphModel.call`."""
        return self.execute(inputs, Exact(), training)

    def get_config(self) -> dict[str, Any]:
        """The graph; its trained constants are variables."""
        return self._graph_config()

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`."""
        return cls(unpack(config["graph"]), name=config["name"])
