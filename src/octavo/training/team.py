"""The team: the processes, and the devices of each, that train one model together. Keras and JAX do the work.

Every process runs the same steps on its own rows of each batch, and JAX adds the gradients up, so that all of them have
the same weights after each step.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import DataError, LostError, OctavoError, RecipeError
from octavo.base.place import Place

Array = npt.NDArray[Any]

# After so many seconds without a sign of life a process counts as lost; so long all of them may take to meet.
LOST_AFTER, MEET_WITHIN = 30, 300
# What errors of JAX contain when another process is lost: of a CPU's collectives, of NVIDIA's, and of its service.
_LOST = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination service", "CoordinationService")


@dataclass(frozen=True)
class Team:
    """The processes and devices that train together.

    Args:
        place: Which process this is, of how many.
        devices: The devices of all processes.

    Example:
        >>> Team().alone, Team().rows(32, "batch")
        (True, slice(0, 32, None))
    """

    place: Place = field(default_factory=Place)
    devices: int = 1

    @property
    def alone(self) -> bool:
        """Whether one device of one process does all the work."""
        return self.devices == 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return self.place.rank == 0

    def rows(self, batch: int, what: str) -> slice:
        """The rows of each batch that this process trains on.

        Args:
            batch: Samples per step, of all processes together.
            what: Its name, for people.

        Raises:
            RecipeError: It cannot be divided among the devices.
        """
        if batch % self.devices:
            raise RecipeError(
                f"`{what}` is {batch}, which {self.devices} devices cannot share equally.",
                f"Set it to a multiple of {self.devices}.",
            )
        share = batch // self.place.world
        return slice(self.place.rank * share, (self.place.rank + 1) * share)

    @contextmanager
    def training(self, model: Any) -> Iterator[None]:
        """While a model trains in the block, its variables are on all devices, and each batch is divided among them.

        Whatever else has variables, such as augmentation, is made outside of the block.
        """
        if self.alone:
            yield
            return
        # Every process makes its own rows of a batch.
        distribution = load("keras").distribution.DataParallel(auto_shard_dataset=False)
        with self.together(), distribution.scope():
            for variable in model.variables:
                variable._layout = distribution.get_variable_layout(variable)
                variable.assign(variable.value)
            yield
        for variable in model.variables:
            variable._layout = None
            variable.assign(np.array(variable.value))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turns what JAX raises in the block when another process is lost into one error.

        Raises:
            LostError: Another process ended, or cannot be reached any more.
        """
        try:
            yield
        except Exception as error:
            if self.place.world == 1 or not any(sign in str(error) for sign in _LOST):
                raise
            raise LostError("Another process of this training ended, or cannot be reached any more.") from error

    def leave(self) -> None:
        """Parts from the other processes, all at the same time: nothing is trained together any more."""
        if self.place.world > 1:
            with self.together():
                load("jax").distributed.shutdown()

    def batch(self, rows: Array) -> Any:
        """A batch on all devices, of the rows that each process has of it; inside `training`."""
        if self.alone:
            return rows
        layout = load("keras").distribution.distribution().get_data_layout(rows.shape)
        return load("jax").make_array_from_process_local_data(layout.backend_layout, rows)

    def same(self, value: bytes) -> bytes:
        """The value that rank 0 has, for all processes."""
        if self.place.world == 1:
            return value
        send = load("jax.experimental.multihost_utils").broadcast_one_to_all
        with self.together():
            # Sizes are sent as text of one length: JAX has no 64-bit integers by default.
            size = int(bytes(send(_bytes(f"{len(value):20}".encode()))))
            return bytes(send(_bytes(value) if self.writes else np.zeros(size, np.uint8))) if size else b""

    def gathered(self, value: bytes) -> list[bytes]:
        """The values of all processes, in the order of their ranks."""
        if self.place.world == 1:
            return [value]
        gather = load("jax.experimental.multihost_utils").process_allgather
        with self.together():
            sizes = [int(bytes(row)) for row in gather(_bytes(f"{len(value):20}".encode()))]
            rows = gather(_bytes(value.ljust(max(sizes), b"\0")))
        return [bytes(row[:size]) for row, size in zip(rows, sizes, strict=True)]

    def gathered_arrays(self, arrays: list[Array]) -> list[list[Array]]:
        """The arrays of all processes, in the order of their ranks."""
        stream = io.BytesIO()
        np.savez(stream, *arrays)
        found = []
        for content in self.gathered(stream.getvalue()):
            with np.load(io.BytesIO(content), allow_pickle=False) as kept:
                found.append([kept[f"arr_{place}"] for place in range(len(kept.files))])
        return found

    def check_same(self, value: str, what: str) -> None:
        """Refuses to train where processes differ in what they must have in common.

        Args:
            value: What this process has, such as a digest.
            what: What it is, for people.

        Raises:
            DataError: Another process has another one.
        """
        others = self.gathered(value.encode())
        differ = [rank for rank, other in enumerate(others) if other != others[0]]
        if differ:
            raise DataError(
                f"Process {differ[0]} has other {what} than process 0.",
                "All processes need the same data, recipe and versions of Octavo and Keras.",
            )


def _bytes(value: bytes) -> Array:
    return np.frombuffer(value, np.uint8)


ALONE = Team()


def join(place: Place) -> Team:
    """Meets the other processes, before JAX computes anything in this one.

    Args:
        place: Which process this is, of how many.

    Returns:
        The team; of one process, with all devices that Keras trains on.

    Raises:
        OctavoError: Keras runs on another backend, or not all processes have come.
        MissingDependencyError: JAX is not installed.
    """
    backend = load("keras").backend.backend()
    if backend != "jax":
        if place.world > 1:
            raise OctavoError(
                f"{place.world} processes train together with Keras on JAX, and it runs on {backend}.",
                "Set KERAS_BACKEND=jax for all of them (pip install -e '.[jax]').",
            )
        return Team(place)
    jax = load("jax")
    if place.world > 1:
        # The collectives of CPUs; accelerators have their own.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            jax.distributed.initialize(
                place.coordinator,
                place.world,
                place.rank,
                None if place.local is None else [place.local],
                cluster_detection_method="deactivate",
                coordinator_bind_address=_bind(place.coordinator),
                initialization_timeout=MEET_WITHIN,
                heartbeat_timeout_seconds=LOST_AFTER,
                shutdown_timeout_seconds=LOST_AFTER,
            )
        except RuntimeError as error:
            raise OctavoError(
                f"The {place.world} processes did not meet at {place.coordinator} within {MEET_WITHIN} seconds: "
                f"{' '.join(str(error).split())[:200]}.",
                "Start all of them; the address must be one at which the machine of rank 0 is reached from the others.",
            ) from error
    return Team(place, jax.device_count())


def _bind(coordinator: str) -> str | None:
    """Where rank 0 listens: on this machine only if all processes are on it; else where JAX would, everywhere."""
    host = coordinator.rpartition(":")[0]
    return coordinator if host in ("127.0.0.1", "localhost", "[::1]") else None
