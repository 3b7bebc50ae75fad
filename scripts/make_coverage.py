"""Writes docs/coverage.md: simulation, QAT and int8 for every family in keras.applications.

python scripts/make_coverage.py                # all families, one process each: about 20 minutes on one core
python scripts/make_coverage.py --only NAME    # one family's row as JSON, on standard output
python scripts/make_coverage.py --rows FILE    # keep the rows in FILE, one a line, and go on where it ends

Weights are random, batch norms re-estimated on random images, so that values are as spread as in a trained network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
IMAGES = 8
CLASSES = 10
UNIT, BYTES = (-1.0, 1.0), (0.0, 255.0)

# The smallest member of each family, its smallest input among 32, 71 and 75 pixels, and the range of its pixels.
FAMILIES: dict[str, tuple[int, tuple[float, float]]] = {
    "ConvNeXtTiny": (32, BYTES),
    "DenseNet121": (32, UNIT),
    "EfficientNetB0": (32, BYTES),
    "EfficientNetV2B0": (32, BYTES),
    "InceptionResNetV2": (75, UNIT),
    "InceptionV3": (75, UNIT),
    "MobileNet": (32, UNIT),
    "MobileNetV2": (32, UNIT),
    "MobileNetV3Small": (32, BYTES),
    "NASNetMobile": (32, UNIT),
    "ResNet50": (32, UNIT),
    "ResNet50V2": (32, UNIT),
    "VGG16": (32, UNIT),
    "VGG19": (32, UNIT),
    "Xception": (71, UNIT),
}

# From TFMOT's own files, at this commit.
TFMOT = "https://github.com/tensorflow/model-optimization/blob/6fbc2cec3984877251aa6ce961aceb7049cf2b25"
TFMOT_KERAS = f"{TFMOT}/tensorflow_model_optimization/python/core/quantization/keras"
# `QuantizeRegistry._LAYER_QUANTIZE_INFO` and its constructor, as far as images go.
TFMOT_LAYERS = {
    *("Activation", "ActivityRegularization", "Add", "AveragePooling2D", "Concatenate", "Conv2D", "Conv2DTranspose"),
    *("Cropping2D", "Dense", "DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    *("InputLayer", "LeakyReLU", "MaxPooling2D", "Permute", "ReLU", "Reshape", "SeparableConv2D", "Softmax"),
    *("SpatialDropout2D", "UpSampling2D", "ZeroPadding2D"),
}
# `Conv2DBatchNormQuantize` and `DenseBatchNormQuantize`: what a batch norm has to follow.
TFMOT_BEFORE_BATCH_NORM = {"Conv2D", "DepthwiseConv2D", "Dense", "SeparableConv2D"}
# `QuantizeModelsTest._KERAS_APPLICATION_MODELS`: the families that are not commented out.
TFMOT_TESTED = {"InceptionV3", "MobileNet", "MobileNetV2"}


def network(name: str) -> tuple[Any, np.ndarray]:
    """A network with random weights, and images for it, ``(32, size, size, 3)``."""
    import keras

    size, (low, high) = FAMILIES[name]
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    # Smooth images, since noise averages out in every pool: coarse noise made larger, in 256 steps as pixels are.
    coarse = rng.uniform(0, 1, (32, 5, 5, 3)).astype("f4")
    images = np.asarray(keras.ops.image.resize(coarse, (size, size), interpolation="bicubic"))
    images = np.rint(np.clip(images, 0, 1) * 255) / 255 * (high - low) + low
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
    )
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(images, training=True)
    return model, images.astype("f4")


def tfmot(model: Any, name: str) -> str:
    """What TFMOT's allowlist says of a network, layer by layer."""
    refused: Counter[str] = Counter()
    for layer in model._flatten_layers(include_self=False):
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            operation = layer._inbound_nodes[0].parent_nodes[0].operation
            if type(operation).__name__ not in TFMOT_BEFORE_BATCH_NORM:
                refused["BatchNormalization not after a convolution"] += 1
        elif kind not in TFMOT_LAYERS:
            refused[kind] += 1
    if refused:
        return "refused: " + ", ".join(f"{kind} ({count})" for kind, count in refused.most_common())
    return "allowed" + (", and in its tests" if name in TFMOT_TESTED else ", not in its tests")


