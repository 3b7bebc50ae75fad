"""The int8 files of Octavo and of TensorFlow's converter, and the float file, of the same network, run side by side.

    python bench/latency.py                          # all networks at 224, random weights: an hour
    python bench/latency.py --only MobileNetV2 Xception --seconds 20 --json latency.json --files /tmp/files

Of each of the networks, with random weights and ten classes: TensorFlow's converter makes an int8 file of the Keras
model; Octavo makes one of its float `.tflite`, and slim twins of that. All are calibrated on the same images and then
run in turn, A B A B, on XNNPACK and one thread, whose CPU time counts: other work on the machine changes it little.
The bar: no file of Octavo's is larger or slower than the converter's, and none is slower than float, which holds
where the interval of the ratio does not lie above 1. `octavo benchmark --profile` tells which op is slow, on the
files that `--files` keeps.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RAW, SCALED, PLAIN = (0.0, 255.0), (-1.0, 1.0), {"include_preprocessing": False}
# For each network, the pixel scale that it wants, and how it is made. Some networks scale pixels themselves.
NETWORKS: dict[str, tuple[tuple[float, float], dict[str, Any]]] = {
    "MobileNetV2": (SCALED, {}),
    "MobileNetV3Small": (SCALED, PLAIN),
    "MobileNetV3Large": (SCALED, PLAIN),
    "EfficientNetB0": (RAW, {}),
    "EfficientNetV2B0": (RAW, {}),
    "NASNetMobile": (SCALED, {}),
    "DenseNet121": (SCALED, {}),
    "Xception": (SCALED, {}),
    "ResNet50": (SCALED, {}),
    "ConvNeXtTiny": (RAW, {}),
}
FLOAT, CONVERTER = "float", "TensorFlow's converter"
IMAGES = 10
SIZE = 224


def build(name: str) -> tuple[Any, tuple[float, float]]:
    """The network, and the pixel scale that it wants."""
    import keras

    keras.utils.set_random_seed(0)
    scale, options = NETWORKS[name]
    maker = getattr(keras.applications, name)
    return maker(weights=None, classes=10, input_shape=(SIZE, SIZE, 3), **options), scale


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
    """All files of one network."""
    from octavo.base.errors import OctavoError
    from octavo.data.preprocess import Preprocess
    from octavo.quantization.calibrate import calibrate
    from octavo.quantization.quantize import quantize
    from octavo.rewrite.equality import pictures
    from octavo.rewrite.fuse import fuse
    from octavo.rewrite.raw_pixels import raw_pixels
    from octavo.rewrite.strip import logits, strip
    from octavo.source.export import to_float_tflite
    from octavo.source.load import load_float
    from octavo.tflite.graph import Graph

    model, scale = build(name)
    preprocess = Preprocess((SIZE, SIZE), scale=scale)
    images = preprocess.normalize(pictures((SIZE, SIZE, 3), IMAGES))
    content = to_float_tflite(model)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.tflite"
        file.write_bytes(content)
        # As `octavo quantize` reads it: some ops are rewritten into others that have a fast int8 kernel.
        graph = load_float(file).graph
    int8 = Graph(quantize(graph, calibrate(graph, images)).content, name)
    found = {
        FLOAT: content,
        CONVERTER: converter(model, images),
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


def measure(name: str, seconds: float, folder: Path | None) -> list[dict[str, Any]]:
    """One row a file."""
    from octavo.base.stats import median_interval
    from octavo.runtime.litert import Latency, interleaved

    made = files(name)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for label, content in made.items():
            (folder / f"{name}-{re.sub('[^a-z0-9]+', '-', label.lower())}.tflite").write_bytes(content)
    times = dict(zip(made, interleaved(list(made.values()), seconds, clock=time.thread_time), strict=True))
    rows = []
    for label, content in made.items():
        row: dict[str, Any] = {"network": name, "file": label, "bytes": len(content), **vars(Latency.of(times[label]))}
        ratios = {base: median_interval(times[label] / times[base]) for base in (FLOAT, CONVERTER)}
        row["ratio"] = {base: vars(ratio) for base, ratio in ratios.items()}
        if label.startswith("Octavo"):
            row["bar"] = len(content) <= len(made[CONVERTER]) and all(ratio.low <= 1 for ratio in ratios.values())
        rows.append(row)
        said = "  ".join(f"/ {base} {r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for base, r in ratios.items())
        print(
            f"{name:18} {label:34} {len(content):>12,} bytes  {row['median_ms']:8.2f} ms (min {row['min_ms']:.2f})  "
            f"{said}  {({True: 'holds', False: 'MISSED'}).get(row.get('bar'), '')}",
            flush=True,
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="some networks")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each network is timed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--files", type=Path, help="keep the files in this folder")
    given = parser.parse_args()
    rows = [row for name in given.only for row in measure(name, given.seconds, given.files)]
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return 0 if all(row.get("bar", True) for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
