"""QuantModel: plain Keras training on the simulation, for models of every build, ending in a proved int8 file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny import tiny_tflite

import octavo
from octavo.base.errors import DataError, ModelError, QuantizationError
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.simulate.model import FloatModel
from octavo.source.export import to_float_tflite
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph
from octavo.training.quant_model import QuantModel
from octavo.tuning.tune import tune

layers = keras.layers
RANDOM = np.random.default_rng(0)


def images(count: int, size: int = 32) -> np.ndarray:
    return RANDOM.uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


@keras.saving.register_keras_serializable("test")
class Swirl(layers.Layer):
    """A layer that Keras does not have, of ops that int8 has."""

    def build(self, shape: Any) -> None:
        self.strength = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * keras.ops.sigmoid(inputs * self.strength)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.swirl = layers.Conv2D(6, 3, 2), layers.BatchNormalization(), Swirl()
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.head(self.pool(self.swirl(self.norm(self.conv(inputs), training=training))))


def settled(model: keras.Model, batch_norms: list[Any]) -> keras.Model:
    """With the statistics of one batch: without any, what an untrained network computes dies away to 0."""
    for layer in batch_norms:
        layer.momentum = 0.0
    model(images(16), training=True)
    return model


def nested() -> keras.Model:
    backbone = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(8, 3, 2), layers.BatchNormalization(), layers.ReLU()], name="backbone"
    )
    model = keras.Sequential([backbone, layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")])
    return settled(model, [backbone.layers[1]])


def nested_mobilenet() -> keras.Model:
    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35, name="backbone"
    )
    model = keras.Sequential([backbone, layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")])
    return settled(model, [layer for layer in backbone.layers if isinstance(layer, layers.BatchNormalization)])


def mobilenet_v3() -> keras.Model:
    # Its last pooling wants an image left after a stride of 32.
    return keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, classes=10, alpha=0.75, include_preprocessing=False
    )


def subclassed() -> keras.Model:
    model = Subclassed()
    model(images(1))
    return model


@pytest.mark.parametrize(
    "build",
    [nested, subclassed, *(pytest.param(made, marks=pytest.mark.slow) for made in (nested_mobilenet, mobilenet_v3))],
)
def test_models_of_every_build_train_and_become_int8(build: Callable[[], keras.Model], tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs, labels = images(12), np.arange(12) % 10
    model = octavo.QuantModel(build())
    model.calibrate(inputs)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.get_weights()
    history = model.fit(inputs, labels, batch_size=6, verbose=0).history
    assert np.all(np.isfinite(history["loss"])) and "accuracy" in history
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    proof = model.to_int8(tmp_path / "int8.tflite")
    assert proof.checks[-1].count > 0 and "the trained one" in proof.checks[-2].name
    # LiteRT is the judge of what the file computes. Through 50 untrained layers a difference of one code can grow.
    judged = Model(Graph.read(tmp_path / "int8.tflite")).predict(inputs)
    assert np.abs(judged - np.asarray(model(inputs))).mean() <= 2 / 256


def test_saved_and_loaded_it_computes_and_trains_the_same(tmp_path: Path) -> None:
    inputs, labels = images(12), np.arange(12) % 10
    model = QuantModel(subclassed())
    model.calibrate(inputs)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", teacher="float", range_rate=2.0)
    model.fit(inputs, labels, batch_size=4, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, QuantModel)
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    for each in (model, loaded):
        each.fit(inputs, labels, batch_size=4, verbose=0, shuffle=False)
        each.to_int8(tmp_path / f"{each is model}.tflite")
    assert (tmp_path / "True.tflite").read_bytes() == (tmp_path / "False.tflite").read_bytes()


def test_four_bit_weights_are_trained_as_the_file_has_them(tmp_path: Path) -> None:
    """Softmax stays in float, so that outputs can be compared more finely than in its 256 steps."""
    keras.utils.set_random_seed(0)
    inputs, labels = images(32, 8), np.arange(32) % 10
    convolutions = [layers.Conv2D(8, 3, activation="relu"), layers.DepthwiseConv2D(3)]
    head = [layers.Flatten(), layers.Dense(10, activation="softmax")]
    network = keras.Sequential([keras.Input((8, 8, 3)), *convolutions, *head])
    model = QuantModel(network, precision={"*": "int4", "SOFTMAX": "float"})
    model.calibrate(inputs)
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    before = model.evaluate(inputs, labels, verbose=0)
    model.fit(inputs, labels, batch_size=8, epochs=8, verbose=0)
    assert model.evaluate(inputs, labels, verbose=0) < before
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    simulated = loaded.predict(inputs, verbose=0)
    np.testing.assert_array_equal(simulated, model.predict(inputs, verbose=0))
    proof = loaded.to_int8(tmp_path / "int4.tflite")
    assert all(check.passed for check in proof.checks)
    written = Graph.read(tmp_path / "int4.tflite")
    weights = [t for t in written.tensors if t.dtype == "int4" and t.constant is not None]
    assert len(weights) == 3
    # Learned scales: not those of the largest weights, which lie beyond the highest code or do not reach it.
    trained = {tensor.name: tensor.constant for tensor in model.graph.tensors}
    for tensor in weights:
        assert tensor.qparams is not None and tensor.qparams.axis is not None and trained[tensor.name] is not None
        rows = np.moveaxis(trained[tensor.name], tensor.qparams.axis, 0).reshape(tensor.shape[tensor.qparams.axis], -1)
        places = np.abs(rows).max(axis=1) / tensor.qparams.scale
        assert np.all(np.abs(places - 7) > 1e-3) and np.all(places > 5)
    assert np.ptp(simulated, axis=0).max() > 0.1
    # LiteRT's own convolution rounds other ties than XNNPACK's, which the simulation is.
    np.testing.assert_allclose(Model(written).predict(inputs), simulated, atol=0.01)


def test_a_float_op_between_integers_is_simulated_and_written(tmp_path: Path) -> None:
    """What it computes is stored in float, and read as integers: every place in the file is one that was trained."""

    def power(x: Any) -> Any:
        # Of two tensors, which no lookup computes.
        return keras.ops.power(keras.ops.abs(x) + 0.5, x)

    inputs = images(12, 8)
    convolutions = [layers.Conv2D(6, 3, padding="same"), layers.Activation(power), layers.Conv2D(4, 3)]
    model = QuantModel(keras.Sequential([keras.Input((8, 8, 3)), *convolutions]), allow_float=True)
    model.calibrate(inputs)
    simulated = model.predict(inputs, verbose=0)
    proof = model.to_int8(tmp_path / "mixed.tflite")
    assert [item.op.split(" #")[0] for item in proof.kept_in_float] == ["POW"]
    assert all(check.passed for check in proof.checks)
    step = proof.output.scale
    assert step > 0 and np.ptp(simulated) > 20 * step
    found = Model(Graph.read(tmp_path / "mixed.tflite")).predict(inputs)
    assert np.abs(found - simulated).max() <= 1.01 * step


def test_training_refuses_16_bits() -> None:
    with pytest.raises(QuantizationError, match="does not simulate int16x8"):
        QuantModel(Graph(tiny_tflite()), precision={"*": "int16x8"})


def test_an_interrupted_fit_resumes_from_its_backup(tmp_path: Path) -> None:
    inputs, labels = images(12), np.arange(12) % 10
    source = Graph(octavo.source.export.to_float_tflite(subclassed()))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def train(folder: str, *more: Any) -> QuantModel:
        model = QuantModel(source)
        model.calibrate(inputs)
        model.compile("adam", "sparse_categorical_crossentropy")
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder)
        model.fit(inputs, labels, batch_size=4, epochs=3, verbose=0, shuffle=False, callbacks=[backup, *more])
        return model

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("broken", Stop())
    np.testing.assert_array_equal(train("broken").predict(inputs, verbose=0), whole.predict(inputs, verbose=0))


def test_several_inputs_and_outputs_with_weights_and_mixed_metrics(tmp_path: Path) -> None:
    image, vector = keras.Input((8, 8, 3), name="photo"), keras.Input((5,), name="facts")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    joined = layers.Concatenate()([seen, layers.Dense(4, activation="relu")(vector)])
    network = keras.Model(
        [image, vector], [layers.Dense(3, activation="softmax")(joined), layers.Dense(1, activation="sigmoid")(joined)]
    )
    photos, facts = images(10, 8), RANDOM.normal(size=(10, 5)).astype(np.float32)
    model = QuantModel(network)
    model.calibrate({"photo": photos, "facts": facts})
    model.compile(
        "adam",
        ["sparse_categorical_crossentropy", "binary_crossentropy"],
        metrics=[["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)], [keras.metrics.AUC()]],
    )
    targets = [np.arange(10) % 3, (np.arange(10) % 2)[:, None].astype(np.float32)]
    weight = np.linspace(0.5, 1.5, 10)
    model.fit([photos, facts], targets, sample_weight=[weight, weight], verbose=0)
    model.to_int8(tmp_path / "int8.tflite")
    first, second = model.predict([photos, facts], verbose=0)
    by_name = model.predict({"photo": photos, "facts": facts}, verbose=0)
    np.testing.assert_array_equal(by_name[0], first)
    graph = Graph.read(tmp_path / "int8.tflite")
    runner = Model(graph)
    codes = list(zip(*(port.encode(v) for port, v in zip(runner.inputs, (photos, facts), strict=True)), strict=True))
    found: dict[int, list[np.ndarray]] = {}
    runner.each(codes, lambda place, outputs: found.update({place: [value.copy() for value in outputs]}))
    for place in range(10):
        for port, raw, simulated in zip(runner.outputs, found[place], (first, second), strict=True):
            assert np.abs(port.decode(raw[0]) - simulated[place]).max() <= 1.01 / 256


def test_class_weights_weigh() -> None:
    inputs, labels = images(8, 8), np.array([0, 1] * 4)
    source = Graph(tiny_tflite())

    def loss(weights: dict[int, float] | None) -> float:
        model = QuantModel(source)
        model.calibrate(inputs)
        model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        return float(model.fit(inputs, labels, class_weight=weights, verbose=0).history["loss"][0])

    assert loss({0: 2.0, 1: 2.0}) == pytest.approx(2 * loss(None), rel=1e-5)


def test_a_teacher_is_learned_from_without_labels() -> None:
    inputs = images(8, 8)
    bias = keras.initializers.Constant([0.0, 0.0, 3.0])
    teacher = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, "softmax", kernel_initializer="zeros", bias_initializer=bias),
        ]
    )
    model = QuantModel(Graph(tiny_tflite()))
    model.calibrate(inputs)
    model.compile(keras.optimizers.Adam(0.05), teacher=teacher)
    model.fit(inputs, epochs=40, verbose=0)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), teacher.predict(inputs, verbose=0), atol=0.05)


@pytest.mark.parametrize("kind", ["array", "dataset", "generator", "pydataset"])
def test_calibration_takes_images_in_any_of_kerass_forms(kind: str) -> None:
    import tensorflow as tf

    inputs, labels = images(20, 8), np.zeros(20)

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
            return inputs[place * 4 : place * 4 + 4], labels[place * 4 : place * 4 + 4]

    given: Any = {
        "array": inputs,
        "dataset": tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(6),
        "generator": (inputs[i : i + 1] for i in range(20)),
        "pydataset": Batches(),
    }[kind]
    model = QuantModel(Graph(tiny_tflite()))
    model.calibrate(given)
    assert model.ranges.images == 20
    plain = octavo.quantization.calibrate.calibrate(Graph(tiny_tflite()), inputs).of
    name = Graph(tiny_tflite()).tensors[Graph(tiny_tflite()).inputs[0]].name
    assert model.ranges.of[name] == pytest.approx(plain[name], abs=1e-2)


@pytest.fixture(scope="module")
def wide() -> Graph:
    """A network whose channels have enough weights for 4 bits to clip the largest."""
    keras.utils.set_random_seed(0)
    ends = [layers.Flatten(), layers.Dense(10)]
    return Graph(to_float_tflite(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(8, 3), *ends])))


@pytest.mark.parametrize("precision", [None, {"*": "int4"}])
@pytest.mark.parametrize("passes", [("compensate",), ("adaround",), ()])
def test_training_starts_from_what_tuning_passes_made(
    wide: Graph, passes: tuple[Any, ...], precision: dict[str, Any] | None, tmp_path: Path
) -> None:
    """Without a step of training, the file holds the weights that the passes choose for post-training quantization."""
    inputs, graph = images(20, 8), wide
    expected = octavo.quantization.calibrate.calibrate(graph, inputs)
    model = QuantModel(graph, precision=precision)
    model.calibrate(inputs, tune=passes)
    model.to_int8(tmp_path / "trained.tflite")
    tuned = tune(graph, expected, list(inputs), passes, partial(build, precision=precision))
    if precision and passes != ("adaround",):
        # Scales of 4 bits are learned, and start where these weights have the least squared error.
        learned = QuantModel(tuned.graph, precision=precision)
        learned.set_ranges(tuned.ranges)
        tuned = replace(tuned, ranges=learned.ranges)
    made = quantize(tuned.graph, tuned.ranges, precision=precision)
    codes = [Graph(each).tensors for each in (made.content, (tmp_path / "trained.tflite").read_bytes())]
    kinds = ("int8", "int4")
    weights = [[t for t in tensors if t.constant is not None and t.dtype in kinds] for tensors in codes]
    assert len(weights[0]) == 2
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one.constant, other.constant)
        np.testing.assert_allclose(one.qparams.scale, other.qparams.scale, rtol=1e-6)


def test_the_float_teacher_is_the_graph_before_tuning() -> None:
    inputs, graph = images(20, 8), Graph(tiny_tflite())
    model = QuantModel(graph)
    model.calibrate(inputs)
    model.compile(teacher="float")
    np.testing.assert_array_equal(model.teacher(inputs), FloatModel(graph)(inputs))
    assert np.abs(FloatModel(model.graph)(inputs) - model.teacher(inputs)).max() > 0
    with pytest.raises(QuantizationError, match="There is no tuning pass 'perfect'"):
        model.calibrate(inputs, tune=["perfect"])


def test_mistakes_get_one_clear_message(tmp_path: Path) -> None:
    model = QuantModel(Graph(tiny_tflite()))
    with pytest.raises(ModelError, match=r"no activation ranges yet. Call model.calibrate"):
        model.predict(images(1, 8), verbose=0)
    with pytest.raises(ModelError, match="no activation ranges yet"):
        model.to_int8(tmp_path / "int8.tflite")
    with pytest.raises(DataError, match=r"needs values of shape \('N', 8, 8, 3\), but got \(2, 9, 9, 3\)"):
        model.calibrate(images(2, 9))
    with pytest.raises(DataError, match="at least one image"):
        model.calibrate(images(0, 8))
    with pytest.raises(DataError, match="is empty"):
        model.calibrate(iter([]))
    with pytest.raises(DataError, match="got a int"):
        model.calibrate(3)
    with pytest.raises(ModelError, match="graph ends in SOFTMAX"):
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ModelError, match=r"load_model\(path\)"):
        QuantModel(tmp_path / "model.keras")
    with pytest.raises(ModelError, match="no file"):
        QuantModel(tmp_path / "none.tflite")
    model.calibrate(images(4, 8))
    model.to_int8(tmp_path / "int8.tflite")
    with pytest.raises(ModelError, match="quantized already"):
        QuantModel(tmp_path / "int8.tflite")


def test_a_sidecar_goes_with_the_model(tmp_path: Path) -> None:
    from octavo.data.preprocess import Preprocess

    (tmp_path / "float.tflite").write_bytes(tiny_tflite())
    belongs = Sidecar(Preprocess((8, 8)), ("cat", "dog", "owl"))
    belongs.write(tmp_path / "float.tflite")
    model = QuantModel(tmp_path / "float.tflite")
    model.calibrate(images(4, 8))
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras").to_int8(tmp_path / "int8.tflite")
    assert octavo.source.sidecar.read(tmp_path / "int8.tflite") == belongs
    model.to_int8(tmp_path / "int8.tflite", classes=("a", "b", "c"))
    assert octavo.source.sidecar.read(tmp_path / "int8.tflite") == Sidecar(Preprocess((8, 8)), ("a", "b", "c"))


def test_a_stale_sidecar_does_not_stay_beside_a_new_file(tmp_path: Path) -> None:
    from octavo.data.preprocess import Preprocess

    (tmp_path / "int8.tflite").write_bytes(b"another model")
    Sidecar(Preprocess((8, 8))).write(tmp_path / "int8.tflite")
    model = QuantModel(Graph(tiny_tflite()))
    model.calibrate(images(4, 8))
    model.to_int8(tmp_path / "int8.tflite")
    assert octavo.source.sidecar.read(tmp_path / "int8.tflite") is None
    model.to_int8(tmp_path / "int8.tflite", Preprocess((8, 8), scale=(0, 1)))
    assert octavo.source.sidecar.read(tmp_path / "int8.tflite") == Sidecar(Preprocess((8, 8), scale=(0, 1)))


def test_a_failed_proof_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from octavo.base.errors import ProofError
    from octavo.training import convert

    model = QuantModel(Graph(tiny_tflite()))
    model.calibrate(images(4, 8))

    def tampered(graph: Graph, ranges: Any, *rest: Any) -> Any:
        # As a writer would that quantizes another graph than the trained one.
        changed = {
            t.name: t.constant * 1.5 + 0.01 for t in graph.tensors if t.constant is not None and t.dtype == "float32"
        }
        return convert_quantize(graph.replaced(changed), ranges, *rest)

    convert_quantize = convert.quantize
    monkeypatch.setattr(convert, "quantize", tampered)
    with pytest.raises(ProofError, match="not kept"):
        model.to_int8(tmp_path / "int8.tflite")
    assert list(tmp_path.iterdir()) == []
