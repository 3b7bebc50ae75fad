"""One epoch of `fit`, with a separate learning rate for each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import OctavoError
from octavo.base.progress import Advance, Progress
from octavo.training.validation import Validation

Array = npt.NDArray[Any]
MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy")


def epoch(
    title: str,
    model: Any,
    batches: Any,
    seen: Any,
    number: int,
    epochs: int,
    rate: Callable[[int, int], float],
    progress: Progress,
    remedy: str,
    validation: Validation | None = None,
) -> dict[str, Any]:
    """Trains a compiled model for one epoch.

    Args:
        title: What is trained, for people.
        model: A compiled Keras model; if its optimizer averages weights, validation uses the averaged ones.
        batches: One epoch of training batches.
        seen: Validation batches, or None.
        number: The epoch's number, counted from 0.
        epochs: In the whole training.
        rate: ``(step, steps) -> learning rate``, over all epochs.
        progress: Receives progress messages.
        remedy: What to do if the loss becomes NaN or infinite.
        validation: Takes the place of Keras' own validation where a team trains.

    Returns:
        The epoch's row of the history.

    Raises:
        OctavoError: The loss became NaN or infinite.
    """
    callbacks = load("keras").callbacks
    steps = len(batches)
    began = time.perf_counter()
    with progress.track(f"{title}, epoch {number + 1} of {epochs}", steps) as advance:
        watch = _watch(callbacks, number, steps, epochs, rate, advance, remedy)
        kept = [watch, callbacks.SwapEMAWeights()] if model.optimizer.use_ema else [watch]
        plain = seen if validation is None else None
        history = model.fit(batches, validation_data=plain, callbacks=kept, verbose=0, shuffle=False).history
        logs = {key: values[0] for key, values in history.items()}
        if validation is not None and seen is not None:
            logs |= {f"val_{key}": value for key, value in validation.logs(averaged(model), seen).items()}
    measured = {key: float(logs[key]) if key in logs else None for key in MEASURES}
    seconds = round(time.perf_counter() - began, 3)
    last = rate((number + 1) * steps - 1, epochs * steps)
    scored = {"val_score": measured["val_accuracy"]}
    return {"epoch": number + 1, **measured, **scored, "learning_rate": last, "seconds": seconds}


def prepare(model: Any, labels: Array) -> None:
    """Makes the variables of a compiled model's optimizer and metrics.

    Otherwise Keras makes them in the first step, and TensorFlow then traces that step twice. For a network of 158
    variables this takes as long as several epochs on a small set of images.

    Args:
        model: A compiled Keras model with one output.
        labels: Of any images, of the shape of the outputs, such as one-hot ``(N, classes)``.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if load("keras").backend.backend() == "tensorflow":
        model.compute_metrics(labels[:1], labels[:1], labels[:1])
        model.reset_metrics()


def _watch(
    callbacks: Any,
    number: int,
    steps: int,
    epochs: int,
    rate: Callable[[int, int], float],
    advance: Advance,
    remedy: str,
) -> Any:
    """Sets the learning rate of every step, reports progress, and stops if the loss becomes NaN or infinite."""

    class Watch(callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate.assign(rate(number * steps + batch, epochs * steps))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            advance(1)
            if logs is not None and not np.isfinite(logs["loss"]):
                raise OctavoError(
                    f"Training diverged: the loss is {logs['loss']} in epoch {number + 1}, step {batch + 1}.", remedy
                )

    return Watch()


def averaged(model: Any) -> list[Array]:
    """The weights of a model that would be kept: the averaged ones if its optimizer averages."""
    values = {variable.path: np.array(variable.numpy()) for variable in model.weights}
    if model.optimizer.use_ema:
        averages = model.optimizer._model_variables_moving_average
        trained = model.optimizer._trainable_variables
        values.update({v.path: np.array(mean.numpy()) for v, mean in zip(trained, averages, strict=True)})
    return [values[variable.path] for variable in model.weights]
