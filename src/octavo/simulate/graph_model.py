"""A float `.tflite` graph as a Keras model in some arithmetic: the base of the float model and the simulations."""

from __future__ import annotations

import base64
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from octavo.base.errors import ModelError
from octavo.simulate.kernels import COMPUTED, KERNELS, Site
from octavo.simulate.losses import PROBABILITIES, fitting
from octavo.simulate.parameters import Parameter, parameters, weighted
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import row, takes_bytes

Value = Any

# What whole numbers are computed in; reals in float32.
_TYPES = {"int32": "int32", "int64": "int32", "bool": "bool"}

# For fine-tuning of trained weights; Keras' defaults are for training from scratch.
FINE_TUNING_RATE = 1e-4


class Arithmetic(Protocol):
    """How values are rounded on their way through the graph, besides the ops themselves."""

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """A tensor after the op that makes it."""

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """A tensor as `op` reads it."""

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """Trained constants as `op` reads them."""

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The output of an op for its inputs."""


class GraphModel(keras.Model, ABC):  # type: ignore[misc]
    """A float `.tflite` graph as a trainable Keras model, whose `call` says in which arithmetic it runs.

    Its weights and biases are variables; other constants do not change. Inputs have the graph's shapes, with any batch
    size as the first axis. Several inputs are a list in the graph's order, or a dict by name; several outputs are a
    list. If the graph ends in Softmax (or Logistic), its outputs are probabilities; on the TensorFlow backend a Keras
    loss for probabilities is then computed from the logits.

    Args:
        graph: The float graph.
        name: What Keras calls the model.

    Raises:
        ModelError: The graph has ops that the simulation does not know; each is listed.
    """

    def __init__(self, graph: Graph, name: str | None = None, **keywords: Any) -> None:
        super().__init__(name=name, **keywords)
        self.source = graph.unshared()
        _check(self.source)
        self._sites = {op.index: Site.of(self.source, op) for op in self.source.ops}
        self._weighted = weighted(self.source)
        self._variables_of: Mapping[str, Any] = _Plain(
            {p.tensor.name: self._variable(p) for p in parameters(self._weighted)}
        )
        # XLA is 20 to 30 times slower than TensorFlow's own kernels on a CPU.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.built = True

    def _variable(self, parameter: Parameter) -> Any:
        made = self.add_weight(shape=parameter.value.shape, name=parameter.name, trainable=True)
        made.assign(np.ascontiguousarray(parameter.value))
        return made

    @property
    def graph(self) -> Graph:
        """The float graph with the weights and biases as they are now."""
        return self.source.replaced(
            {
                p.tensor.name: p.to_file(keras.ops.convert_to_numpy(self._variables_of[p.tensor.name]))
                for p in parameters(self._weighted)
            }
        )

    @property
    def ends(self) -> list[str]:
        """The kind of the op that makes each output; ``INPUT`` if none does."""
        producers = [self.source.producers.get(index) for index in self.source.outputs]
        return ["INPUT" if op is None else op.kind for op in producers]

    def _fitted(self, optimizer: Any, loss: Any) -> tuple[Any, Any]:
        """The optimizer and loss for `compile`, adapted to fine-tuning and to the last op of the graph.

        Raises:
            ModelError: The loss was made for logits where the outputs are probabilities, or the other way round.
        """
        if isinstance(optimizer, str):
            optimizer = keras.optimizers.get(optimizer)
            optimizer.learning_rate = FINE_TUNING_RATE
        return optimizer, fitting(loss, self.ends)

    def _recompile(self, config: dict[str, Any], **kept: Any) -> None:
        """Compiles a loaded model as it was saved, as Keras does for models with their own `compile`.

        Args:
            config: The arguments of `compile` as they were saved.
            kept: Those that were saved with the model itself.
        """
        self.compile(**keras.saving.deserialize_keras_object(config), **kept)
        self.optimizer.build(self.trainable_variables)

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: the graph knows its shapes."""

    def labelled_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
        """Keras' loss; labels that are a single array belong to the first output."""
        return super().compute_loss(x, y, _labelled(y, y_pred), sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Keras' metrics, of the same outputs."""
        return super().compute_metrics(x, y, _labelled(y, y_pred), sample_weight)

    @abstractmethod
    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the graph.

        Args:
            inputs: ``(batch, height, width, channels)``, or a list or dict of the graph's several inputs.
            training: Whether a gradient will be computed.
        """

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Everything except the variables, as a JSON value."""

    def execute(self, inputs: Any, arithmetic: Arithmetic, training: bool) -> Any:
        """Runs the graph with some arithmetic; shapes as in `call`."""
        graph = self.source
        values: dict[int, Value] = {}
        for index, value in zip(graph.inputs, self._given(inputs), strict=True):
            tensor = graph.tensors[index]
            shaped = ops.reshape(ops.cast(value, _TYPES.get(tensor.dtype, "float32")), (-1, *_shape(tensor)))
            values[index] = arithmetic.stored(tensor, shaped)
        logits: dict[int, Value] = {}
        for op in graph.ops:
            arguments = self._arguments(op, values, arithmetic)
            # Inputs are float32 here, bytes too.
            made = arguments[0] if takes_bytes(graph, op) else arithmetic.run(self._sites[op.index], arguments)
            for index, value in zip(op.outputs, made if isinstance(made, list) else [made], strict=True):
                if training and op.kind in PROBABILITIES and index in graph.outputs:
                    # Training does not round probabilities: in steps of 1/256, most would have no gradient.
                    logits[index], values[index] = arguments[0], value
                else:
                    values[index] = arithmetic.stored(graph.tensors[index], value)
        results = [
            _result(graph.tensors[index], values[index], logits.get(index), self._sites) for index in graph.outputs
        ]
        return results[0] if len(results) == 1 else results

    def _given(self, inputs: Any) -> list[Value]:
        names = [self.source.tensors[index].name for index in self.source.inputs]
        if isinstance(inputs, Mapping):
            missing = [name for name in names if name not in inputs]
            if missing:
                raise ModelError(
                    f"The model's inputs are {', '.join(names)}, but the dict lacks {', '.join(missing)}.",
                    "Give every input by its name, or a list in that order.",
                )
            return [inputs[name] for name in names]
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(given) != len(names):
            raise ModelError(
                f"The model takes {len(names)} inputs ({', '.join(names)}), but got {len(given)}.",
                "Give a list in that order, or a dict by name.",
            )
        return given

    def _arguments(self, op: Op, values: Mapping[int, Value], arithmetic: Arithmetic) -> list[Value]:
        arguments: list[Value] = []
        for index in op.inputs:
            if index < 0:
                arguments.append(None)
                continue
            tensor = self.source.tensors[index]
            if tensor.constant is None:
                arguments.append(arithmetic.read(op, tensor, values[index]))
            elif tensor.dtype == "float32" and tensor.name not in self._variables_of:
                arguments.append(arithmetic.read(op, tensor, ops.convert_to_tensor(tensor.constant)))
            else:
                arguments.append(tensor.constant)
        found = self._weighted.get(op.index)
        if found is not None:
            bias = None if found.bias is None else self._variables_of[found.bias.tensor.name]
            weights, bias = arithmetic.weights(op, self._variables_of[found.weights.tensor.name], bias)
            arguments[op.inputs.index(found.weights.tensor.index)] = weights
            if found.bias is not None:
                arguments[op.inputs.index(found.bias.tensor.index)] = bias
        return arguments

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The outputs' shapes, with any batch size."""
        shapes = [_result_shape(self.source.tensors[index]) for index in self.source.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def _graph_config(self) -> dict[str, Any]:
        """The graph without its trained constants, which are saved as variables."""
        bare = self.source.replaced(
            {p.tensor.name: np.zeros_like(p.tensor.constant) for p in parameters(self._weighted)}
        )
        packed = base64.b64encode(zlib.compress(bare.content, 9)).decode("ascii")
        return {"name": self.name, "graph": packed}


def unpack(packed: str) -> Graph:
    """The graph in a saved model's configuration."""
    return Graph(zlib.decompress(base64.b64decode(packed)), "the saved model's graph")


class _Plain(dict[str, Any]):
    """A dict that Keras does not wrap, since its values are tracked already."""


def _labelled(labels: Any, outputs: Any) -> Any:
    """The outputs that labels belong to: the first one, where a model has several and there is one array of labels."""
    return outputs[0] if isinstance(outputs, list) and not isinstance(labels, list | tuple | Mapping) else outputs


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(abs(n) for n in tensor.shape)


def _result_shape(tensor: Tensor) -> tuple[int | None, ...]:
    shape = _shape(tensor)
    return (None, *(shape[1:] if shape and shape[0] == 1 else shape))


def _result(tensor: Tensor, value: Value, logits: Value | None, sites: Mapping[int, Site]) -> Value:
    shape = _result_shape(tensor)[1:]
    made = ops.reshape(value, (-1, *shape))
    if logits is not None and keras.backend.backend() == "tensorflow":
        # As in Keras' own softmax layer, so that losses are exact if a probability rounds to 0 or 1.
        made._keras_logits = ops.reshape(logits, (-1, *shape))
    return made


def _check(graph: Graph) -> None:
    if any(t.qparams is not None for t in graph.tensors):
        raise ModelError(
            f"{graph.name} is quantized already: a float32 graph was expected.",
            "Give the float model that it came from.",
        )
    unknown = [f"{op} ({_output(graph, op)}){why}" for op in graph.ops if (why := _unknown(graph, op)) is not None]
    if unknown:
        raise ModelError(
            f"{graph.name} has {len(unknown)} op{'s' if len(unknown) > 1 else ''} that the simulation does not "
            "support.",
            "Replace them in the network, or quantize it without training (`octavo quantize`).",
            details=unknown,
        )


def _unknown(graph: Graph, op: Op) -> str | None:
    """Why the simulation does not support an op, as the end of a line; None if it does."""
    if takes_bytes(graph, op):
        return None
    if op.kind not in KERNELS:
        return ""
    rules = row(op)
    for place, index in enumerate(op.inputs):
        tensor = graph.tensors[index]
        if index < 0 or tensor.constant is not None:
            continue
        if tensor.dtype != "float32":
            if place not in COMPUTED.get(op.kind, ()):
                return f": its input '{tensor.name}' is {tensor.dtype} and computed, not constant"
            if op.kind == "GATHER" and graph.tensors[op.inputs[0]].constant is None:
                return f": its indices '{tensor.name}' and its values are both computed; one of them must be constant"
        if rules is not None and place == rules.weight and not rules.computed:
            return f": its weights '{tensor.name}' are computed, not constant"
    return None


def _output(graph: Graph, op: Op) -> str:
    return graph.tensors[op.outputs[0]].name if op.outputs else "no output"
