"""Several hosts, as network namespaces of this machine: what they do together is what one process does alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from brightness import CLASSES, SIZE, brightness, write_pictures
from scripted import SCRIPTS, module
from sharded import tars

from octavo.data.preprocess import Preprocess
from octavo.data.streamed import HELD
from octavo.source.sidecar import Sidecar

OCTAVO = [sys.executable, "-W", "ignore", "-m", "octavo.cli"]
# What tells the hosts apart: the namespace of a process.
WHERE = "import os; print(os.stat('/proc/self/ns/net').st_ino)"


hosts = module("hosts")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _possible() -> None:
    if why := hosts.missing():
        pytest.skip(f"no hosts can be made here: {why}")


@pytest.fixture
def some() -> Iterator[Callable[[int], list[Any]]]:
    """Makes hosts, which go with the test."""
    with ExitStack() as stack:
        yield lambda count: stack.enter_context(hosts.hosts(count))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its images in a folder and in shards, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "model.tflite").write_bytes(brightness((-1.0, 1.0)))
    Sidecar(Preprocess((SIZE, SIZE)), CLASSES).write(folder / "model.tflite")
    for split, count in (("train", 8 * HELD), ("val", 40), ("test", 8 * HELD)):
        write_pictures(folder / "photos" / split, count)
    for split in ("train", "test"):
        tars(folder / "photos", folder / "shards", CLASSES, split)
    alone = subprocess.run(evaluated(folder), capture_output=True, text=True, check=True)
    (folder / "alone.json").write_text(alone.stdout)
    subprocess.run(quantized(folder, folder / "alone.tflite"), capture_output=True, check=True)
    return folder


def evaluated(files: Path, data: str = "photos", *more: object) -> list[str]:
    return [*OCTAVO, *map(str, ("evaluate", files / "model.tflite", "--data", files / data, "--json", *more))]


def quantized(files: Path, out: Path, data: str = "photos", *more: object) -> list[str]:
    words = ("quantize", files / "model.tflite", "--data", files / data, "-o", out, "--images", 7 * HELD)
    return [*OCTAVO, *map(str, (*words, "--observer", "mse", *more))]


def equal(files: Path, tmp_path: Path, host: Any, env: dict[str, str], backend: str) -> None:
    """Evaluation and calibration by two processes, of a folder and of shards, give what one process alone does."""
    known = json.loads((files / "alone.json").read_text())
    for data in ("photos", "shards"):
        shared = ("--jobs", 2, "--backend", backend)
        done = host.run(evaluated(files, data, *shared), env)
        assert done.returncode == 0, done.stderr
        assert {**json.loads(done.stdout), "data": known["data"]} == known
        out = tmp_path / f"{data}.tflite"
        done = host.run(quantized(files, out, data, *shared), env)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == (files / "alone.tflite").read_bytes()


def spread(host: Any, env: dict[str, str], backend: str) -> set[str]:
    """The hosts on which an engine's processes run, as seen from one of them."""
    # A function of the main script goes by value: other processes have no module of this name.
    code = (
        "import os, time\n"
        "from octavo.base import jobs\n"
        "def where(_):\n"
        "    time.sleep(0.2)\n"
        "    return os.stat('/proc/self/ns/net').st_ino\n"
        "if __name__ == '__main__':\n"
        f"    print(*sorted(set(jobs.Jobs(2, {backend!r}).map(where, range(8)))))\n"
    )
    done = host.run([sys.executable, "-W", "ignore", "-c", code], env)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def wait(until: Callable[[], bool], seconds: float = 300) -> None:
    start = time.monotonic()
    while not until():
        assert time.monotonic() - start < seconds, "it took too long"
        time.sleep(0.01)


def test_hosts_have_their_own_network(some: Callable[[int], list[Any]], tmp_path: Path) -> None:
    first, second = some(2)
    assert len({host.run([sys.executable, "-c", WHERE]).stdout for host in (first, second)}) == 2
    server = f"import socket; s = socket.create_server(('{first.address}', 7000)); print(s.accept()[1][0], flush=True)"
    started = first.start([sys.executable, "-c", server], tmp_path / "log")
    client = f"import socket; socket.create_connection(('{first.address}', 7000), 1)"
    second.cut()
    assert "Error" in second.run([sys.executable, "-c", client]).stderr
    second.join()
    wait(lambda: second.run([sys.executable, "-c", client]).returncode == 0, 20)
    assert started.wait(20) == 0 and (tmp_path / "log").read_text().strip() == second.address


def test_a_command_on_a_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPTS / "hosts.py"),
            "--count",
            "2",
            "--on",
            "2",
            "--",
            "ip",
            "-brief",
            "address",
            "show",
            "eth0",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "10.77.0.2/24" in done.stdout
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(name in left for name in re.findall(r"octavo-\d+-\d", done.stderr))


