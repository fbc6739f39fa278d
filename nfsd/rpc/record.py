"""Record marking over a byte stream (RFC 5531 11), without any socket.

Owns the cutting of a stream into records, its limits, and how much memory an unfinished record takes.  Must not know
what a record holds.  The caller receives bytes into `buffer` and reports how many by `received(count)`; a large record
grows as its bytes arrive, whatever its mark has promised.
"""

from __future__ import annotations

import struct

_MARK = struct.Struct(">I")
_LAST = 0x80000000
# A record this large or larger is put together in a buffer of its own, which its receiver gets.  (One that is made as
# large as the mark says is no quicker, and one that doubles is five times slower: new pages cost more than copying.)
_OWN_BUFFER_MIN = 32 * 1024
# One record may come in this many fragments.  Linux sends one; pynfs makes one of every 8 KiB or less; a flood of
# empty ones must end.
FRAGMENTS_MAX = 4096
# Marks that are looked at in one go: about a millisecond.
MARKS_MAX = 2048


class RecordError(Exception):
    """The stream breaks a limit and cannot be trusted from here on: the connection has to be closed."""


class RecordReader:
    """Cuts one connection's stream into records.

    A record is bytes (small ones) or a bytearray that belongs to its receiver (large ones).  `held` is how many bytes
    of memory what is not a complete record yet takes; 0 between records.  `more`: there may be more records in what has
    come, which `received(0)` cuts.
    Raises RecordError from `received` on a record above `record_size_max` bytes or with too many fragments.
    """

    __slots__ = (
        "buffer", "held", "more", "_record_size_max", "_tail", "_fragments", "_size", "_large", "_left", "_last",
    )  # fmt: skip

    def __init__(self, record_size_max: int, scratch: bytearray) -> None:
        self.buffer = memoryview(scratch)
        """Where the next bytes of the stream go."""
        self.held = 0
        self.more = False
        self._record_size_max = record_size_max
        self._tail = b""
        self._fragments: list[bytes | bytearray] = []
        self._size = 0
        self._large: bytearray | None = None
        self._left = 0
        self._last = False

    def received(self, count: int) -> list[bytes | bytearray]:
        """`count` bytes were put in `buffer`: the records that they complete, in order."""
        large = self._large
        if large is None:
            if not self.held and 4 < count <= self._record_size_max and not self._fragments:
                (mark,) = _MARK.unpack_from(self.buffer)
                if mark == _LAST | count - 4:
                    return [bytes(self.buffer[4:count])]  # One whole record, as most come.
            data = bytes(self.buffer[:count])
            return self._cut(self._tail + data if self._tail else data, [])
        left = self._left
        if count < left:
            large += self.buffer[:count]
            self._left = left - count
            self.held += count
            return []
        large += self.buffer[:left]
        self._large = None
        records: list[bytes | bytearray] = []
        self._fragment(large, self._last, records)
        return self._cut(bytes(self.buffer[left:count]), records)

    def _cut(self, data: bytes, records: list[bytes | bytearray]) -> list[bytes | bytearray]:
        start, end = 0, len(data)
        self.more = False
        for _ in range(MARKS_MAX):
            if end - start < 4:
                break
            (mark,) = _MARK.unpack_from(data, start)
            size = mark & 0x7FFFFFFF
            if self._size + size > self._record_size_max:
                raise RecordError(f"a record of {self._size + size} bytes; at most {self._record_size_max}")
            stop = start + 4 + size
            if stop > end:
                if size >= _OWN_BUFFER_MIN:
                    self._begin_large(size, mark, data, start + 4)
                    return records
                break
            self._fragment(data[start + 4 : stop], mark & _LAST != 0, records)
            start = stop
        else:
            self.more = start < end
        self._tail = data[start:]
        self.held = self._size + end - start
        return records

    def _begin_large(self, size: int, mark: int, data: bytes, start: int) -> None:
        self._large = large = bytearray(memoryview(data)[start:])
        self._left = size - len(large)
        self._last = mark & _LAST != 0
        self._tail = b""
        self.held = self._size + len(large)

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
