"""Loads a model from a path, in any supported format, as a float or int8 graph with its sidecar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from octavo.base.errors import DataError, ModelError
from octavo.base.progress import Progress
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.data.windows import Windows
from octavo.recipe.choices import TaskName
from octavo.recipe.options import Channels, Inputs, Scale, Scales
from octavo.rewrite.canonical.sizes import Size, Sizes
from octavo.runtime.litert import Kernels, Port, inputs_of
from octavo.source import exported, sidecar
from octavo.source.forms import formed, unformed
from octavo.source.notes import Notes, notes_of
from octavo.source.sidecar import Sidecar
from octavo.source.tried import FAMILIES, Trials, Use
from octavo.tflite.graph import Graph, read_bytes

# The scale of a model that takes unscaled pixels.
_PIXELS = (0.0, 255.0)


@dataclass(frozen=True)
class Loaded:
    """A model from a file, as a float or int8 graph, with its sidecar.

    Args:
        graph: The model.
        sidecar: Its sidecar, or None if it has none.
        content: The bytes of the `.tflite` file. For a model in another format, the bytes of the exported graph.
        canonical: What was changed to bring the graph into this form, one sentence per change, for display.
    """

    graph: Graph
    sidecar: Sidecar | None
    content: bytes = b""
    canonical: tuple[str, ...] = ()

    @cached_property
    def notes(self) -> Notes:
        """The image scale and class names from the file's TFLite metadata."""
        return notes_of(self.content)


def load_model(
    path: Path | str,
    signature: str | None = None,
    size: Size | None = None,
    images: Callable[[], Size | None] | None = None,
    progress: Progress | None = None,
    kernels: Sequence[Kernels] = FAMILIES,
    probed: bool = False,
    trials: Trials | None = None,
) -> Loaded:
    """Reads a model without changing its computation, as one graph with a batch of 1 and static sizes.

    A Keras file, a SavedModel folder or an ONNX file is exported to a float graph. All of this happens in a child
    process first, and the model runs there, because a damaged file can crash the runtime or take all memory.

    Args:
        path: The file, or the folder of a SavedModel.
        signature: The signature to load from a `.tflite` file with several.
        size: Height and width of the images, if the file leaves them open.
        images: Returns the height and width of the user's images, or None if they differ. Called only if the file
            leaves them open and `size` is not given.
        progress: Receives the sentences about changes to the graph.
        kernels: The kernel families that will run the model in this process: each runs it in the child first.
        probed: Whether the tensors inside the model will be read and fed too, as `octavo compare` does.
        trials: The child process, if the caller has one.

    Raises:
        ModelError: The file does not exist, is not a model that can be read, or has an open size that no argument
            gives.
    """
    use = Use(kernels, "fed" if probed else "kept", "as_is")
    return _told(_read(Path(path), signature, Sizes(size, images), use, trials), progress)


def load_float(
    path: Path | str,
    signature: str | None = None,
    size: Size | None = None,
    images: Callable[[], Size | None] | None = None,
    progress: Progress | None = None,
    kernels: Sequence[Kernels] = FAMILIES,
    probed: bool = False,
    trials: Trials | None = None,
) -> Loaded:
    """Reads a model that is to be changed: like `load_model`, with plain float32 constants and ops that int8 supports.

    Float16, sparse and dynamic-range constants become dense float32. Ops without an int8 kernel are replaced by
    equivalent ops that have one, if there are any. A quantized model is left unchanged.

    Args:
        path: The file.
        signature: As for `load_model`.
        size: As for `load_model`.
        images: As for `load_model`.
        progress: As for `load_model`.
        kernels: As for `load_model`.
        probed: As for `load_model`.
        trials: As for `load_model`.

    Raises:
        ModelError: As for `load_model`, or its constants cannot be made float32.
    """
    use = Use(kernels, "fed" if probed else "read", "to_change")
    return _told(_read(Path(path), signature, Sizes(size, images), use, trials), progress)


def _told(loaded: Loaded, progress: Progress | None) -> Loaded:
    """The model, after `progress` was told what was changed."""
    if progress is not None:
        for sentence in loaded.canonical:
            progress.say(sentence)
    return loaded


