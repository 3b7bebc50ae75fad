"""Several processes that train together: each its rows of the batches of one, and the same result."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from scripted import module
from tiny import CLASSES, pictures, write_folder

from octavo.base.errors import OctavoError, RecipeError
from octavo.base.place import Place
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import AugmentRecipe
from octavo.tflite.graph import Graph
from octavo.training.augment import Augment
from octavo.training.batches import Pixels, training_batches
from octavo.training.team import Team, join

MISSING = [name for name in ("jax", "litert_converter") if find_spec(name) is None]
needs_jax = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install -e '.[jax]')")
hosts = module("hosts")
# Batch norm, dropout and a depthwise convolution.
NETWORK = """
import keras

def network(input_shape, classes):
    image = made = keras.Input(input_shape)
    made = keras.layers.Conv2D(8, 3, use_bias=False)(made)
    made = keras.layers.BatchNormalization(momentum=0.8)(made)
    made = keras.layers.ReLU(6.0)(made)
    made = keras.layers.DepthwiseConv2D(3)(made)
    made = keras.layers.GlobalAveragePooling2D()(made)
    made = keras.layers.Dropout(0.1, seed=1)(made)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(made))
"""
RECIPE = """
name: team
data: {source: digits, train: 160, validation: 27, test: 100}
preprocess: {size: 32, scale: [-1, 1]}
model: {architecture: "teamnet:network"}
train:
  epochs: 4
  batch: 16
  learning_rate: 0.03
  augment: {flip: true, shift: 0.1}
  weight_averaging: 0.9
  early_stopping: 40
  adapt_batch_norm: true
  reestimate_batch_norm: true
