"""The int8 files of Octavo and of TensorFlow's converter from the same network, run side by side.

    python bench/latency.py                          # all four networks at 224, random weights: some minutes
    python bench/latency.py --only MobileNetV2 --seconds 20 --json latency.json

Of each of the networks, with random weights and ten classes: TensorFlow's converter makes an int8 file of the Keras
model; Octavo makes one of its float `.tflite`, and slim twins of that. All are calibrated on the same images and then
run in turn, A B A B, on XNNPACK and one thread. The bar: no file of Octavo's is larger or slower than the converter's,
which holds where the interval of the ratio does not lie above 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NETWORKS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50")
IMAGES = 10
SIZE = 224


def build(name: str) -> tuple[Any, tuple[float, float]]:
    """The network, and the pixel scale that it wants."""
    import keras

    keras.utils.set_random_seed(0)
    maker = getattr(keras.applications, name)
    options = {"weights": None, "classes": 10, "input_shape": (SIZE, SIZE, 3)}
    if name == "MobileNetV3Small":
        options["include_preprocessing"] = False
    # EfficientNet scales pixels itself; the others are given them scaled.
    return maker(**options), ((0.0, 255.0) if name == "EfficientNetB0" else (-1.0, 1.0))


def converter(model: Any, images: Any) -> bytes:
    """TensorFlow's post-training quantization, as its guide has it."""
    import tensorflow as tf

    function = tf.function(
        lambda x: model(x, training=False), input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32)]
    )
    made = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([image[None]] for image in images)
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type = made.inference_output_type = tf.int8
    return bytes(made.convert())


def files(name: str) -> dict[str, bytes]:
    """All files of one network; the converter's first."""
    from octavo.base.errors import OctavoError
    from octavo.data.preprocess import Preprocess
    from octavo.quantization.calibrate import calibrate
    from octavo.quantization.quantize import quantize
    from octavo.rewrite.equality import pictures
    from octavo.rewrite.fuse import fuse
    from octavo.rewrite.raw_pixels import raw_pixels
    from octavo.rewrite.strip import logits, strip
    from octavo.source.export import to_float_tflite
    from octavo.tflite.graph import Graph

    model, scale = build(name)
    preprocess = Preprocess((SIZE, SIZE), scale=scale)
    images = preprocess.normalize(pictures((SIZE, SIZE, 3), IMAGES))
    graph = Graph(to_float_tflite(model), name)
    int8 = Graph(quantize(graph, calibrate(graph, images)).content, name)
    found = {
        "TensorFlow's converter": converter(model, images),
        "Octavo": int8.content,
        "Octavo, slim": strip(fuse(int8).graph).content,
    }
    twins: dict[str, Callable[[], Graph]] = {
        "Octavo, slim, logits": lambda: logits(int8),
        "Octavo, slim, raw pixels, logits": lambda: logits(raw_pixels(int8, preprocess).graph),
    }
    for label, make in twins.items():
        try:
            found[label] = strip(fuse(make()).graph).content
        except OctavoError as error:
            sys.stderr.write(f"{name}: no '{label}': {error}\n")
    return found


def measure(name: str, seconds: float) -> list[dict[str, Any]]:
    """One row a file."""
    from octavo.base.stats import median_interval
    from octavo.runtime.litert import Latency, interleaved

    made = files(name)
    times = interleaved(list(made.values()), seconds)
    rows = []
    for (label, content), kept in zip(made.items(), times, strict=True):
        ratio = median_interval(kept / times[0])
        row = {"network": name, "file": label, "bytes": len(content), **vars(Latency.of(kept)), "ratio": vars(ratio)}
        row["bar"] = bool(len(content) <= len(made["TensorFlow's converter"]) and ratio.low <= 1)
        rows.append(row)
        print(
            f"{name:18} {label:34} {len(content):>12,} bytes  {row['median_ms']:8.2f} ms (min {row['min_ms']:.2f})  "
            f"ratio {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})  {'holds' if row['bar'] else 'MISSED'}",
            flush=True,
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, help="one network")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each network is timed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    names = [given.only] if given.only else NETWORKS
    rows = [row for name in names for row in measure(name, given.seconds)]
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return 0 if all(row["bar"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
