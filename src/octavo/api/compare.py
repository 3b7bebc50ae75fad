"""`octavo compare`: two model files, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from octavo.analysis.compare import Compared
from octavo.analysis.compare import compare as compare_tensors
from octavo.analysis.evaluate import evaluate
from octavo.analysis.understood import understood
from octavo.api.opened import opened, scale_of
from octavo.base.errors import ModelError
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.split import draw_calibration
from octavo.recipe import options
from octavo.recipe.options import InputFields, Inputs, Source
from octavo.runtime.litert import Kernels, inputs_of
from octavo.source.load import Loaded, load_float, load_model
from octavo.tflite.graph import Graph


def compare(
    before: Path | str,
    after: Path | str,
    data: Source | Inputs,
    *,
    kernels: Kernels = "xnnpack",
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Compared:
    """Compares two model files tensor by tensor on training images: see `octavo.analysis.compare.compare`.

    The result is used to tune a model, so test images are not used.

    Args:
        before: The model to measure against: float, or another int8 model. If `after` is quantized, a float model is
            brought into canonical form, as `octavo.quantize` does it, so that their ops match.
        after: The model to measure. `signature` and `size` apply to it too if its file needs them.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits. `images` of
            them; 100, or all if there are fewer, by default. They are others than `octavo.quantize` calibrates
            with at the same `seed`.
        kernels: Which of LiteRT's kernel families runs both.
        progress: Receives progress messages.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: A model cannot be read, or the images do not fit it.

    Example:
        >>> import octavo
        >>> compared = octavo.compare("float.tflite", "int8.tflite", "photos", images=20)
        >>> [tensor.op for tensor in compared.tensors if tensor.accumulated.sqnr < 30]
        []
    """
    progress = progress or Silent()
    inputs = options.inputs_of(data, fields)
    two = _second(after, inputs, progress, kernels)
    # What was quantized is the canonical form of a float model, so its tensors are those to compare.
    read = load_float if _is_quantized(two.graph) else load_model
    one = read(before, inputs.signature, inputs.size, progress=progress, kernels=[kernels], probed=True)
    known = one if one.sidecar or not two.sidecar else two
    source = opened(inputs, progress, known)
    preprocess = scale_of(known, inputs, source, progress).preprocess
    chosen = draw_calibration(source, inputs.images, inputs.seed, choice=1)
    feed = Feed(chosen, preprocess, [port.real for port in inputs_of(one.graph)])
    with progress.track("compare", len(feed)) as advance:
        found = compare_tensors(one.graph, two.graph, feed, kernels, advance)
    samples, task = understood(one, chosen, inputs, progress, calibrate=True)
    scores = [evaluate(graph, samples, preprocess, kernels, task=task) for graph in (one.graph, two.graph)]
    return found.model_copy(update={"likeness": scores[0].likeness, "agreement": scores[1].alike(scores[0])})


def _second(path: Path | str, inputs: Inputs, progress: Progress, kernels: Kernels) -> Loaded:
    """The second model. It gets `signature` and `size` only if its file needs them, which int8 files do not."""
    try:
        return load_model(path, progress=progress, kernels=[kernels], probed=True)
    except ModelError:
        if inputs.signature is None and inputs.size is None:
            raise
        return load_model(path, inputs.signature, inputs.size, progress=progress, kernels=[kernels], probed=True)


def _is_quantized(graph: Graph) -> bool:
    """Whether a graph has quantized activations, as int8 files have and dynamic-range files do not."""
    return any(tensor.qparams is not None and tensor.constant is None for tensor in graph.tensors)