quantize: {method: qat}
qat: {epochs: 2, batch: 16, distill: 0.3}
deployment: {seconds: 0.05, targets: false}
"""


def _images(count: int = 24) -> Pixels:
    images, labels = pictures(count)
    return Pixels(ImageSet(list(images), labels, CLASSES, tuple(map(str, range(count)))), Preprocess((8, 8)))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("world", [2, 4])
def test_all_processes_together_train_on_the_batches_of_one(world: int, flip: bool) -> None:
    labels = np.eye(24, dtype=np.float32)

    def batches(team: Team) -> Any:
        return training_batches(_images(), labels, 8, 5, 1, Augment(AugmentRecipe(flip=flip), 5), team)

    whole = batches(Team())
    parts = [batches(Team(Place(rank, world, "a:1"), 2 * world)) for rank in range(world)]
    assert len(whole) == 3
    for step in range(3):
        for place in (0, 1):
            joined = np.concatenate([part[step][place] for part in parts])
            np.testing.assert_array_equal(joined, whole[step][place])
        assert len(parts[0][step][0]) == 8 // world


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(RecipeError, match="`batch` is 30, which 4 devices cannot share equally"):
        Team(Place(1, 2, "a:1"), 4).rows(30, "batch")


def test_several_processes_on_tensorflow_are_refused() -> None:
    with pytest.raises(OctavoError, match="KERAS_BACKEND=jax"):
        join(Place(0, 2, "127.0.0.1:1"))
    assert join(Place()).alone


def _free() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _write_recipe(folder: Path) -> None:
    (folder / "teamnet.py").write_text(NETWORK)
    (folder / "team.yaml").write_text(RECIPE)


def _start(words: list[Any], folder: Path, world: int) -> list[subprocess.Popen[str]]:
    """A command of Octavo with Keras on JAX, in so many processes."""
    meet = _free()
    _write_recipe(folder)
    command = [sys.executable, "-P", "-m", "octavo.cli", *map(str, words)]
    own = {
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": str(folder),
        "OCTAVO_WORLD_SIZE": str(world),
        "OCTAVO_COORDINATOR": meet,
    }
    return [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **own, "OCTAVO_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def _ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """The exit code of each process, and what it wrote."""
    try:
        written = [process.communicate(timeout=500) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, written, strict=True)]


def _run(out: str, **settings: Any) -> list[Any]:
    return ["run", "team.yaml", "--out", out, *(f"--set={key}={value}" for key, value in settings.items())]


def _losses(run: Path, record: str) -> list[tuple[float, float]]:
    return [(row["loss"], row["val_loss"]) for row in json.loads((run / record).read_text())["epochs"]]


@pytest.mark.slow
@needs_jax
def test_a_run_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    for world in (1, 2):
        done = _ended(_start([*_run(f"run{world}"), "--json"], tmp_path, world))
        assert [code for code, *_ in done] == [0] * world, done
        assert json.loads(done[0][1])
        assert all(not out for _, out, _ in done[1:])
    one, two = tmp_path / "run1", tmp_path / "run2"
    for record in ("history.json", "qat.json", "control.json"):
        np.testing.assert_allclose(_losses(two, record), _losses(one, record), rtol=1e-4)
    for record in ("qat.json", "control.json"):
        first, second = (json.loads((run / record).read_text()) for run in (one, two))
        assert second["peak_rate"] == first["peak_rate"]
    first, second = (json.loads((run / "evaluation.json").read_text())["models"] for run in (one, two))
    assert {name: model["score"] for name, model in second.items()} == {n: m["score"] for n, m in first.items()}
    assert all(check["passed"] for check in json.loads((two / "proof.json").read_text())["checks"])


@pytest.mark.slow
@needs_jax
def test_a_killed_process_ends_all_and_the_next_start_resumes(tmp_path: Path) -> None:
    words = _run("run", **{"train.epochs": 40, "quantize.method": "ptq"})
    started = _start(words, tmp_path, 2)
    state = tmp_path / "run" / ".train" / "epoch.npz"
    while not state.exists() and all(process.poll() is None for process in started):
        time.sleep(0.05)
    os.kill(started[1].pid, signal.SIGKILL)
    (code, out, said), _ = _ended(started)
    assert (code, out) == (75, ""), said
    assert said.strip().splitlines()[-1].startswith("octavo: ")
    assert "training resumes after the last epoch" in said
    assert "Traceback" not in said

    again = _ended(_start(words, tmp_path, 2))
    assert [code for code, *_ in again] == [0, 0], again
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert (history["resumed"], len(history["epochs"])) == (1, 40)


@pytest.mark.slow
@needs_jax
def test_two_hosts_train_as_one_and_end_together(tmp_path: Path) -> None:
    if why := hosts.missing():
        pytest.skip(f"no hosts can be made here: {why}")
    _write_recipe(tmp_path)

    def start(made: list[Any], out: str, epochs: int) -> list[subprocess.Popen[str]]:
        words = _run(str(tmp_path / out), **{"train.epochs": epochs, "quantize.method": "ptq"})
        words[1] = tmp_path / words[1]
        own = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(tmp_path), "OCTAVO_WORLD_SIZE": str(len(made))}
        own["OCTAVO_COORDINATOR"] = f"{made[0].address}:5311"
        command = [sys.executable, "-P", "-m", "octavo.cli", *words]
        return [
            host.start(
                host.named(command, tmp_path / f"{host.plug}.hosts"),
                tmp_path / f"{out}-{rank}.log",
                own | {"OCTAVO_RANK": str(rank)},
            )
            for rank, host in enumerate(made)
        ]

    with hosts.hosts(2) as made:
        for out, some in (("one", made[:1]), ("two", made)):
            assert [process.wait(500) for process in start(some, out, 4)] == [0] * len(some)
        one, two = (_losses(tmp_path / out, "history.json") for out in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=1e-4)
        started = start(made, "killed", 40)
        state = tmp_path / "killed" / ".train" / "epoch.npz"
        while not state.exists() and all(process.poll() is None for process in started):
            time.sleep(0.05)
        os.killpg(started[1].pid, signal.SIGKILL)
        assert started[0].wait(300) == 75
        assert "training resumes after the last epoch" in (tmp_path / "killed-0.log").read_text()
        assert [process.wait(500) for process in start(made, "killed", 40)] == [0, 0]
    history = json.loads((tmp_path / "killed" / "history.json").read_text())
    assert (history["resumed"], len(history["epochs"])) == (1, 40)


@pytest.mark.slow
@needs_jax
def test_qat_of_two_processes_is_that_of_one(tmp_path: Path, example_files: Path) -> None:
    photos = write_folder(tmp_path / "photos", 60)
    for world in (1, 2):
        words = ["qat", example_files / "float.tflite", "--data", photos, "-o", f"int8_{world}.tflite", "--batch", 8]
        done = _ended(_start([*words, "--learning-rate", 1e-3, "--json"], tmp_path, world))
        assert [code for code, *_ in done] == [0] * world, done
        assert json.loads(done[0][1])
        assert all(not out for _, out, _ in done[1:])
    assert not list(tmp_path.glob(".*.training"))
    one, two = (Graph.read(tmp_path / f"int8_{world}.tflite") for world in (1, 2))
    for first, second in zip(one.tensors, two.tensors, strict=True):
        if first.qparams is not None and second.qparams is not None:
            np.testing.assert_allclose(second.qparams.scale, first.qparams.scale, rtol=1e-4, err_msg=first.name)
        if first.dtype == "int8" and first.constant is not None and second.constant is not None:
            np.testing.assert_allclose(second.constant, first.constant, atol=1, rtol=0, err_msg=first.name)


@pytest.mark.slow
@needs_jax
def test_a_mistake_ends_all_processes(tmp_path: Path) -> None:
    done = _ended(_start(_run("run", **{"train.batch": 15}), tmp_path, 2))
    assert {code for code, *_ in done} <= {2, 75}
    assert any("`batch` is 15, which 2 devices cannot share equally" in said for *_, said in done), done


@pytest.fixture
def ray_cluster() -> Iterator[dict[str, str]]:
    """The variables by which a Ray cluster of this machine, with two CPUs, is reached."""
    address = _free()
    keys = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
    ]
    host, port = address.split(":")
    own = [f"--node-ip-address={host}", f"--port={port}", f"--ray-client-server-port={_free().split(':')[1]}"]
    # Sockets have short paths.
    with TemporaryDirectory(prefix="ray") as folder, (Path(folder) / "said").open("w+") as said:
        options = ["--include-dashboard=false", f"--temp-dir={folder}/ray"]
        head = subprocess.Popen([*command, *own, *options], env={**os.environ, **keys}, stdout=said, stderr=said)
        try:
            while "Ray runtime started" not in (text := Path(said.name).read_text()):
                assert head.poll() is None, text
                time.sleep(0.2)
            yield {"RAY_ADDRESS": address, **keys}
        finally:
            head.terminate()
            head.wait(60)


@pytest.mark.slow
@needs_jax
@pytest.mark.skipif(find_spec("ray") is None, reason="not installed: ray (pip install -e '.[distributed]')")
def test_processes_on_a_ray_cluster(tmp_path: Path, ray_cluster: dict[str, str]) -> None:
    _write_recipe(tmp_path)
    own = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(tmp_path), "OCTAVO_WORLD_SIZE": "2"}

    def on_ray(**settings: Any) -> subprocess.CompletedProcess[str]:
        words = [*_run("run", **{"quantize.method": "ptq", **settings}), "--launch", "ray", "--json"]
        command = [sys.executable, "-P", "-m", "octavo.cli", *words]
        environment = {**os.environ, **ray_cluster, **own}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)

    mistaken = on_ray(**{"train.batch": 15})
    assert "`batch` is 15, which 2 devices cannot share equally" in mistaken.stderr
    assert mistaken.returncode == 2
    done = on_ray()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert len(_losses(tmp_path / "run", "history.json")) == 4