def _read(path: Path, signature: str | None, sizes: Sizes, use: Use, trials: Trials | None) -> Loaded:
    if not path.exists():
        raise ModelError(
            f"There is no file '{path}'.", "Give the path of a .tflite or .keras model, or of a SavedModel folder."
        )
    found = None if path.is_dir() else sidecar.read(path)
    name = f"'{path}'"
    with exported.as_tflite(path) as file:
        content = read_bytes(file)
        if file == path and sidecar.read(path, content) != found:
            raise ModelError(f"{name} was replaced while it was read.", "Give the same command again.")
        early = None if sizes.images is None else unformed(content, name, signature)
        size = sizes.size if early is None else sizes.settled(early.graph)
        with Trials() if trials is None else nullcontext(trials) as child:
            child.given(file, name, signature, size, use)
    made = formed(early or unformed(content, name, signature), size, use.form)
    return Loaded(made.graph, found, content, made.changes)


def takes_an_image(graph: Graph) -> bool:
    """Whether a model has a single input, and it is an image of shape (N, height, width, 1 or 3)."""
    return len(graph.inputs) == 1 and graph.tensors[graph.inputs[0]].is_image


def images_of(graph: Graph) -> tuple[Port, ...]:
    """The inputs that are images, of shape (N, height, width, 1 or 3)."""
    return tuple(port for port in inputs_of(graph) if port.is_image)


def unscaled(model: Loaded, inputs: Inputs | None = None) -> tuple[Port, ...]:
    """The inputs that are images whose scale nothing says: no option, sidecar, or TFLite metadata, nor the input."""
    given = None if inputs is None else inputs.scale
    return tuple(
        port
        for port in images_of(model.graph)
        if _of(port, given) is None
        and _stored(model, port) is None
        and _noted(model) is None
        and not _takes_pixels(port)
    )


def scale_is_known(model: Loaded, inputs: Inputs | None = None) -> bool:
    """Whether the scale of pixels is given by an option, the sidecar, the TFLite metadata, or the input itself.

    True too for a model that takes no images, since its data are used as they are.
    """
    return not unscaled(model, inputs)


def _of(port: Port, scale: Scales | None) -> Scale | None:
    """The scale that a caller gives for an input."""
    if scale is None or not isinstance(scale, Mapping):
        return scale
    return next((scale[name] for name in port.names if name in scale), None)


def _stored(model: Loaded, port: Port) -> Preprocess | None:
    """The preprocessing of an input in the model's sidecar."""
    found = None if model.sidecar is None else model.sidecar.preprocess
    if found is None or isinstance(found, Preprocess):
        return found if takes_an_image(model.graph) else None
    return next((found[name] for name in port.names if name in found), None)


def _noted(model: Loaded) -> Scale | None:
    """The scale in the TFLite metadata, which Octavo reads of models with one input only."""
    return model.notes.scale if takes_an_image(model.graph) else None


def _takes_pixels(port: Port) -> bool:
    """Whether an input takes the unscaled pixels of an image."""
    params = port.qparams
    if port.dtype in ("int16", "int32", "int64"):
        return params is None
    if port.dtype != "uint8":
        return False
    return params is None or (float(params.scale[0]) == 1.0 and int(params.zero_point[0]) == -128)


def preprocess_for(model: Loaded, inputs: Inputs | None = None, progress: Progress | None = None) -> Preprocessing:
    """The preprocessing of a model's images.

    Options in `inputs` come first, then the sidecar, then the file's TFLite metadata, then a default. Of a model with
    one input, a scale that is not from a sidecar is reported to `progress`, unless `scale` is given or the model takes
    unscaled pixels. `octavo.analysis.scale_choice` chooses the scale by images where it is not known.

    Returns:
        The preprocessing. Of a model with several inputs, that of each image, by the input's name. None for a model
        that takes no images: its data are arrays, used unchanged.

    Raises:
        ModelError: Options were given for images that the model does not take, or another scale was given for an
            input that takes unscaled pixels.
    """
    wanted = inputs or Inputs()
    ports = images_of(model.graph)
    _check_options(model.graph, ports, wanted)
    made = {port.label: _preprocess(model, port, wanted, progress) for port in ports}
    if wanted.channels is not None and made and not any(one.channels == wanted.channels for one in made.values()):
        raise ModelError(
            f"`channels` is {wanted.channels}, and no image that {model.graph.name} takes has as many channels.",
            "Leave out `channels`.",
        )
    return made[ports[0].label] if takes_an_image(model.graph) else made or None


