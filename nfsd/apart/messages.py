"""What goes between a server and a keeper: calls and answers, over a socket pair that nobody else has.

Owns their form: a length, and a pickle in which a node is its handle.  Both ends are processes of one program, and
one has started the other: nothing from outside is ever unpickled.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from nfsd.vfs.interface import BadCookie, Exported, Node, StaleHandle
from statestore import ChangeSet

_LENGTH: Final = struct.Struct(">I")
_PROTOCOL: Final = 5
RECEIVE_SIZE: Final = 1 << 20

OPEN: Final = "open"
LIST: Final = "list"
"""Reads a piece of a directory."""
PIECE: Final = 256
"""Entries of a directory in one answer."""
IN_THREADS: Final = frozenset({
    "read", "write", "sync_data", "allocate", "punch_hole", "copy_range", "clone_range", "sync", "sync_tombs",
})  # fmt: skip
"""Methods that FileSystem says may be called in a thread."""


Failure = tuple[str, int, str]
"""An OSError: its kind, errno, text."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The export that a keeper opens: its number, directory, and whether anybody may write."""

    id: int
    path: str
    read_only: bool

    @classmethod
    def of(cls, export: Exported) -> Tree:
        """The parts of an export that a keeper needs."""
        return cls(export.id, export.path, export.read_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The first call: open the tree.  `lock` is a file that the keeper of the tree holds as long as it lives.

    `rows` are those of its object table, where it needs one.
    """

    tree: Tree
    secret: bytes
    handles: str
    lock: str
    rows: list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The answer to it: what a FileSystem says of itself, and the root."""

    root: Node
    handle_version: int
    mode_name: str
    maxname: int
    file_size_max: int
    has_xattrs: bool
    keeps_unlinked: bool


@dataclass(slots=True)
class Call:
    """One call of a FileSystem's method.  `nodes` are (handle, opens, pinned) of what has changed at the server's."""

    number: int
    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    nodes: list[tuple[bytes, int, bool]]


@dataclass(slots=True)
class Answer:
    """What a call has returned, or the error that it raised.

    `nodes` have changed since the answer before, and the objects of the handles `gone` are gone; `rows` are ChangeSets
    of the object table.
    """

    number: int
    value: Any
    error: Failure | None
    nodes: list[Node]
    gone: list[bytes]
    rows: list[ChangeSet]


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, reference: Callable[[Node], Any]) -> None:
        super().__init__(file, _PROTOCOL)
        self._reference = reference

    def persistent_id(self, found: Any) -> Any:
        """What stands for a node; None for anything else."""
        return self._reference(found) if isinstance(found, Node) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, node_of: Callable[[Any], Any]) -> None:
        super().__init__(file)
        self._node_of = node_of

    def persistent_load(self, reference: Any) -> Any:
        """The node that something stands for."""
        return self._node_of(reference)


def packed(message: object, reference: Callable[[Node], Any]) -> bytes:
    """A message as bytes, its length first; `reference` says what stands for a node."""
    buffer = io.BytesIO()
    buffer.write(bytes(_LENGTH.size))
    _Pickler(buffer, reference).dump(message)
    data = buffer.getbuffer()
    _LENGTH.pack_into(data, 0, len(data) - _LENGTH.size)
    return data.tobytes()


def unpacked(data: bytes, node_of: Callable[[Any], Any]) -> Any:
    """The message of some bytes; `node_of` gives the node of what stands for it.  Raises what `node_of` raises."""
    return _Unpickler(io.BytesIO(data), node_of).load()


class Stream:
    """Cuts received bytes into messages."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def received(self, data: bytes) -> Iterator[bytes]:
        """The messages that some more bytes complete, without their lengths."""
        self._parts.append(data)
        self._size += len(data)
        while self._size >= _LENGTH.size:
            head = self._parts[0] if len(self._parts[0]) >= _LENGTH.size else b"".join(self._parts)
            end = _LENGTH.size + _LENGTH.unpack_from(head)[0]
            if self._size < end:
                return
            whole = b"".join(self._parts)
            self._parts = [whole[end:]]
            self._size -= end
            yield whole[_LENGTH.size : end]


def error_of(error: OSError) -> Failure:
    """An error as an answer carries it."""
    kind = type(error).__name__ if isinstance(error, StaleHandle | BadCookie) else "OSError"
    return kind, error.errno or 0, error.strerror or str(error)


def raised(kind: str, number: int, text: str) -> OSError:
    """The error that an answer carries."""
    if kind == StaleHandle.__name__:
        return StaleHandle(text)
    if kind == BadCookie.__name__:
        return BadCookie(0)
    return OSError(number, text or os.strerror(number))
