"""The object table: ids that stand for objects where the kernel has no handles to offer.

Owns the rows of one export (id -> what the object is recognised by, and its names) and their records in the
state store. It must not open files or know who the caller is.

A row is durable, or queued ahead of any later answer, before its id is told to anybody: every change goes
through `commit` before the call returns. What the table cannot follow is an object that was moved behind the
server's back: its id goes stale. Rows are kept in memory, about 0.4 KiB each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from statestore import ChangeSet, kinds

ROOT_ID: Final = 1
NAMES_MAX: Final = 64
"""Names remembered of one object; further hard links are found again when somebody looks them up."""

_key: Final = struct.Struct(">BQ")
_long_key: Final = struct.Struct(">IQ")
"""Of an export whose number is above 255."""

_SHORT_NUMBER_MAX: Final = 255
_head: Final = struct.Struct(">H")
_name: Final = struct.Struct(">QB")

EMPTY_ROW: Final = _head.pack(0)
"""What stands in the place of an object that is forgotten, where its id must not be given out again."""

Commit = Callable[[ChangeSet], object]
Name = tuple[int, bytes]


def is_key(key: bytes) -> bool:
    """Whether a record's key is one of a row."""
    return len(key) in (_key.size, _long_key.size)


class Row:
    """One object: its id, what it is recognised by, and its names as (id of the directory, name)."""

    __slots__ = ("id", "identity", "names")

    def __init__(self, row_id: int, identity: bytes, names: list[Name]) -> None:
        self.id = row_id
        self.identity = identity
        self.names = names


class ObjectTable:
    """The rows of one export."""

    def __init__(self, export_id: int, rows: Iterable[tuple[bytes, bytes]], commit: Commit) -> None:
        """`rows` are the (key, value) of the store's NAME records; those of other exports are passed over."""
        self._export_id = export_id
        self._commit = commit
        self.rows: dict[int, Row] = {}
        self.by_identity: dict[bytes, Row] = {}
        self._last_id = ROOT_ID
        self._mark: int | None = None
        for key, value in rows:
            owner, row_id = (_key if len(key) == _key.size else _long_key).unpack(key)
            if owner == export_id:
                self._load(row_id, value)

    def _load(self, row_id: int, value: bytes) -> None:
        self._last_id = max(self._last_id, row_id)
        (size,) = _head.unpack_from(value)
        if size == 0:
            self._mark = row_id
            return
        position = _head.size + size
        row = Row(row_id, value[_head.size : position], [])
        while position < len(value):
            parent_id, length = _name.unpack_from(value, position)
            position += _name.size
            row.names.append((parent_id, value[position : position + length]))
            position += length
        self.rows[row_id] = row
        self.by_identity[row.identity] = row

    def row_of(self, identity: bytes, name: Name) -> Row:
        """Return the row of an object that was found under a name; make or complete it where necessary."""
        row = self.by_identity.get(identity)
        if row is None:
            self._last_id += 1
            row = Row(self._last_id, identity, [name])
            self.rows[row.id] = row
            self.by_identity[identity] = row
            self._save(row)
        elif name not in row.names:
            self.add_name(row.id, name)
        return row

    def add_name(self, row_id: int, name: Name) -> None:
        """Note one more name of an object; the newest is the first that is tried."""
        row = self.rows.get(row_id)
        if row is not None and name not in row.names:
            row.names = [name, *row.names[: NAMES_MAX - 1]]
            self._save(row)

    def remove_name(self, row_id: int, name: Name) -> None:
        """Note that a name is gone. The row stays until `remove`: an open object lives on without names."""
        row = self.rows.get(row_id)
        if row is not None and name in row.names:
            row.names.remove(name)
            self._save(row)

    def remove(self, row_id: int) -> None:
        """Forget an object; its id is never used again."""
        row = self.rows.pop(row_id, None)
        if row is not None:
            if self.by_identity.get(row.identity) is row:
                del self.by_identity[row.identity]
            changes = ChangeSet()
            # The highest id leaves an empty row behind, so that a restart does not give it out again.
            if row_id == self._last_id:
                self._mark = row_id
                changes.put(kinds.NAME, self._key(row_id), EMPTY_ROW)
            else:
                changes.remove(kinds.NAME, self._key(row_id))
            self._commit(changes)

    def _key(self, row_id: int) -> bytes:
        layout = _key if self._export_id <= _SHORT_NUMBER_MAX else _long_key
        return layout.pack(self._export_id, row_id)

    def _save(self, row: Row) -> None:
        parts = [_head.pack(len(row.identity)), row.identity]
        for parent_id, name in row.names:
            parts.append(_name.pack(parent_id, len(name)))
            parts.append(name)
        changes = ChangeSet()
        changes.put(kinds.NAME, self._key(row.id), b"".join(parts))
        if self._mark is not None and self._mark < self._last_id:
            changes.remove(kinds.NAME, self._key(self._mark))
            self._mark = None
        self._commit(changes)
