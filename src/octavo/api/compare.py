"""`octavo compare`: two model files, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.compare import Compared
from octavo.analysis.compare import compare as compare_tensors
from octavo.base.progress import Progress, Silent
from octavo.data.encoded_inputs import Feed
from octavo.data.open import open_dataset
from octavo.data.split import draw_calibration
from octavo.runtime.litert import Kernels, Model, Port
from octavo.source.load import load_model, preprocess_for


def compare(
    before: Path | str,
    after: Path | str,
    data: Path | str,
    *,
    images: int | None = None,
    seed: int = 1,
    kernels: Kernels = "xnnpack",
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compares two model files tensor by tensor on training images: see `octavo.analysis.compare.compare`.

    What this shows is used to tune a model, so test images are not touched.

    Args:
        before: The model to measure against: float, or another int8 model.
        after: The model to measure.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits.
        images: How many; 100, or all where there are fewer, when left out.
        seed: Of their choice; 1, so that they are not those that `quantize_file` calibrates with.
        kernels: Which of LiteRT's kernel families runs both.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The models or the images are not as they should be.

    Example:
        >>> import octavo
        >>> compared = octavo.compare("float.tflite", "int8.tflite", "photos", images=20)
        >>> [tensor.op for tensor in compared.tensors if tensor.accumulated.sqnr < 30]
        []
    """
    progress = progress or Silent()
    one, two = load_model(before), load_model(after)
    preprocess = preprocess_for(
        one if one.belongs or not two.belongs else two, scale, interpolation, channels, progress
    )
    chosen = draw_calibration(open_dataset("path", Path(data)), images, seed)
    entry = Model(one.graph, workers=1).input
    feed = Feed(chosen, preprocess, Port(entry.name, entry.shape, "float32", None))
    with progress.track("compare", len(feed)) as advance:
        return compare_tensors(one.graph, two.graph, feed, kernels, advance)
