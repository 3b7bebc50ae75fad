"""The int8 files of Octavo and of TensorFlow's converter, and the float file, of the same network, run side by side.

    python bench/latency.py                          # all networks, random weights: some hours
    python bench/latency.py --only MobileNetV2 Xception --seconds 20 --json latency.json --files /tmp/files
    python bench/latency.py --only VGG16 --beside    # Octavo's int8 beside float alone

Of each of the networks, with random weights and ten classes: `octavo.quantize` makes an int8 file of the float
`.tflite`; TensorFlow's converter makes one of the Keras model; and `slim` makes twins of Octavo's. All are calibrated
on the same images and then run in turn, A B A B, on XNNPACK and one thread, whose CPU time counts: other work on the
machine changes it little. The bar: no file of Octavo's is larger or slower than the converter's, and none is slower
than float, which holds where the interval of the ratio does not lie above 1. `octavo benchmark --profile` tells which
op is slow, on the files that `--files` keeps.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RAW, SCALED, CENTRED = (0.0, 255.0), (-1.0, 1.0), (-128.0, 127.0)


@dataclass(frozen=True)
class Network:
    """How a network of `keras.applications` is made.

    Args:
        scale: The pixel scale that it wants. Some networks scale pixels themselves.
        side: Height and width of its input.
        options: What its class is given beside that.
    """

    scale: tuple[float, float] = RAW
    side: int = 224
    options: dict[str, Any] = field(default_factory=dict)


PLAIN = {"include_preprocessing": False}
# At the size that its authors gave it, or at 224 where that takes long.
NETWORKS: dict[str, Network] = {
    "MobileNet": Network(SCALED),
    "MobileNetV2": Network(SCALED),
    "MobileNetV3Small": Network(SCALED, options=PLAIN),
    "MobileNetV3Large": Network(SCALED, options=PLAIN),
    "EfficientNetB0": Network(),
    "EfficientNetB1": Network(side=240),
    "EfficientNetB2": Network(side=260),
    "EfficientNetB3": Network(side=300),
    **{f"EfficientNetB{number}": Network() for number in range(4, 8)},
    **{f"EfficientNetV2{name}": Network() for name in ("B0", "B1", "B2", "B3", "S", "M", "L")},
    "NASNetMobile": Network(SCALED),
    "NASNetLarge": Network(SCALED),
    **{f"DenseNet{layers}": Network(SCALED) for layers in (121, 169, 201)},
    "Xception": Network(SCALED),
    "InceptionV3": Network(SCALED, 299),
    "InceptionResNetV2": Network(SCALED, 299),
    **{f"ResNet{layers}": Network(CENTRED) for layers in (50, 101, 152)},
    **{f"ResNet{layers}V2": Network(SCALED) for layers in (50, 101, 152)},
    **{f"VGG{layers}": Network(CENTRED) for layers in (16, 19)},
    **{f"ConvNeXt{name}": Network() for name in ("Tiny", "Small", "Base", "Large", "XLarge")},
}
FLOAT, CONVERTER = "float", "TensorFlow's converter"
IMAGES = 10


def build(name: str) -> Any:
    """The network as a Keras model."""
    import keras

    keras.utils.set_random_seed(0)
    network = NETWORKS[name]
    shape = (network.side, network.side, 3)
    return getattr(keras.applications, name)(weights=None, classes=10, input_shape=shape, **network.options)


def converter(model: Any, images: Any) -> bytes:
    """TensorFlow's post-training quantization, as its guide has it."""
    import tensorflow as tf

    function = tf.function(
        lambda x: model(x, training=False), input_signature=[tf.TensorSpec([1, *images.shape[1:]], tf.float32)]
    )
    made = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([image[None]] for image in images)
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type = made.inference_output_type = tf.int8
    return bytes(made.convert())


def twins(int8: bytes, name: str) -> dict[str, bytes]:
    """What `octavo slim` makes of Octavo's int8 file."""
    from octavo.base.errors import OctavoError
    from octavo.data.preprocess import Preprocess
    from octavo.rewrite.fuse import fuse
    from octavo.rewrite.raw_pixels import raw_pixels
    from octavo.rewrite.strip import logits, strip
    from octavo.tflite.graph import Graph

    network, graph = NETWORKS[name], Graph(int8, name)
    preprocess = Preprocess((network.side, network.side), scale=network.scale)
    ways: dict[str, Callable[[], Graph]] = {
        "Octavo, slim": lambda: graph,
        "Octavo, slim, logits": lambda: logits(graph),
        "Octavo, slim, raw pixels, logits": lambda: logits(raw_pixels(graph, preprocess).graph),
    }
    found = {}
    for label, make in ways.items():
        try:
            found[label] = strip(fuse(make()).graph).content
        except OctavoError as error:
            sys.stderr.write(f"{name}: no '{label}': {error}\n")
    return found


def files(name: str, beside: Collection[str]) -> dict[str, bytes]:
    """All files of one network."""
    import octavo
    from octavo.data.preprocess import Preprocess
    from octavo.rewrite.equality import pictures
    from octavo.source.export import to_float_tflite

    network, model = NETWORKS[name], build(name)
    preprocess = Preprocess((network.side, network.side), scale=network.scale)
    images = preprocess.normalize(pictures((network.side, network.side, 3), IMAGES))
    found = {FLOAT: to_float_tflite(model)}
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / f"{name}.tflite", Path(folder) / "int8.tflite"
        file.write_bytes(found[FLOAT])
        octavo.quantize(file, images, out)
        int8 = out.read_bytes()
    if "converter" in beside:
        found[CONVERTER] = converter(model, images)
    found["Octavo"] = int8
    return found | (twins(int8, name) if "twins" in beside else {})


def measure(name: str, beside: Collection[str], seconds: float, folder: Path | None) -> list[dict[str, Any]]:
    """One row a file."""
    from octavo.base.stats import median_interval
    from octavo.runtime.litert import Latency, interleaved

    made = files(name, beside)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for label, content in made.items():
            (folder / f"{name}-{re.sub('[^a-z0-9]+', '-', label.lower())}.tflite").write_bytes(content)
    times = dict(zip(made, interleaved(list(made.values()), seconds, clock=time.thread_time), strict=True))
    rows = []
    for label, content in made.items():
        row: dict[str, Any] = {"network": name, "file": label, "bytes": len(content), **vars(Latency.of(times[label]))}
        ratios = {base: median_interval(times[label] / times[base]) for base in made if base in (FLOAT, CONVERTER)}
        row["ratio"] = {base: vars(ratio) for base, ratio in ratios.items()}
        if label.startswith("Octavo"):
            larger = CONVERTER in made and len(content) > len(made[CONVERTER])
            row["bar"] = not larger and all(ratio.low <= 1 for ratio in ratios.values())
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
    beside = ("converter", "twins")
    parser.add_argument("--beside", nargs="*", choices=beside, default=beside, help="files beside float and int8")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each network is timed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--files", type=Path, help="keep the files in this folder")
    given = parser.parse_args()
    rows = [row for name in given.only for row in measure(name, given.beside, given.seconds, given.files)]
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return 0 if all(row.get("bar", True) for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