def row(name: str) -> dict[str, Any]:
    """All that is measured of one family."""
    import keras

    from octavo.analysis.agreement import agreement
    from octavo.quantization.calibrate import calibrate
    from octavo.quantization.proof import prove
    from octavo.quantization.quantize import quantize
    from octavo.rewrite.integer_forms import integer_forms
    from octavo.runtime.litert import Model
    from octavo.simulate import FloatModel, Simulation
    from octavo.simulate.kernels import KERNELS
    from octavo.source.export import to_float_tflite
    from octavo.tflite.graph import Graph

    model, images = network(name)
    found: dict[str, Any] = {"name": name, "pixels": FAMILIES[name][0], "tfmot": tfmot(model, name)}
    graph = integer_forms(Graph(to_float_tflite(model))).graph
    found |= {"parameters": model.count_params(), "ops": len(graph.ops)}
    del model
    found["kinds"] = sorted({op.kind for op in graph.ops})
    found["unknown"] = sorted({op.kind for op in graph.ops} - set(KERNELS))
    if found["unknown"]:
        return found
    held = images[:IMAGES]
    wanted = Model(graph, workers=1).predict(held)
    made = np.asarray(FloatModel(graph)(held))
    assert np.ptp(wanted, axis=0).max() > 0.01 * np.abs(wanted).max(), "outputs that do not differ would hide errors"
    found["float_error"] = float(np.abs(made - wanted).max() / np.abs(wanted).max())

    ranges = calibrate(graph, images)
    simulation = Simulation(graph, ranges, allow_float=True)
    simulation.compile(keras.optimizers.SGD(1e-6), "mse")
    loss = simulation.train_on_batch(held[:2], wanted[:2] + 1.0)
    moved = not np.array_equal(
        np.asarray(simulation.range_ends), np.asarray(Simulation(graph, ranges, True).range_ends)
    )
    found["trains"] = (
        bool(np.isfinite(loss))
        and moved
        and all(np.all(np.isfinite(np.asarray(variable))) for variable in simulation.variables)
    )
    int8 = quantize(simulation.graph, simulation.ranges, allow_float=True)
    prove(int8)
    found["left"] = Counter(item.op.partition(" ")[0] for item in int8.table.kept_in_float)
    found["requantized"] = sum(op.kind == "QUANTIZE" for op in Graph(int8.content).ops)
    for way, kernels, local in (
        ("each", "xnnpack", True),
        ("whole", "xnnpack", False),
        ("reference", "reference", False),
    ):
        tensors = agreement(simulation, int8, held, kernels, local)
        found[way] = {
            "tensors": len(tensors),
            "equal": sum(a.largest == 0 for a in tensors),
            "largest": max(a.largest for a in tensors),
            "output_largest": tensors[-1].largest,
            "output_mean": tensors[-1].mean,
            "kinds": dict(Counter(a.kind for a in tensors if a.largest)),
        }
    return found


def _lsb(figures: dict[str, Any]) -> str:
    return f"{figures['output_largest']:.0f} ({figures['output_mean']:.2f})"


