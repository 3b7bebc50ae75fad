"""What the examples in docstrings find where they run: a model, its int8 form, images, a run, a folder, a policy.

The model is the classifier of `tests/tiny.py`, so that an example names files as a user would and takes no time.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FILES = ("float.tflite", "int8.tflite", "photos", "runs", "digits-model", "budget.yaml")
# These train a network, or run twice, which takes more than the seconds that an example may.
SLOW = {"octavo.runs.stages.run", "octavo.runs.sweep.sweep", "octavo.runs.worker.worker"}
# These need Optuna.
SWEEPS = {"octavo.runs.sweep.sweep", "octavo.runs.worker.worker"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the `SLOW` examples, and skips those of `SWEEPS` where Optuna is missing."""
    no_optuna = find_spec("optuna") is None
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name in SLOW:
            item.add_marker(pytest.mark.slow)
        if isinstance(item, pytest.DoctestItem) and item.name in SWEEPS and no_optuna:
            item.add_marker(pytest.mark.skip(reason="Optuna is not installed: pip install -e '.[sweeps]'"))


@pytest.fixture(scope="session", autouse=True)
def _short_timings() -> Iterator[None]:
    """No test asserts a time, so what Octavo times for half a second or more is timed for a moment."""
    from octavo.runtime import litert

    timed = litert.interleaved

    @functools.wraps(timed)
    def briefly(contents: Any, seconds: float = 1.0, *rest: Any, **more: Any) -> Any:
        return timed(contents, min(seconds, 0.05), *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litert, "interleaved", briefly)
        yield


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[dict[str, Callable[..., Any]]]:
    """Children are forks of a process that has imported what they need; gives what starts them otherwise, by name."""
    from forked import Forks

    from octavo.base import child

    started = {"run": child.run, "start": child.start}
    # Other systems have no fork, or one that their libraries do not survive.
    forks = Forks() if sys.platform == "linux" else None
    with pytest.MonkeyPatch.context() as patch:
        if forks is not None:
            patch.setattr(child, "run", forks.run)
            patch.setattr(child, "start", forks.start)
        yield started
    if forks is not None:
        forks.close()


@pytest.fixture
def started_children(monkeypatch: pytest.MonkeyPatch, _forked_children: dict[str, Callable[..., Any]]) -> None:
    """Children are started as those of users are."""
    from octavo.base import child

    for name, start in _forked_children.items():
        monkeypatch.setattr(child, name, start)


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `FILES`."""
    from tiny import CLASSES, SIZE, tiny_tflite, write_folder

    import octavo
    from octavo.base.files import sha256
    from octavo.source.sidecar import Sidecar

    folder = tmp_path_factory.mktemp("examples")
    (folder / "float.tflite").write_bytes(tiny_tflite())
    Sidecar(octavo.Preprocess((SIZE, SIZE)), CLASSES).write(folder / "float.tflite")
    for split, count in (("train", 120), ("test", 30)):
        write_folder(folder / "photos", count, split)
    octavo.quantize(folder / "float.tflite", folder / "photos", folder / "int8.tflite")
    shutil.copytree(Path(__file__).parent / "tests" / "former" / "run", folder / "runs" / "digits")
    (folder / "budget.yaml").write_text("max_drop: 15\nmax_size: 10000\nmax_float_ops: 0\n")
    page = folder / "digits-model" / "web" / "index.html"
    octavo.deploy(folder / "int8.tflite", folder / "digits-model")
    # In place of the demo, which takes LiteRT.js from npm.
    page.parent.mkdir()
    page.write_text("<title>The web demo</title>")
    with (folder / "digits-model" / "SHA256SUMS").open("a") as sums:
        sums.write(f"{sha256(page)}  web/index.html\n")
    return folder


@pytest.fixture(autouse=True)
def _example_folder(request: pytest.FixtureRequest) -> None:
    """An example that names one of the `FILES` runs in a folder of its own that holds them."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    text = "".join(example.source for example in request.node.dtest.examples)
    if any(name in text for name in FILES):
        # Asked for here, so that no other test makes a folder.
        folder = request.getfixturevalue("tmp_path")
        shutil.copytree(request.getfixturevalue("example_files"), folder, dirs_exist_ok=True)
        request.getfixturevalue("monkeypatch").chdir(folder)
