"""The trials of a sweep, as a study of Optuna, which all workers share.

Trials wait in the study until a worker takes them. Optuna's storage hands each out once. A worker holds a lock while it
has a trial, and the system releases the lock when the worker's process ends, however it ends. So a trial that runs
without a lock is that of a dead worker: Optuna's own callback puts it back, and whoever takes it resumes its run.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.lock import Lock
from octavo.recipe.axes import Values
from octavo.runs.plan import Plan

# How often a trial is put back whose worker died. One that kills its workers is given up.
RETRIES = 5
# Seconds between two looks at the trials of other workers.
LOOKS = 2.0
# What a trial of the study keeps: its number in the plan, and why it failed.
_PLACE, _ERROR = "place", "error"
_LOCKS = ".locks"


@dataclass(frozen=True)
class Outcome:
    """A trial of the plan, as the study has it.

    Args:
        place: Its number in the plan.
        state: ``complete``, ``pruned``, ``failed``, ``waiting`` or ``running``.
        values: The values that were chosen, by key.
        kept: What the worker kept of its result.
        error: Why it failed.
    """

    place: int
    state: str
    values: Mapping[str, object]
    kept: Mapping[str, Any]
    error: str


class Taken:
    """A trial that this process works on, and its lock.

    Args:
        trial: Optuna's trial.
        values: A value for every axis, by key.
        lock: Held while the block runs.
    """

    def __init__(self, trial: Any, values: dict[str, object], lock: Lock) -> None:
        self.trial = trial
        self.values = values
        self.place: int = trial.user_attrs[_PLACE]
        self._lock = lock
        self._reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def report(self, step: int, value: float) -> bool:
        """Reports the validation accuracy after an epoch; a worker before may have done so.

        Returns:
            Whether the trial promises too little to go on.
        """
        if step not in self._reported:
            self.trial.report(value, step)
            self._reported.add(step)
        return bool(self.trial.should_prune())


class Trials:
    """The trials of a sweep.

    Args:
        plan: Its plan.
        folder: Its folder.
        storage: The address of the study's storage, if not that of the plan.

    Raises:
        OctavoError: The storage cannot be reached, or Optuna is not installed.
    """

    def __init__(self, plan: Plan, folder: Path, storage: str | None = None) -> None:
        self._optuna = load("optuna")
        self._states = self._optuna.trial.TrialState
        self._plan = plan
        self._locks = _locks(folder)
        where = storage or plan.storage
        with border(f"The study's storage '{without_password(where)}' cannot be opened", "See docs/sweeps.md."):
            self.study = self._optuna.create_study(
                study_name=plan.study,
                storage=_storage(self._optuna, where, folder),
                pruner=_pruner(self._optuna, plan),
                directions=["maximize" if name == "score" else "minimize" for name in plan.objectives],
                load_if_exists=True,
            )
        self._distributions = {axis.key: _distribution(self._optuna, axis) for axis in plan.axes}

    @staticmethod
    @contextmanager
    def planning(folder: Path) -> Iterator[None]:
        """Keeps other processes from changing the plan of a folder while the block runs."""
        path = _locks(folder) / "plan"
        path.touch()
        while (lock := Lock(path)).taken:
            lock.release()
            time.sleep(0.1)
        with lock:
            yield

    @property
    def lockable(self) -> bool:
        """Whether the file system has locks, so that processes can tell whether a trial has a worker."""
        with Lock(self._lock_of(0)) as lock:
            return lock.held or lock.taken

    def fill(self) -> None:
        """Adds the trials of the plan that are missing, and those that failed once more."""
        plan = self._plan
        self.study.set_metric_names(plan.objectives)
        known = self._last()
        for place, values in enumerate([{}] * plan.trials if plan.sampler else plan.combinations()):
            if place not in known:
                self._add(place, values)
            elif known[place].state == self._states.FAIL:
                with Lock(self._lock_of(place)) as lock:
                    # A worker that puts it back meanwhile has the lock, or has done it.
                    now = self._last()[place]
                    if not lock.taken and now.state == self._states.FAIL:
                        self._add(place, now.params)

    def _add(self, place: int, values: Mapping[str, object]) -> None:
        """Adds a trial that waits; without values they are drawn when it is taken."""
        how = {key: self._distributions[key] for key in values}
        made = self._optuna.trial.create_trial
        kept = {_PLACE: place}
        self.study.add_trial(made(state=self._states.WAITING, params=values, distributions=how, user_attrs=kept))

    def take(self, alone: bool = False) -> Taken | None:
        """The next trial that nobody works on, which this process then has; None if there is none.

        Args:
            alone: Whether a trial is that of a dead worker also where the file system has no locks that could tell.
        """
        self._put_back(alone)
        while waiting := self._in("WAITING"):
            self.study.sampler = _sampler(self._optuna, self._plan, waiting[0].number)
            trial = self.study.ask()
            if _PLACE not in trial.user_attrs:
                # Another worker has taken the last one since, and Optuna made a new one.
                self.study.tell(trial, state=self._states.FAIL)
                return None
            lock = self._own(trial)
            if lock is not None:
                self.study.sampler = _sampler(self._optuna, self._plan, trial.number)
                return Taken(trial, self._values(trial), lock)
        return None

    def _own(self, trial: Any) -> Lock | None:
        """The lock of a trial that was just asked for; None if it was put back before it could be locked."""
        while self._state(trial.number) == self._states.RUNNING:
            lock = Lock(self._lock_of(trial.user_attrs[_PLACE]))
            # Once it is locked, nobody else changes its state.
            if not lock.taken and self._state(trial.number) == self._states.RUNNING:
                return lock
            lock.release()
            time.sleep(0.02)
        return None

    def _put_back(self, alone: bool) -> None:
        """Puts the trials of dead workers back."""
        again = self._optuna.storages.RetryHeartbeatStaleTrialCallback(RETRIES, inherit_intermediate_values=True)
        for found in self._in("RUNNING"):
            if _PLACE not in found.user_attrs:
                continue
            with Lock(self._lock_of(found.user_attrs[_PLACE])) as lock:
                dead = lock.held or (alone and not lock.taken)
                if dead and self._state(found.number) == self._states.RUNNING:
                    self.study.tell(found.number, state=self._states.FAIL)
                    again(self.study, found)

    def complete(
        self, taken: Taken, values: Sequence[float], excess: Mapping[str, float], kept: dict[str, Any]
    ) -> None:
        """Ends a trial with its result.

        Args:
            taken: The trial.
            values: One for each objective of the plan.
            excess: For each limit by which share its cost is above it; negative below.
            kept: What `outcomes` gives again.
        """
        for name, share in excess.items():
            taken.trial.set_constraint(name, share)
        for name, value in kept.items():
            taken.trial.set_user_attr(name, value)
        self.study.tell(taken.trial, list(values))

    def prune(self, taken: Taken) -> None:
        """Ends a trial that promises little."""
        self.study.tell(taken.trial, state=self._states.PRUNED)

    def fail(self, taken: Taken, error: str) -> None:
        """Ends a trial whose run is impossible."""
        taken.trial.set_user_attr(_ERROR, error)
        self.study.tell(taken.trial, state=self._states.FAIL)

    def outcomes(self) -> list[Outcome]:
        """Every trial of the plan, in its order."""
        names = {self._states.FAIL: "failed"}
        made = []
        for place, found in sorted(self._last().items()):
            kept = {name: value for name, value in found.user_attrs.items() if name not in (_PLACE, _ERROR)}
            error = found.user_attrs.get(_ERROR, "Its workers died.")
            state = names.get(found.state, found.state.name.lower())
            made.append(Outcome(place, state, found.params, kept, error if state == "failed" else ""))
        return made

    @contextmanager
    def parallel(self) -> Iterator[Any]:
        """Optuna's picture of all trials, as a figure of matplotlib: a line for each, across an axis for each key."""
        from matplotlib import pyplot
        from matplotlib.text import Text

        plot = self._optuna.visualization.matplotlib.plot_parallel_coordinate
        with warnings.catch_warnings():
            # An axis on which all trials are equal.
            warnings.filterwarnings("ignore", message="Attempting to set identical", category=UserWarning)
            axes = plot(self.study, target_name=self._plan.objectives[0])
        figure = axes.figure
        try:
            axes.set_title("")
            values = {text for axis in self._plan.axes if isinstance(axis, Values) for text in axis.texts}
            for label in figure.findobj(Text):
                # A value may look like a formula; the numbers at a logarithmic axis are formulas.
                if label.get_text() in values:
                    label.set_parse_math(False)
            figure.set_size_inches(max(8, 2.2 * (len(self._plan.axes) + len(self._plan.objectives))), 4.6)
            figure.set_layout_engine("tight")
            yield figure
        finally:
            pyplot.close(figure)

    def _values(self, trial: Any) -> dict[str, object]:
        """The values of a trial, drawn now if it has none yet."""
        return {key: _suggested(trial, key, how) for key, how in self._distributions.items()}

    def _in(self, state: str) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False, states=(self._states[state],))
        return found

    def _state(self, number: int) -> Any:
        return self.study.get_trials(deepcopy=False)[number].state

    def _last(self) -> dict[int, Any]:
        """The last trial of the study for each of the plan's."""
        found = self.study.get_trials(deepcopy=False)
        return {trial.user_attrs[_PLACE]: trial for trial in found if _PLACE in trial.user_attrs}

    def _lock_of(self, place: int) -> Path:
        path = self._locks / f"{place:03}"
        path.touch()
        return path


