"""Jobs: one function over many items in several processes, by joblib's engines. Nothing here schedules or moves data.

An engine gets the function and its items by value. Both are Octavo's own objects; no pickle is read from a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from octavo.base.backend import load
from octavo.base.errors import OctavoError

Backend = Literal["loky", "dask", "ray"]
Crashes = tuple[type[Exception], ...]
Item = TypeVar("Item")
Result = TypeVar("Result")

# More tasks than workers, so that a slow worker holds up little.
_TASKS = 8


@dataclass(frozen=True)
class Jobs:
    """How many processes share the work, and which engine runs them.

    Args:
        count: The number of processes. With 1 the work is done in this process.
        backend: ``loky``: processes of this machine, by joblib itself. ``dask`` and ``ray``: the cluster that
            this process is connected to, or that ``DASK_SCHEDULER_ADDRESS`` or ``RAY_ADDRESS`` names; else one of
            `count` processes on this machine.

    Raises:
        OctavoError: The number is below 1, or there is no such engine.

    Example:
        >>> list(Jobs().map(abs, [-1, 2]))
        [1, 2]
    """

    count: int = 1
    backend: Backend = "loky"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise OctavoError(f"`jobs` should be 1 or more, and is {self.count}.")
        if self.backend not in _ENGINES:
            raise OctavoError(f"There is no engine '{self.backend}'.", f"Set `backend` to {', '.join(_ENGINES)}.")

    @property
    def alone(self) -> bool:
        """Whether this process does all the work."""
        return self.count == 1 and self.backend == "loky"

    @property
    def tasks(self) -> int:
        """Into how many tasks work is divided, if there is enough of it."""
        return _TASKS * self.count

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """What a function gives for each item, in the order of the items, each as soon as it is there.

        Args:
            function: A function of a module, or a `functools.partial` of one. It and its arguments are sent to every
                process, so that they are small.
            items: What it is called with.

        Raises:
            OctavoError: As the function does; or a process ended, or the engine cannot start.
            MissingDependencyError: The engine is not installed.
        """
        if self.alone:
            yield from map(function, items)
            return
        from joblib import Parallel, delayed, parallel_config

        with _safe_path():
            crashes = _ENGINES[self.backend](self.count)
            with parallel_config(backend=self.backend, n_jobs=self.count):
                # Ray's engine gives its results all at once.
                form = "list" if self.backend == "ray" else "generator"
                parallel = Parallel(batch_size=1, return_as=form)
            try:
                yield from parallel(delayed(function)(item) for item in items)
            except crashes as error:
                raise _ended(self.count) from error


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes that start meanwhile import no module of the current folder, such as a `numpy.py` in it."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


# Each starts an engine, unless this process already has one, and tells the errors that mean that a process ended. An
# engine stays until this process ends, so that its processes keep what they loaded.


def _loky(count: int) -> Crashes:
    return (BrokenExecutor,)


def _dask(count: int) -> Crashes:
    distributed = load("distributed")
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    # Interpreters hold memory: one thread for each process, as with loky.
    own = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        distributed.get_client()
    except ValueError:
        try:
            distributed.Client(address) if address else distributed.Client(**own)
        except (OSError, TimeoutError, ValueError) as error:
            raise _unreachable("dask", address, error) from error
    return (distributed.scheduler.KilledWorker,)


def _ray(count: int) -> Crashes:
    ray = load("ray")
    address = os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        own = {"num_cpus": count, "include_dashboard": False}
        try:
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else own))
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreachable("ray", address, error) from error
    if (cores := int(ray.cluster_resources().get("CPU", 0))) < count:
        raise OctavoError(f"`jobs` is {count}, and Ray's cluster has {cores} cores.", f"Set `jobs` to {cores} or less.")
    load("ray.util.joblib").register_ray()
    return (ray.exceptions.RayError,)


def _ended(count: int) -> OctavoError:
    return OctavoError(
        "A process of the engine ended before its work was done.",
        f"Most often memory ran out: set `jobs` below {count}, or run on a machine with more of it.",
    )


def _unreachable(backend: str, address: str | None, error: Exception) -> OctavoError:
    where = f" at '{address}'" if address else ""
    return OctavoError(
        f"The cluster of {backend}{where} cannot be reached: {' '.join(str(error).split())[:300]}.",
        f"Check {backend.upper()}{'_SCHEDULER' * (backend == 'dask')}_ADDRESS, or unset it to start one here.",
    )


_ENGINES: Mapping[str, Callable[[int], Crashes]] = {"loky": _loky, "dask": _dask, "ray": _ray}
