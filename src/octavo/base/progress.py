"""Progress of long work. Functions report it; the caller chooses where it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Receives progress messages."""

    def say(self, text: str) -> None:
        """Shows a line permanently."""

    def track(self, text: str, total: int) -> AbstractContextManager[Advance]:
        """Shows the progress of `total` steps while the block runs; the block calls the function that it gets."""


class Silent:
    """Progress that is not shown, the default in Python."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        """Shows nothing."""
        yield lambda done: None