def _locks(folder: Path) -> Path:
    made = folder / _LOCKS
    made.mkdir(exist_ok=True)
    return made


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna's log, and its notices of what is experimental, out of the block's output."""
    optuna = load("optuna")
    former = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(former)


def without_password(storage: str) -> str:
    """The address of a storage, without the password in it.

    Example:
        >>> without_password("postgresql://me:secret@host/octavo"), without_password("sqlite:///study.db")
        ('postgresql://me@host/octavo', 'sqlite:///study.db')
    """
    password = urlsplit(storage).password if "://" in storage else None
    return storage if password is None else storage.replace(f":{password}@", "@", 1)


def _storage(optuna: Any, where: str, folder: Path) -> Any:
    if "://" not in where:
        journal, path = optuna.storages.journal, str(folder / where)
        # The usual lock is a link, which needs rights of its own on Windows.
        lock = journal.JournalFileOpenLock(path) if sys.platform == "win32" else None
        return optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock))
    if where.startswith("grpc://"):
        address = urlsplit(where)
        proxy = optuna.storages.GrpcStorageProxy(host=address.hostname, port=address.port or 13000)
        proxy.wait_server_ready(timeout=60)
        return proxy
    return optuna.storages.RDBStorage(where)


def _pruner(optuna: Any, plan: Plan) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "halving": optuna.pruners.SuccessiveHalvingPruner,
    }
    return makers[plan.pruner]()


def _sampler(optuna: Any, plan: Plan, number: int) -> Any:
    """The sampler for one trial: other draws for each, so that no two workers draw alike, and the same once more."""
    samplers = optuna.samplers
    makers: dict[str | None, Callable[..., Any]] = {
        None: samplers.RandomSampler,
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "nsga2": samplers.NSGAIISampler,
        "gp": samplers.GPSampler,
    }
    if plan.sampler == "qmc":
        # One sequence, of which the study counts the places.
        return samplers.QMCSampler(seed=plan.recipe.get("seed", 0), warn_independent_sampling=False)
    seed = int(np.random.SeedSequence([plan.recipe.get("seed", 0), number]).generate_state(1)[0])
    with border(f"Optuna's sampler '{plan.sampler}' cannot be used here", "Set `sampler` to another."):
        return makers[plan.sampler](seed=seed)


def _distribution(optuna: Any, axis: Any) -> Any:
    kinds = optuna.distributions
    if isinstance(axis, Values):
        return kinds.CategoricalDistribution(axis.texts)
    if axis.whole:
        return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return kinds.FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def _suggested(trial: Any, key: str, how: Any) -> object:
    if hasattr(how, "choices"):
        return trial.suggest_categorical(key, how.choices)
    draw = trial.suggest_int if isinstance(how.low, int) else trial.suggest_float
    return draw(key, how.low, how.high, log=how.log, step=how.step)
