"""Logging of a record with one or several trackers, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from octavo.base import backend
from octavo.base.border import border
from octavo.base.errors import OctavoError
from octavo.base.extras import EXTRAS
from octavo.base.progress import Progress
from octavo.recipe.choices import TRACKERS, Loaded
from octavo.reports.tracking.record import Record


class Tracker(Protocol):
    """Logs a record."""

    def __call__(self, record: Record) -> str | None:
        """Logs it, and says where; None if it is logged there already."""


LOADED: Loaded[Tracker] = Loaded(TRACKERS)


def check(names: Sequence[str]) -> None:
    """Whether trackers can log, before the work whose record they log.

    Args:
        names: Names in `octavo.recipe.choices.TRACKERS`.

    Raises:
        OctavoError: One does not exist, or its packages are not installed.
    """
    wrong = [names] if isinstance(names, str) else [name for name in names if name not in TRACKERS]
    if wrong:
        raise OctavoError(f"`log` should be a list of {' and '.join(TRACKERS)}, and has '{wrong[0]}'.")
    for name in names:
        for module in EXTRAS[name].modules:
            backend.load(module)


def log(record: Record, names: Sequence[str], progress: Progress, todo: str) -> None:
    """Logs a record with every tracker that has not logged it before.

    Args:
        record: What is logged.
        names: Names in `octavo.recipe.choices.TRACKERS`.
        progress: Where each tracker's place is said.
        todo: What is finished, and what to do, if a tracker fails.

    Raises:
        OctavoError: A tracker cannot be reached, or refuses the record.
    """
    for name in names:
        title = TRACKERS[name].title
        with border(f"'{record.name}' could not be logged with {title}", todo):
            where = LOADED[name](record)
        progress.say(f"log: {title}, {'unchanged' if where is None else where}")
