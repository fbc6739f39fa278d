"""Record marking over a byte stream (RFC 5531 11), without any socket.

Owns the cutting of a stream into records and its limits.  Must not know what a record holds.  The caller receives
bytes into `buffer()` and reports how many by `received(count)`; a record that is larger than the scratch buffer is
received in place, so that its bytes are copied once.
"""

from __future__ import annotations

import struct

_MARK = struct.Struct(">I")
_LAST = 0x80000000
# A record this large or larger gets a buffer of its own as soon as its mark has been read.
_OWN_BUFFER_MIN = 32 * 1024
# One record may come in this many fragments.  Linux sends one; pynfs makes one of every 8 KiB or less; a flood of
# empty ones must end.
FRAGMENTS_MAX = 4096


class RecordError(Exception):
    """The stream breaks a limit and cannot be trusted from here on: the connection has to be closed."""


class RecordReader:
    """Cuts one connection's stream into records.

    A record is bytes (small ones) or a bytearray that belongs to its receiver (large ones).
    Raises RecordError from `received` on a record above `record_size_max` bytes or with too many fragments.
    """

    __slots__ = ("_record_size_max", "_scratch", "_tail", "_fragments", "_size", "_large", "_filled", "_last")

    def __init__(self, record_size_max: int, scratch: bytearray) -> None:
        self._record_size_max = record_size_max
        self._scratch = memoryview(scratch)
        self._tail = b""
        self._fragments: list[bytes | bytearray] = []
        self._size = 0
        self._large: bytearray | None = None
        self._filled = 0
        self._last = False

    def buffer(self) -> memoryview:
        """Where the next bytes of the stream go."""
        if self._large is not None:
            return memoryview(self._large)[self._filled :]
        return self._scratch

    def received(self, count: int) -> list[bytes | bytearray]:
        """`count` bytes were put in `buffer()`: the records that they complete, in order."""
        large = self._large
        if large is None:
            data = bytes(self._scratch[:count])
            return self._cut(self._tail + data if self._tail else data)
        self._filled += count
        if self._filled < len(large):
            return []
        self._large = None
        records: list[bytes | bytearray] = []
        self._fragment(large, self._last, records)
        return records

    def _cut(self, data: bytes) -> list[bytes | bytearray]:
        records: list[bytes | bytearray] = []
        start, end = 0, len(data)
        while end - start >= 4:
            (mark,) = _MARK.unpack_from(data, start)
            size = mark & 0x7FFFFFFF
            if self._size + size > self._record_size_max:
                raise RecordError(f"a record of {self._size + size} bytes; at most {self._record_size_max}")
            stop = start + 4 + size
            if stop > end:
                if size >= _OWN_BUFFER_MIN:
                    self._begin_large(size, mark, data, start + 4)
                    start = end
                break
            self._fragment(data[start + 4 : stop], mark & _LAST != 0, records)
            start = stop
        self._tail = data[start:]
        return records

    def _begin_large(self, size: int, mark: int, data: bytes, start: int) -> None:
        self._large = bytearray(size)
        self._filled = len(data) - start
        self._large[: self._filled] = data[start:]
        self._last = mark & _LAST != 0

    def _fragment(self, fragment: bytes | bytearray, last: bool, records: list[bytes | bytearray]) -> None:
        if last and not self._fragments:
            records.append(fragment)
            return
        self._fragments.append(fragment)
        self._size += len(fragment)
        if len(self._fragments) > FRAGMENTS_MAX:
            raise RecordError(f"a record in more than {FRAGMENTS_MAX} fragments")
        if last:
            records.append(b"".join(self._fragments))
            self._fragments = []
            self._size = 0