def page(rows: list[dict[str, Any]]) -> str:
    """The document."""
    lines = [
        "<!-- Written by scripts/make_coverage.py: change the code, then run it. -->\n",
        "# Coverage: the families of keras.applications\n",
        f"The smallest member of each family, with random weights, {CLASSES} classes and logits as its output. Each is "
        "exported by `octavo.source.export`, simulated by `octavo.simulate`, trained for one step of "
        "2 images, quantized "
        f"and proved, and compared with LiteRT on {IMAGES} images. Batch norms are first "
        "re-estimated on random images, "
        "so that values are spread as in a trained network.\n",
        "- **float error**: the difference of the simulation in float and LiteRT in float, relative "
        "to the largest logit.",
        "- **int8**: `fully`, or the ops that stay in float.",
        "- **each op**: the tensors whose codes all equal XNNPACK's if each op gets LiteRT's own inputs, and the "
        "largest difference in codes.",
        "- **whole**: the same from image to logits, where differences propagate.",
        "- **logits**: largest (and mean) difference of the logits in codes, from XNNPACK and from "
        "the reference kernels. "
        "LiteRT's two kernel families differ from each other by as much: untrained networks amplify small "
        "differences strongly.\n",
        "| family | px | ops | float error | trains | int8 | each op (XNNPACK) | whole (XNNPACK) | logits, XNNPACK | "
        "logits, reference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in rows:
        near, whole = found["each"], found["whole"]
        left = ", ".join(f"{count} {kind} in float" for kind, count in found["left"].items())
        lines.append(
            f"| {found['name']} | {found['pixels']} | {found['ops']} | {found['float_error']:.1e} | "
            f"{'yes' if found['trains'] else 'no'} | {left or 'fully'} | {near['equal']} of {near['tensors']}, "
            f"{near['largest']:.0f} | {whole['equal']} of {whole['tensors']} | {_lsb(whole)} | "
            f"{_lsb(found['reference'])} |"
        )
    if missing := [name for name in FAMILIES if name not in {found["name"] for found in rows}]:
        lines.append(f"\nNot measured yet: {', '.join(missing)}.")
    differing: Counter[str] = Counter()
    for found in rows:
        differing.update(found["each"]["kinds"])
    lines += [
        "\nOps with any code that differs from XNNPACK's, over all measured networks: "
        + (", ".join(f"{kind} ({count} tensors)" for kind, count in differing.most_common()) or "none")
        + ". `tests/simulate/test_contract.py` says which ops of other networks can differ.\n",
        "NEG (in ConvNeXt) is the only op of these networks without a usable int8 kernel: LiteRT's negates the codes "
        "and ignores the zero point. It is quantized as a product with -1 ([Concepts](concepts.md)).\n",
        "## The same families in TFMOT\n",
        "The TensorFlow Model Optimization Toolkit was not run, because it works only with Keras 2 "
        "([issue 1119](https://github.com/tensorflow/model-optimization/issues/1119), "
        "[issue 1270](https://github.com/tensorflow/model-optimization/issues/1270)). The following "
        "comes from its code.\n",
        f"- [`quantize_model`]({TFMOT_KERAS}/quantize.py) takes only Sequential and Functional models. It raises "
        "an error for a model inside another, which is what transfer learning usually makes.",
        f"- Layers outside of [its allowlist]({TFMOT_KERAS}/default_8bit/default_8bit_quantize_registry.py) raise an "
        "error. BatchNormalization is allowed after a convolution or a dense layer, [whose pattern it "
        f"fuses]({TFMOT_KERAS}/default_8bit/default_8bit_transforms.py).",
        f"- [Its convolution quantizer]({TFMOT_KERAS}/default_8bit/default_8bit_quantizers.py) has one range for each "
        "index of a kernel's last axis. For a Keras depthwise kernel, `(height, width, channels, 1)`, that is one "
        "range for all channels. Dense kernels have one range too.",
        f"- Of these families [its own test]({TFMOT_KERAS}/quantize_models_test.py) quantizes "
        f"{', '.join(sorted(TFMOT_TESTED))}; the others are commented out.\n",
        "| family | result by its allowlist |",
        "|---|---|",
        *(f"| {found['name']} | {found['tfmot']} |" for found in rows),
    ]
    return "\n".join(lines) + "\n"


def measured(name: str) -> dict[str, Any]:
    """A family's row from a process of its own, whose memory goes with it."""
    done = subprocess.run(
        [sys.executable, __file__, "--only", name],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FAMILIES)
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(row(given.only)))
        return
    kept = given.rows.read_text("utf-8").splitlines() if given.rows and given.rows.exists() else []
    rows = {found["name"]: found for found in map(json.loads, kept)}
    for name in FAMILIES:
        if name in rows:
            continue
        rows[name] = measured(name)
        if given.rows:
            given.rows.write_text("".join(f"{json.dumps(found)}\n" for found in rows.values()), "utf-8")
    path = ROOT / "docs" / "coverage.md"
    # The section that bench/models.py writes stays.
    _, mark, models = path.read_text("utf-8").partition("<!-- models:")
    path.write_text(page([rows[name] for name in FAMILIES]).rstrip() + "\n\n" + mark + models, "utf-8")


if __name__ == "__main__":
    main()
