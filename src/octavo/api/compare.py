"""`octavo compare`: two model files, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from octavo.analysis.compare import Compared
from octavo.analysis.compare import compare as compare_tensors
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import draw_calibration
from octavo.recipe import options
from octavo.recipe.options import InputFields, Inputs
from octavo.runtime.litert import Kernels, inputs_of
from octavo.source.load import load_model, preprocess_for


def compare(
    before: Path | str,
    after: Path | str,
    data: Path | str | Inputs,
    *,
    kernels: Kernels = "xnnpack",
    progress: Progress | None = None,
    **fields: Unpack[InputFields],
) -> Compared:
    """Compares two model files tensor by tensor on training images: see `octavo.analysis.compare.compare`.

    The result is used to tune a model, so test images are not used.

    Args:
        before: The model to measure against: float, or another int8 model.
        after: The model to measure.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits. `images` of
            them; 100, or all where there are fewer, when left out. They are others than `octavo.quantize` calibrates
            with at the same `seed`.
        kernels: Which of LiteRT's kernel families runs both.
        progress: Where progress goes.
        **fields: Fields of `Inputs`, given one by one.

    Raises:
        OctavoError: The models or the images are not as they should be.

    Example:
        >>> import octavo
        >>> compared = octavo.compare("float.tflite", "int8.tflite", "photos", images=20)
        >>> [tensor.op for tensor in compared.tensors if tensor.accumulated.sqnr < 30]
        []
    """
    progress = progress or Silent()
    inputs = options.inputs_of(data, fields)
    one = load_model(before, inputs.signature, inputs.size, progress=progress, kernels=[kernels], probed=True)
    two = load_model(after, progress=progress, kernels=[kernels], probed=True)
    preprocess = preprocess_for(one if one.belongs or not two.belongs else two, inputs, progress)
    chosen = draw_calibration(open_dataset("path", inputs.data), inputs.images, inputs.seed + 1)
    feed = Feed(chosen, preprocess, [port.real for port in inputs_of(one.graph)])
    with progress.track("compare", len(feed)) as advance:
        return compare_tensors(one.graph, two.graph, feed, kernels, advance)
