"""The graph with the rounding of int8: tensors are rounded to their grids in the table, and the grids are trainable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from octavo.base.affine import QParams
from octavo.base.errors import ModelError, QuantizationError
from octavo.base.formats import FORMATS, trainable
from octavo.base.optimizer import share_rates
from octavo.quantization import table as tables
from octavo.quantization.precision import Precision, format_of
from octavo.quantization.ranges import Ranges
from octavo.quantization.table import Slot
from octavo.simulate.fakequant import nudge
from octavo.simulate.graph_model import GraphModel, unpack
from octavo.simulate.grids import Grid, Grids, of_inputs
from octavo.simulate.integer import Integer
from octavo.simulate.learned_scales import LearnedScales
from octavo.simulate.losses import distillation
from octavo.simulate.model import FloatModel
from octavo.simulate.parameters import Weighted, parameters, weighted
from octavo.simulate.rounding import Rounded
from octavo.tflite.graph import Graph

Value = Any


class RoundedModel(GraphModel):
    """A float graph that computes as its int8 file will; its weights and activation ranges are trainable.

    `octavo.quantization.table.layout` decides which tensors share a range, have a fixed one, or are requantized, as it
    does for the writer. The ranges of the graph's inputs stay as calibrated, since training does not change the data.

    Args:
        graph: The float graph.
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
        allow_float: bool = False,
        precision: Mapping[str, Precision] | None = None,
        name: str | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(graph, name=name, **keywords)
        self.allow_float = allow_float
        self._layout = tables.layout(self.source, allow_float, precision)
        other = [name for name in self._layout.precision.values() if not FORMATS[name].trainable]
        if other:
            raise QuantizationError(
                f"Training does not simulate {other[0]} ({FORMATS[other[0]].meaning}).",
                f"Train with {trainable()}, or quantize without training.",
            )
        self._learned = [group for group in self._layout.members if group not in self._layout.fixed]
        # Without a gradient of these the first op needs none towards the images, which would be for them alone. A graph
        # without weights may have nothing else to learn.
        self._of_inputs = of_inputs(self.source, self._layout) if self._weighted else frozenset()
        # One variable for all ranges, in units of their calibrated widths, so that one learning rate suits every
        # tensor.
        count = len(self._learned)
        self.range_ends = self.add_weight(shape=(count, 2), initializer="zeros", trainable=True, name="range_ends")
        self.range_widths = self.add_weight(shape=(count, 1), initializer="zeros", trainable=False, name="range_widths")
        formats = {op.index: format_of(self.source, op, self._layout.precision) for op, _ in self._layout.integer}
        self._weight_scales = LearnedScales(
            self,
            {
                index: (found.weights, formats[index].largest_weight)
                for index, found in self._weighted.items()
                if index in formats and formats[index].learned
            },
        )
        self._observed: tuple[str, int] | None = None
        self.teacher: Any = None
        # The graph before `start_from`.
        self._float: Graph | None = None
        self._extra: dict[str, Any] = {}

    @property
    def precision(self) -> Mapping[str, Precision]:
        """The precision of the ops with a chosen precision, by name."""
        return self._layout.precision

    @property
    def calibrated(self) -> bool:
        """Whether the ranges have been set."""
        return self._observed is not None

    def start_from(self, graph: Graph, ranges: Ranges) -> None:
        """Starts from another form of the graph, whose tensors have the same names.

        The teacher ``"float"`` of `compile` is the graph as it was before.

        Args:
            graph: The new weights and biases; learned scales start from them too.
            ranges: As in `set_ranges`.
        """
        self._float = self.graph
        found = weighted(graph)
        for one in parameters(found):
            self._variables_of[one.tensor.name].assign(np.ascontiguousarray(one.value))
        self._weight_scales.suit({each.weights.tensor.name: each.weights.value for each in found.values()})
        self.set_ranges(ranges)

    def set_ranges(self, ranges: Ranges) -> None:
        """Starts every range from calibration (the union over the tensors that share it), and every learned scale."""
        params = tables.parameters(self._layout, ranges)
        self._observed = (ranges.observer, ranges.images)
        self._assign([params[group] for group in self._learned])
        self._weight_scales.start(ranges.weights)

    def _assign(self, params: list[QParams]) -> None:
        ends = np.array([[float(p.minimum[0]), float(p.maximum[0])] for p in params]).reshape(-1, 2)
        widths = ends[:, 1:] - ends[:, :1]
        self.range_widths.assign(widths.astype(np.float32))
        self.range_ends.assign((ends / widths).astype(np.float32))

    @property
    def ranges(self) -> Ranges:
        """The current ranges: of all tensors of the table, all requantized copies, and weights with learned scales."""
        observer, images = self._observed or ("none", 0)
        ends = keras.ops.convert_to_numpy(self.range_ends) * keras.ops.convert_to_numpy(self.range_widths)
        by_group = {g: (float(low), float(high)) for g, (low, high) in zip(self._learned, ends, strict=True)}
        by_group |= {g: (float(p.minimum[0]), float(p.maximum[0])) for g, p in self._layout.fixed.items()}
        of = {str(slot): by_group[group] for slot, group in self._layout.group.items()}
        return Ranges(observer, images, of, self._weight_scales.ranges)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        *,
        range_rate: float = 1.0,
        freeze_ranges_after: int | None = None,
        teacher: Any = None,
        teacher_share: float = 0.5,
        teacher_classes: bool = True,
        **keywords: Any,
    ) -> None:
        """Keras' `compile`, with what quantization-aware training adds.

        Args:
            optimizer: As in `FloatModel.compile`.
            loss: As in `FloatModel.compile`; may be left out with a teacher; then no labels are needed.
            range_rate: The ranges' learning rate as a share of the optimizer's. Ranges train in units of their
                calibrated width.
            freeze_ranges_after: The step after which the ranges no longer change.
            teacher: A Keras model to learn from, or ``"float"``: this graph in float, as it is now, or as it was before
                `start_from`.
            teacher_share: The share of the distance to the teacher in the loss, if there is a `loss` too.
            teacher_classes: Whether vectors without a softmax are logits of classes; if not, they are numbers.
            keywords: Keras' other arguments.

        Raises:
            ModelError: As in `FloatModel.compile`.
        """
        super().compile(*self._fitted(optimizer, loss), **keywords)
        self._extra = {
            "range_rate": range_rate,
            "freeze_ranges_after": freeze_ranges_after,
            "teacher_share": teacher_share,
            "teacher_classes": teacher_classes,
        }
        places = {id(variable): place for place, variable in enumerate(self.trainable_variables)}
        place = places[id(self.range_ends)]
        rates = {places[id(self._variables_of[name])]: rate for name, rate in self._weight_scales.rates.items()}
        last = np.inf if freeze_ranges_after is None else freeze_ranges_after

        def share(index: int, step: Any) -> Any:
            return range_rate * ops.cast(step < last, "float32") if index == place else rates.get(index, 1.0)

        share_rates(self.optimizer, share)
        if teacher == "float":
            kept = isinstance(self.teacher, FloatModel)
            teacher = self.teacher if kept else FloatModel(self._float or self.graph, name="teacher")
        self._learn_from(teacher)

    def _learn_from(self, teacher: Any) -> None:
        if teacher is not None:
            teacher.trainable = False
        # Keras does not allow new parts in a built model, but this one takes no part in the computation.
        self._tracker.unlock()
        self.teacher = teacher
        self._tracker.lock()

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Keras' loss, the distance to the teacher, or both."""
        if self.teacher is None:
            return self.labelled_loss(x, y, y_pred, sample_weight, training)
        taught, made = (v if isinstance(v, list) else [v] for v in (self.teacher(x, training=False), y_pred))
        classes = self._extra["teacher_classes"]
        parts = [distillation(t, m, end, classes) for t, m, end in zip(taught, made, self.ends, strict=True)]
        soft = sum(parts[1:], parts[0])
        soft = ops.mean(soft if sample_weight is None else soft * ops.reshape(sample_weight, (-1,)))
        if y is None or self._compile_loss is None:
            return soft
        share = self._extra["teacher_share"]
        return (1.0 - share) * self.labelled_loss(x, y, y_pred, sample_weight, training) + share * soft

    def get_compile_config(self) -> dict[str, Any]:
        """Keras' own configuration, and what `compile` adds to it."""
        return {**super().get_compile_config(), **self._extra}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Called by Keras when a compiled model is loaded."""
        self._recompile(config, teacher=self.teacher)

    def as_int8(self, inputs: Any, training: bool) -> Any:
        """Runs the graph as int8 will; shapes as in `GraphModel.call`.

        Args:
            inputs: As in `GraphModel.call`.
            training: Whether a gradient will be computed. If not, integers are computed as XNNPACK computes them,
                which has no gradient and differs from training only in rare ties.
        """
        grids = self.grids()
        return self.execute(inputs, Rounded(grids) if training else Integer(grids), training)

    def grids(self) -> Grids:
        """The grid of every tensor for the current ranges.

        Raises:
            ModelError: There are no ranges yet.
        """
        if not self.calibrated:
            raise ModelError(
                "The model has no activation ranges yet.",
                "Call model.calibrate(images) first, with about 100 preprocessed training images.",
            )
        ends = self.range_ends * self.range_widths
        columns = nudge(ends[:, 0], ends[:, 1])
        count = len(self._learned)
        lows, highs, scales = (ops.unstack(column, num=count) if count else [] for column in columns)
        grid: dict[Slot, Grid] = dict(zip(self._learned, zip(lows, highs, scales, strict=True), strict=True))
        grid |= {group: tuple(map(ops.stop_gradient, grid[group])) for group in self._of_inputs}
        for group, params in self._layout.fixed.items():
            numbers = (params.minimum[0], params.maximum[0], params.scale[0])
            grid[group] = tuple(ops.convert_to_tensor(n, dtype="float32") for n in numbers)
        return Grids(self.source, self._layout, grid, self._weight_scales.values)

    def numbers(self) -> Numbers:
        """The integers that the simulation computes with, which an int8 file of it must hold."""
        grids = self.grids()
        arithmetic = Integer(grids)
        codes: dict[str, npt.NDArray[Any]] = {}
        for index, found in self._weighted.items():
            op = self.source.ops[index]
            if grids.image(op) is None:
                continue
            weights, bias = arithmetic.weights(op, *self._trained(found))
            codes[found.weights.tensor.name] = found.weights.to_file(ops.convert_to_numpy(weights).astype(np.int8))
            if found.bias is not None:
                codes[found.bias.tensor.name] = ops.convert_to_numpy(bias).astype(np.int32)
        return Numbers(codes, {slot: grids.params(group) for slot, group in self._layout.places.items()})

    def _trained(self, found: Weighted) -> tuple[Value, Value | None]:
        """The current weights and bias."""
        bias = None if found.bias is None else self._variables_of[found.bias.tensor.name].value
        return self._variables_of[found.weights.tensor.name].value, bias

    def snap(self) -> None:
        """Rounds weights and biases to their grid, which changes none of their codes.

        Then the int8 file gets the same codes, whatever rounds them. Ranges are not changed: rounded to their nudged
        bounds, they would give scales that differ in the last bit of float32.
        """
        arithmetic = Rounded(self.grids())
        for index, found in self._weighted.items():
            weights, bias = arithmetic.weights(self.source.ops[index], *self._trained(found))
            self._variables_of[found.weights.tensor.name].assign(weights)
            if found.bias is not None:
                self._variables_of[found.bias.tensor.name].assign(bias)

    def _rounded_config(self) -> dict[str, Any]:
        """The graph, its initial ranges and its teacher; the current ranges are variables."""
        teacher = None if self.teacher is None else keras.saving.serialize_keras_object(self.teacher)
        return {
            **self._graph_config(),
            "allow_float": self.allow_float,
            "precision": dict(self.precision),
            "observed": self._observed,
            "teacher": teacher,
        }

    def _take(self, config: dict[str, Any], custom_objects: Any) -> None:
        """Restores from a `_rounded_config` what is not an argument of the constructor."""
        self._observed = tuple(config["observed"]) if config["observed"] else None
        if config["teacher"] is not None:
            self._learn_from(keras.saving.deserialize_keras_object(config["teacher"], custom_objects))


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for a saved configuration."""
    # Files of versions without precisions have none.
    keywords = {"allow_float": config["allow_float"], "precision": config.get("precision"), "name": config["name"]}
    return {"graph": unpack(config["graph"]), **keywords}


@dataclass(frozen=True)
class Numbers:
    """The integers that a simulation computes with.

    Args:
        codes: The codes of every weight and bias, by tensor name, in the file's layout.
        params: Scale and zero point of every activation as it is stored, and as an op reads it if it is requantized.
    """

    codes: dict[str, npt.NDArray[Any]]
    params: dict[Slot, QParams]
