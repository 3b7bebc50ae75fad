"""A flatbuffer builder that writes equal vectors and equal tables once.

Readers need no change: a flatbuffer is a graph of offsets, and several offsets may point to the same place.
"""

from __future__ import annotations

import flatbuffers


class Sharing(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors of numbers and equal tables once.

    The method names are those of the flatbuffers package. `EndVector` and `EndObject` compare the vector or table that
    was just written with earlier ones. If there is an equal one, they drop the new one by moving the head back, and
    return the offset of the earlier one. The package itself does the same with equal vtables. Offsets are counted from
    the end of the buffer, so that they stay valid.
    """

    def __init__(self, size: int = 1024) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[int, bytes], int] = {}
        self._open: tuple[int, int, int] | None = None
        self._tables: dict[tuple[int, bytes], int] = {}
        self._targets: dict[int, int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: D102, N802, N803
        self._open = (int(self.Offset()), 4 + elemSize * numElems, alignment)
        return int(super().StartVector(elemSize, numElems, alignment))

    def StartObject(self, numfields: int) -> None:  # noqa: D102, N802
        self._targets = {}
        super().StartObject(numfields)

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: D102, N802
        # Offsets are relative to their own position, so vectors of offsets are not compared. A table is compared by the
        # targets of its offsets.
        self._open = None
        super().PrependUOffsetTRelative(off)
        self._targets[int(self.Offset())] = off

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: D102, N802, N803
        opened, self._open = self._open, None
        made = int(super().EndVector())
        if opened is None:
            return made
        before, length, alignment = opened
        head = self.Head()
        content = bytes(memoryview(self.Bytes)[head : head + length])
        return self._once(self._vectors, (alignment, content), made, before)

    def EndObject(self) -> int:  # noqa: D102, N802
        before = int(self.objectEnd)
        made = int(super().EndObject())
        end = len(self.Bytes)
        content = bytearray(self.Bytes[end - made : end - before])
        for place, target in self._targets.items():
            content[made - place : made - place + 4] = target.to_bytes(4, "little")
        # A table begins with the distance to its vtable, which holds the position of each field.
        vtable = made + int.from_bytes(content[:4], "little", signed=True)
        return self._once(self._tables, (vtable, bytes(content[4:])), made, before)

    def _once(self, written: dict[tuple[int, bytes], int], key: tuple[int, bytes], made: int, before: int) -> int:
        found = written.setdefault(key, made)
        if found != made:
            self.head = len(self.Bytes) - before
        return found
