"""A model from a path: any way in ends in a float or int8 graph, with what belongs to the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from octavo.base.errors import DataError, ModelError
from octavo.base.progress import Progress
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.options import Channels, Inputs
from octavo.rewrite.integer_forms import integer_forms
from octavo.runtime.litert import vet
from octavo.source import sidecar
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph


@dataclass(frozen=True)
class Loaded:
    """A model from a file, as a float or int8 graph, with what belongs to it."""

    graph: Graph
    belongs: Sidecar | None


def load_model(path: Path | str) -> Loaded:
    """Reads a `.tflite` or `.keras` model; a Keras model is exported to a float graph.

    A `.tflite` file is first tried in a child process, since a damaged one can crash the runtime.

    Raises:
        ModelError: There is no such file, or it is not a model that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"There is no file '{path}'.", "Give the path of a .tflite or .keras model.")
    if path.is_dir():
        raise ModelError(f"'{path}' is a folder.", "Give the path of a .tflite or .keras model.")
    belongs = sidecar.read(path)
    if path.suffix in {".keras", ".h5", ".hdf5"}:
        from octavo.source.export import to_float_tflite
        from octavo.source.keras_file import load_keras

        return Loaded(Graph(to_float_tflite(load_keras(path)), f"'{path}'"), belongs)
    graph = Graph.read(path)
    vet(path)
    return Loaded(graph, belongs)


def load_float(path: Path | str, progress: Progress | None = None) -> Loaded:
    """Reads a model that is to be changed: as `load_model`, and with ops that have integer forms where that is exact.

    A quantized model stays as it is.

    Args:
        path: The file.
        progress: Told what was done to bring the graph into this form.

    Raises:
        ModelError: As for `load_model`.
    """
    loaded = load_model(path)
    formed = integer_forms(loaded.graph)
    if progress is not None:
        for sentence in formed.said:
            progress.say(sentence)
    return replace(loaded, graph=formed.graph)


def takes_an_image(graph: Graph) -> bool:
    """Whether a model has one input, of shape (N, height, width, 1 or 3), which an image can become."""
    shape = graph.tensors[graph.inputs[0]].shape if len(graph.inputs) == 1 else ()
    return len(shape) == 4 and shape[3] in (1, 3)


def preprocess_for(model: Loaded, inputs: Inputs | None = None, progress: Progress | None = None) -> Preprocess | None:
    """The preprocessing that a model's images need: what was said, else its sidecar's, else a stated guess.

    Returns:
        None for a model that does not take one image: its data are arrays, used as they are.

    Raises:
        ModelError: Image options were given for such a model.
    """
    said = inputs or Inputs()
    given = {
        name: value for name in ("scale", "interpolation", "channels") if (value := getattr(said, name)) is not None
    }
    if not takes_an_image(model.graph):
        if given:
            raise ModelError(
                f"{model.graph.name} does not take one image, whose input has the shape (1, height, width, 1 or 3): "
                "its data are used as they are.",
                f"Leave out {' and '.join(f'`{name}`' for name in given)}.",
            )
        return None
    entry = model.graph.tensors[model.graph.inputs[0]]
    base = model.belongs.preprocess if model.belongs is not None else None
    if base is None:
        channels: Channels = "gray" if entry.shape[3] == 1 else "rgb"
        base = Preprocess((entry.shape[1], entry.shape[2]), channels=channels)
        if entry.dtype == "uint8" and entry.qparams is None:
            # It takes pixels as they are.
            base = replace(base, scale=(0.0, 255.0))
        if said.scale is None and progress is not None:
            progress.say(
                f"The model has no sidecar: pixels are scaled to [{base.scale[0]:g}, {base.scale[1]:g}] with "
                f"{base.interpolation} resizing. Give another scale if it was trained otherwise."
            )
    return Preprocess.from_json(base.to_json() | given)


def image_preprocess_for(model: Loaded, inputs: Inputs | None = None, progress: Progress | None = None) -> Preprocess:
    """As `preprocess_for`, for what works on images only.

    Raises:
        ModelError: The model does not take one image.
    """
    found = preprocess_for(model, inputs, progress)
    if found is None:
        raise ModelError(
            f"{model.graph.name} does not take one image: its input should have the shape (1, height, width, 1 or 3)."
        )
    return found


def check_classes(loaded: Loaded, images: ImageSet) -> None:
    """Refuses images whose classes are not the model's, where both are known.

    Raises:
        DataError: They are not.
    """
    if images.labels is None or loaded.belongs is None or not loaded.belongs.classes:
        return
    if loaded.belongs.classes != images.classes:
        raise DataError(
            f"The model's classes are {', '.join(loaded.belongs.classes)}, and the images' are "
            f"{', '.join(images.classes)}.",
            "Name the class folders as the model's classes.",
        )