def test_dask_on_two_hosts(files: Path, some: Callable[[int], list[Any]], tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[distributed]'")
    first, *workers = some(3)
    scheduler = f"tcp://{first.address}:8786"
    log = tmp_path / "scheduler"
    first.start([*dask_command("scheduler"), "--host", first.address, "--no-dashboard"], log)
    for place, host in enumerate(workers):
        words = [*dask_command("worker"), scheduler, "--nthreads", 1, "--no-dashboard", "--local-directory", tmp_path]
        host.start(words, tmp_path / f"worker-{place}")
    wait(lambda: log.exists() and log.read_text().count("Register worker") == 2)
    env = {"DASK_SCHEDULER_ADDRESS": scheduler}
    assert len(spread(first, env, "dask")) == 2
    equal(files, tmp_path, first, env, "dask")


def dask_command(kind: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", f"distributed.cli.dask_{kind}"]


def test_ray_on_two_hosts(files: Path, some: Callable[[int], list[Any]], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[distributed]'")
    first, second = some(2)
    head = f"{first.address}:6379"
    ray = [sys.executable, "-W", "ignore", "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    # Ray asks every node and every driver for the token of the cluster.
    keys = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    env = {"RAY_ADDRESS": head, **keys}
    first.start(
        [*ray, "--head", f"--node-ip-address={first.address}", "--port=6379", "--include-dashboard=false"],
        tmp_path / "head",
        keys,
    )
    wait(lambda: "Ray runtime started" in (tmp_path / "head").read_text())
    second.start([*ray, f"--address={head}", f"--node-ip-address={second.address}"], tmp_path / "node", keys)
    wait(lambda: "Ray runtime started" in (tmp_path / "node").read_text())
    assert len(spread(first, env, "ray")) == 2
    equal(files, tmp_path, first, env, "ray")


# Values whose trials take some seconds, so that workers can be met at work.
GRID = ("quantize.observer=minmax,mse", "calibrate.seed=0,1")
QUICK = ("data.validation=30", "deployment.seconds=0.05", "deployment.targets=false", "calibrate.images=30")


def swept(files: Path, out: Path, *more: object) -> list[str]:
    settings = [f"--set={setting}" for setting in (*GRID, *QUICK)]
    words = ("sweep", files / "model.tflite", "--data", files / "photos", *settings, "--out", out, *more)
    return [*OCTAVO, *map(str, words)]


def first_at_work(logs: list[Path], gone: int | None = None) -> int:
    """The first worker, but for one that is gone, that has calibrated a trial and not finished it."""
    start = time.monotonic()
    while time.monotonic() - start < 300:
        for place, log in enumerate(logs):
            if place != gone and "compensate: " in log.read_text().rpartition("trial ")[2]:
                return place
        time.sleep(0.005)
    raise AssertionError("no worker started")


def results(folder: Path) -> list[object]:
    """What does not depend on the time that something took."""
    rows = json.loads((folder / "sweep.json").read_text())["variants"]
    scores = [{key: row[key] for key in ("name", "score", "choice", "bytes", "settings")} for row in rows]
    return [scores, [path.read_bytes() for path in sorted(folder.glob("trial-*/int8.tflite"))]]


def test_a_sweep_of_three_workers_of_which_one_is_killed_and_one_is_cut_off(
    files: Path, some: Callable[[int], list[Any]], tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install -e '.[sweeps]'")
    pytest.importorskip("grpc", reason="grpcio is not installed")
    first, *others = some(4)
    storage = (
        "import optuna; optuna.storages.run_grpc_proxy_server("
        f"optuna.storages.RDBStorage('sqlite:///{tmp_path / 'study.db'}'), host='{first.address}', port=13000)"
    )
    first.start([sys.executable, "-W", "ignore", "-c", storage], tmp_path / "storage")
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    done = first.run(swept(files, shared, "--plan", "--storage", f"grpc://{first.address}:13000"))
    assert done.returncode == 0, done.stderr
    logs = [tmp_path / f"worker-{place}" for place in range(3)]
    for host in others:
        # Linux gives up on a connection after 15 minutes of silence; here after some seconds.
        host.run([sys.executable, "-c", "open('/proc/sys/net/ipv4/tcp_retries2', 'w').write('3')"])
    workers = [host.start([*OCTAVO, "worker", str(shared)], log) for host, log in zip(others, logs, strict=True)]
    killed = first_at_work(logs)
    workers[killed].kill()
    gone = first_at_work(logs, killed)
    others[gone].cut()
    (last,) = {0, 1, 2} - {killed, gone}
    assert workers[killed].wait(60) == -signal.SIGKILL
    assert workers[gone].wait(500) == 2
    assert "The study cannot be reached" in logs[gone].read_text()
    assert workers[last].wait(500) == 0
    # What the one that was cut off had is taken up; all is compared at the end.
    done = first.run([*OCTAVO, "sweep", str(shared)])
    assert done.returncode == 0, done.stderr
    done = first.run(swept(files, alone))
    assert done.returncode == 0, done.stderr
    assert results(shared) == results(alone)
    assert len(list(shared.glob("trial-*/int8.tflite"))) == 4
