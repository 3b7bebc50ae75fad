"""The state of a training after each epoch. The next epoch depends only on it and the seed, so training can resume."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.files import replacing
from octavo.data.dataset import ImageSet
from octavo.training.history import Epoch, History
from octavo.training.team import ALONE, Team

Array = npt.NDArray[Any]


def identity(model: Any, train: ImageSet, validation: ImageSet | None, *rest: Any) -> str:
    """The identity of a training; a kept state is used only for the same network, images and recipe."""
    # By name, not path: Keras numbers models of one kind within a process.
    shapes = [(v.name, tuple(v.shape)) for v in model.weights]
    digests = [train.digest(), validation.digest() if validation else ""]
    start = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())).hexdigest()
    return hashlib.sha256(repr((shapes, digests, start, rest, sorted(Epoch.model_fields))).encode()).hexdigest()


def parameters(model: Any) -> dict[str, int]:
    """How many numbers a model has, and how many of them train."""

    def count(variables: list[Any]) -> int:
        return sum(int(np.prod(v.shape)) for v in variables)

    return {"total": count(model.weights), "trainable": count(model.trainable_weights)}


class State:
    """The state from which a stopped training resumes: all variables after the last complete epoch, in one file.

    Args:
        workdir: Where the file is.
        identity: The training's identity, from `identity`.
        team: Who trains. Rank 0 keeps the file, and all continue from it.
    """

    def __init__(self, workdir: Path, identity: str, team: Team = ALONE) -> None:
        self._path = workdir / "epoch.npz"
        self._identity = identity
        self._team = team
        self._optimizer: list[Array] = []

    def write(self, model: Any, history: History, best: list[Array] | None) -> None:
        """Keeps a compiled model's variables, its optimizer's, and the best weights so far."""
        if not self._team.writes:
            return
        arrays = {f"model_{i}": np.array(v.numpy()) for i, v in enumerate(model.weights)}
        arrays |= {f"optimizer_{i}": np.array(v.numpy()) for i, v in enumerate(model.optimizer.variables)}
        arrays |= {f"best_{i}": v for i, v in enumerate(best or [])}
        facts = json.dumps({"identity": self._identity, "history": history.to_json()})
        with replacing(self._path) as temporary:
            np.savez(temporary, facts=np.array(facts), **arrays)  # type: ignore[arg-type]

    def read(self, model: Any) -> tuple[History, int, list[Array] | None]:
        """Sets the model to the kept state; gives its history, the next epoch, and the best weights so far."""
        content = self._team.same(self._content())
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as kept:
                facts = json.loads(str(kept["facts"]))
                if facts["identity"] != self._identity:
                    return History(), 0, None
                arrays = {
                    part: [kept[f"{part}_{i}"] for i in range(sum(n.startswith(f"{part}_") for n in kept.files))]
                    for part in ("model", "optimizer", "best")
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            # If the state cannot be read, training starts from the beginning.
            return History(), 0, None
        model.set_weights(arrays["model"])
        self._optimizer = arrays["optimizer"]
        history = History.from_json(facts["history"])
        history.resumed += 1
        return history, len(history.epochs), arrays["best"] or None

    def _content(self) -> bytes:
        """The file. Empty where there is none, and in processes that keep none."""
        try:
            return self._path.read_bytes() if self._team.writes else b""
        except OSError:
            return b""

    def restore_optimizer(self, model: Any) -> None:
        """Sets the optimizer, once it is built, to the kept state, if there is one."""
        if self._optimizer:
            for variable, value in zip(model.optimizer.variables, self._optimizer, strict=True):
                variable.assign(value)
