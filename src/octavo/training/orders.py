"""Orders: in a run, the process of rank 0 says what all train next, and hands over the files that this takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from octavo.base.backend import load
from octavo.training.team import Team

# How long a process waits before it asks again.
_WAIT_MS = 3_600_000


@dataclass(frozen=True)
class Order:
    """What to train next.

    Args:
        what: Its name.
        files: Content by name.
    """

    what: str
    files: Mapping[str, bytes]


class Orders:
    """The orders of one run. Between them rank 0 works alone, and the others wait.

    Args:
        team: The processes; of one alone nothing is sent.
    """

    def __init__(self, team: Team) -> None:
        self._team = team
        self._count = 0

    def give(self, order: Order) -> None:
        """Has the other processes train something; called by rank 0."""
        if self._team.place.world == 1:
            return
        sizes = {name: len(content) for name, content in order.files.items()}
        with self._team.together():
            _client().key_value_set(self._key(), json.dumps({"what": order.what, "sizes": sizes}))
        self._team.same(b"".join(order.files.values()))

    def end(self) -> None:
        """Parts from the other processes; called by rank 0, when nothing is left to train."""
        if self._team.place.world > 1:
            with self._team.together():
                _client().key_value_set(self._key(), "null")
            self._team.leave()

    def __iter__(self) -> Iterator[Order]:
        """The orders, one after another; for the other processes."""
        while (told := json.loads(self._told())) is not None:
            content, files, start = self._team.same(b""), {}, 0
            for name, size in told["sizes"].items():
                files[name] = content[start : start + size]
                start += size
            yield Order(told["what"], files)
        self._team.leave()

    def _told(self) -> str:
        key = self._key()
        while True:
            try:
                return str(_client().blocking_key_value_get(key, _WAIT_MS))
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    with self._team.together():
                        raise

    def _key(self) -> str:
        self._count += 1
        return f"octavo/order/{self._count}"


def _client() -> Any:
    """JAX's own store of keys and values, by which its processes met."""
    return load("jax._src.distributed").global_state.client