def known_preprocess_for(model: Loaded, inputs: Inputs) -> Preprocessing:
    """Like `preprocess_for`, without the images of which nothing says the scale."""
    guessed = {port.label for port in unscaled(model, inputs)}
    found = preprocess_for(model, inputs)
    if found is None or isinstance(found, Preprocess):
        return None if guessed else found
    return {name: one for name, one in found.items() if name not in guessed} or None


def _check_options(graph: Graph, ports: Sequence[Port], wanted: Inputs) -> None:
    """Refuses options of images that the model does not take."""
    given = [name for name in ("scale", "interpolation", "channels") if getattr(wanted, name) is not None]
    if given and not ports:
        raise ModelError(
            f"{graph.name} takes no images, of shape (1, height, width, 1 or 3), so its data are used as they are, "
            "without preprocessing.",
            f"Leave out {' and '.join(f'`{name}`' for name in given)}.",
        )
    named = wanted.scale if isinstance(wanted.scale, Mapping) else {}
    if unknown := [name for name in named if not any(name in port.names for port in ports)]:
        raise ModelError(
            f"`scale` names the input '{unknown[0]}', but the images that {graph.name} takes are "
            f"{', '.join(repr(port.label) for port in ports)}.",
        )


def _preprocess(model: Loaded, port: Port, wanted: Inputs, progress: Progress | None) -> Preprocess:
    """The preprocessing of one input, as `preprocess_for` has it."""
    scale, alone = _of(port, wanted.scale), takes_an_image(model.graph)
    if port.dtype == "uint8" and port.qparams is None and scale not in (None, _PIXELS):
        which = "" if alone else f" for '{port.label}'"
        raise ModelError(
            f"{model.graph.name} takes unscaled pixels (uint8, 0 to 255){which}, and `scale` is {scale}.",
            "Leave out `scale`: the network scales pixels itself.",
        )
    base = _stored(model, port)
    if base is None:
        channels: Channels = "gray" if port.shape[3] == 1 else "rgb"
        base = Preprocess((port.shape[1], port.shape[2]), channels=channels)
        source, doubt = "The model has no sidecar", "This is a guess: set `scale` to what it was trained with."
        if by_itself := _takes_pixels(port):
            base = replace(base, scale=_PIXELS)
        elif (noted := _noted(model)) is not None:
            base = replace(base, scale=noted)
            source, doubt = "From the file's TFLite metadata", "Set `scale` if it was trained otherwise."
        if alone and not by_itself and scale is None and progress is not None:
            progress.say(
                f"{source}: pixels are scaled to [{base.scale[0]:g}, {base.scale[1]:g}] with {base.interpolation} "
                f"resizing. {doubt}"
            )
    given: dict[str, Any] = {"scale": scale, "interpolation": wanted.interpolation, "channels": wanted.channels}
    if not alone and (wanted.channels == "gray") != (base.channels == "gray"):
        # Of several inputs, those that have another number of channels keep theirs.
        del given["channels"]
    try:
        return replace(base, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        assert scale is not None
        raise DataError(
            f"`scale` should be two finite numbers, the smaller one first, and is {scale[0]:g},{scale[1]:g}.",
            "Give the input values of pixels 0 and 255 in the model's training, such as 0,255 or -1,1.",
        ) from error


def task_of(loaded: Loaded) -> TaskName | None:
    """The task that a model's sidecar names; None if it names none."""
    return None if loaded.sidecar is None else loaded.sidecar.task


def windows_of(loaded: Loaded) -> Windows | None:
    """How a model's sidecar says that recordings are cut; None if it says nothing of it."""
    return None if loaded.sidecar is None else loaded.sidecar.windows


def output_of(loaded: Loaded, inputs: Inputs) -> str | None:
    """The output of a model that is scored, as an option or else its sidecar names it; None if none does."""
    return inputs.output or (None if loaded.sidecar is None else loaded.sidecar.output)
