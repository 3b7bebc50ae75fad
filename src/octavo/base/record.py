"""Records: JSON values with many keys, read like a dict, with a short `repr`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, repr=False, eq=False)
class Record(Mapping[str, Any]):
    """A JSON value, read by key.

    Args:
        value: The value.

    Example:
        >>> record = Record({"bytes": 3})
        >>> record["bytes"], list(record), record == {"bytes": 3}
        (3, ['bytes'], True)
    """

    value: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.value[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return self.value
