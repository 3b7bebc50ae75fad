"""Telling people how far long work is. Acts call it; where it shows is the caller's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """Shows a line that stays."""

    def track(self, text: str, total: int) -> AbstractContextManager[Advance]:
        """Shows how far `total` steps are while the block runs; the block calls what it is given."""


class Silent:
    """Progress that nobody watches: the default from Python."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        """Shows nothing."""
        yield lambda done: None
