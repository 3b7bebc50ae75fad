"""`QuantModel`: quantization-aware training as plain Keras, from any float model to a proved int8 file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

# First: it says in one sentence that Keras is missing.
from octavo.simulate.rounded import RoundedModel, arguments  # isort: skip

import keras
import numpy as np
import numpy.typing as npt

from octavo.base.errors import DataError, ModelError
from octavo.base.progress import Silent
from octavo.data.dataset import OctavoWarning
from octavo.data.preprocess import Preprocessing
from octavo.quantization import data_checks
from octavo.quantization.calibrate import survey
from octavo.quantization.precision import Precision
from octavo.quantization.proof import Proof
from octavo.recipe.choices import PassName
from octavo.recipe.options import Quantization
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.litert import Port, inputs_of
from octavo.source.export import to_float_tflite
from octavo.source.keras_file import KERAS
from octavo.source.load import load_float
from octavo.source.sidecar import Sidecar, write_model
from octavo.tflite.graph import Graph
from octavo.training.convert import convert
from octavo.training.start import started
from octavo.tuning.tune import read_first

Array = npt.NDArray[Any]

# The most images that `calibrate` takes from a dataset; more images hardly change the ranges.
CALIBRATION_IMAGES = 500


@final
@keras.saving.register_keras_serializable("octavo")
class QuantModel(RoundedModel):
    """A float model that computes as its int8 file will: calibrate, compile, fit, then write int8.

    The trained graph is the float `.tflite` graph. Its batch norms are folded, and the runtime quantizes each of its
    tensors in exactly one place. So any model works: nested, subclassed or with custom layers. A Keras model is
    exported first, and is not changed itself.

    Args:
        model: The path of a float `.tflite` file, a `Graph`, or a built `keras.Model`.
        allow_float: Leave ops without an int8 form in float, instead of raising.
        precision: Ops that are not int8, as in `octavo.simulate.Simulation`.
        name: What Keras calls the model.

    Raises:
        ModelError: The model cannot be read, converted or simulated; each op that prevents it is listed.
        QuantizationError: An op has no int8 form and `allow_float` is off; each one is listed.

    Example:
        >>> layers = keras.layers
        >>> network = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
        >>> images, labels = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)), np.arange(16) % 2
        >>> model = QuantModel(network)
        >>> model.calibrate(images)
        >>> model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> _ = model.fit(images, labels, epochs=1, verbose=0)
        >>> import tempfile
        >>> proof = model.to_int8(Path(tempfile.mkdtemp()) / "model_int8.tflite")
        >>> all(check.passed for check in proof.checks)
        True
    """

    def __init__(
        self,
        model: Path | str | Graph | keras.Model,
        allow_float: bool = False,
        precision: Mapping[str, Precision] | None = None,
        name: str | None = None,
        **keywords: Any,
    ) -> None:
        sidecar: Sidecar | None = None
        if isinstance(model, keras.Model):
            graph = Graph(to_float_tflite(model), f"the Keras model '{model.name}'")
        elif isinstance(model, Graph):
            graph = model
        else:
            graph, sidecar = _read(Path(model))
        super().__init__(integer_forms(graph).graph, allow_float, precision, name, **keywords)
        self._sidecar = sidecar

    def calibrate(
        self,
        images: Any,
        observer: str = "minmax",
        limit: int = CALIBRATION_IMAGES,
        tune: Sequence[PassName] = ("compensate",),
    ) -> None:
        """Sets the initial ranges of the activations, and the weights that training starts from, by training images.

        Args:
            images: Inputs as the model takes them: an array ``(N, height, width, channels)``; for several inputs a
                list or dict of arrays; or a dataset of batches (`tf.data`, `keras.utils.PyDataset`, or any iterable),
                whose labels are ignored.
            observer: A name in `octavo.quantization.observers.OBSERVERS`.
            limit: How many images are taken at most.
            tune: Tuning passes whose weights training starts from, such as those rounded to the codes that keep the
                error of each op's output small; none starts from the float weights, rounded to the nearest codes. The
                teacher ``"float"`` of `compile` is the graph before them.

        Raises:
            DataError: There are no images, or they do not have the model's input shape.
            ModelError: The graph computes NaN or infinity on them.
        """
        graph = self.graph
        columns = [
            _fits(column, port) for column, port in zip(self._columns(images, limit), inputs_of(graph), strict=True)
        ]
        items = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        seen = survey(graph, items, observer, excerpt=read_first(graph, items, tune))
        for finding in data_checks.of_answers(graph, seen):
            warnings.warn(finding, OctavoWarning, stacklevel=2)
        wanted = Quantization(precision=dict(self.precision), allow_float=self.allow_float)
        tuned = started(graph, seen.ranges, items, tune, wanted, Silent(), seen.excerpts)
        self.start_from(tuned.graph, tuned.ranges)

    def _columns(self, images: Any, limit: int) -> list[Array]:
        """One array for each input, of no more than `limit` images."""
        if isinstance(images, Mapping) or hasattr(images, "shape") or _is_list_of_arrays(images):
            return [np.asarray(column[:limit]) for column in self._given(images)]
        batches: list[list[Array]] = []
        count = 0
        for batch in _batches(images):
            inputs = batch[0] if isinstance(batch, tuple) else batch
            batches.append([np.asarray(column) for column in self._given(inputs)])
            count += len(batches[-1][0])
            if count >= limit:
                break
        if not batches:
            raise DataError("The dataset for calibration is empty.", "Give about 100 training images.")
        return [np.concatenate(parts)[:limit] for parts in zip(*batches, strict=True)]

    def to_int8(
        self, path: Path | str, preprocess: Preprocessing = None, classes: Sequence[str] | None = None
    ) -> Proof:
        """Writes the model as full-integer int8, reads it back and proves that it holds the trained integers.

        Weights, biases and ranges are rounded to their grids, which changes no output. What is known of preprocessing
        and classes is written beside the new file, as its sidecar; an earlier file's sidecar never stays.

        Args:
            path: The path of the `.tflite` file; an existing file is replaced.
            preprocess: How images become the inputs that the model was trained with. That of the file that the model
                came from when left out.
            classes: The class names in the order of the outputs. Those of the file that the model came from when left
                out.

        Raises:
            ModelError: The model has not been calibrated, or training has made its weights NaN.
            ProofError: The file does not hold the trained integers; then nothing is written.
        """
        made = convert(self)
        write_model(Path(path), made.quantized.content, self._known(preprocess, classes))
        return made.proof

    def _known(self, preprocess: Preprocessing, classes: Sequence[str] | None) -> Sidecar | None:
        known = self._sidecar or Sidecar(None)
        names = known.classes if classes is None else tuple(classes)
        made = Sidecar(preprocess or known.preprocess, names, known.task, known.windows, known.output)
        return self._sidecar if made == Sidecar(None) else made

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the graph as int8 will: see `RoundedModel.as_int8`."""
        return self.as_int8(inputs, training)

    def get_config(self) -> dict[str, Any]:
        """A simulation's configuration, with the sidecar of the file that the model came from."""
        return {**self._rounded_config(), "belongs": None if self._sidecar is None else self._sidecar.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`."""
        given = arguments(config)
        made = cls(given.pop("graph"), **given)
        made._take(config, custom_objects)
        made._sidecar = None if config["belongs"] is None else Sidecar.from_json(config["belongs"])
        return made


def _read(path: Path) -> tuple[Graph, Sidecar | None]:
    if path.suffix in KERAS:
        raise ModelError(
            f"'{path}' is a Keras file; QuantModel takes a float .tflite file or a loaded model.",
            "Give QuantModel(keras.models.load_model(path)).",
        )
    loaded = load_float(path)
    return loaded.graph, loaded.sidecar


def _is_list_of_arrays(images: Any) -> bool:
    return isinstance(images, list | tuple) and len(images) > 0 and all(hasattr(i, "shape") for i in images)


def _batches(images: Any) -> Iterable[Any]:
    if isinstance(images, keras.utils.PyDataset):
        return (images[place] for place in range(len(images)))
    if isinstance(images, Iterable):
        return images
    raise DataError(
        f"Calibration needs images, but got a {type(images).__name__}.",
        "Give an array (N, height, width, channels) or a dataset of batches.",
    )


def _fits(values: Array, port: Port) -> Array:
    """The values in the type that the input takes: float32, or the whole numbers that they are."""
    if values.shape[1:] != tuple(port.shape[1:]):
        raise DataError(
            f"The model's input '{port.name}' needs values of shape {('N', *port.shape[1:])}, but got {values.shape}.",
            "Preprocess the images to the model's size first.",
        )
    # Bytes come as float32 too, and the graph takes them as they are.
    return port.encode(values)
