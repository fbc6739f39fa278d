"""Records cut from a stream: every way to cut it comes to the same, and memory grows with what has come."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest

from nfsd.rpc.record import FRAGMENTS_MAX, MARKS_MAX, RecordError, RecordReader

RECORD_SIZE_MAX = (1 << 20) + (64 << 10)
SCRATCH_SIZE = 256 * 1024
LAST = 0x80000000


def reader() -> RecordReader:
    """A reader as a connection has one."""
    return RecordReader(RECORD_SIZE_MAX, bytearray(SCRATCH_SIZE))


def put(made: RecordReader, data: bytes) -> list[bytes]:
    """Give it bytes as the event loop does, as many at once as it takes; the records, each in its own bytes."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        count = min(len(made.buffer), len(data) - at)
        made.buffer[:count] = data[at : at + count]
        found += map(bytes, made.received(count))
        while made.more:
            found += map(bytes, made.received(0))
        at += count
    return found


def marked(record: bytes, *cuts: int) -> bytes:
    """A record as fragments that end at these places."""
    ends = [*cuts, len(record)]
    starts = [0, *cuts]
    pieces = [(record[start:end], LAST if end == len(record) else 0) for start, end in zip(starts, ends, strict=True)]
    return b"".join(struct.pack(">I", len(piece) | last) + piece for piece, last in pieces)


def test_any_cut() -> None:
    """Records of all sizes, in one fragment or several, arrive whole however the stream is cut."""
    rng = random.Random(7)
    sizes = [0, 4, 100, 32 * 1024 - 1, 32 * 1024, 64 * 1024, 200_000, 1 << 20, RECORD_SIZE_MAX, 44]
    records = [rng.randbytes(size) for size in sizes]
    cuts = [sorted(rng.sample(range(1, size), 2)) if size > 2 and size % 8 == 0 else [] for size in sizes]
    stream = b"".join(marked(record, *places) for record, places in zip(records, cuts, strict=True))
    assert put(reader(), stream) == records
    for seed in range(5):
        rng, made, found, at = random.Random(seed), reader(), list[bytes](), 0
        while at < len(stream):
            count = rng.choice((1, 3, 1500, 65_536, 300_000))
            found += put(made, stream[at : at + count])
            at += count
        assert found == records, f"seed {seed}"
        assert made.held == 0


def test_mark_alone_takes_no_memory() -> None:
    """A mark that announces a MiB reserves nothing: what is kept is what has come."""
    made = reader()
    tracemalloc.start()
    assert put(made, struct.pack(">I", LAST | 1 << 20)) == []
    assert made.held == 0
    assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    tracemalloc.stop()
    for come in range(1000, 1_000_000, 1000):
        assert put(made, bytes(1000)) == []
        assert made.held == come
    assert put(made, bytes((1 << 20) - come)) == [bytes(1 << 20)]
    assert made.held == 0


def test_held_counts_what_is_kept() -> None:
    """The beginning of a small record and fragments count as they are; a complete record no longer."""
    made = reader()
    record = marked(b"x" * 100)
    assert put(made, record + record[:50]) == [b"x" * 100]
    assert made.held == 50
    assert put(made, record[50:]) == [b"x" * 100]
    assert made.held == 0
    assert put(made, struct.pack(">I", 80) + b"y" * 80) == []
    assert made.held == 80
    assert put(made, struct.pack(">I", LAST | 100_000)) == []
    assert made.held == 80
    assert put(made, b"y" * 100_000) == [b"y" * 100_080]
    assert made.held == 0


@pytest.mark.parametrize("before", [0, 70_000])
def test_record_too_large(before: int) -> None:
    """A record above the limit is refused at the mark that makes it so, the fragments before it counted."""
    made = reader()
    if before:
        assert put(made, struct.pack(">I", before) + bytes(before)) == []
    assert put(reader(), struct.pack(">I", LAST | RECORD_SIZE_MAX)) == []
    with pytest.raises(RecordError, match=f"a record of {RECORD_SIZE_MAX + 1} bytes"):
        put(made, struct.pack(">I", LAST | RECORD_SIZE_MAX - before + 1))


def test_too_many_fragments() -> None:
    """A record in more fragments than there may be is refused, empty ones too."""
    made = reader()
    assert put(made, struct.pack(">I", 0) * FRAGMENTS_MAX) == []
    with pytest.raises(RecordError, match=f"more than {FRAGMENTS_MAX} fragments"):
        put(made, struct.pack(">I", 0))


def test_marks_in_portions() -> None:
    """However many marks come at once, a bounded number is looked at in one go; none is lost."""
    made = reader()
    made.buffer[: 8 * 10_000] = marked(b"four") * 10_000
    found = made.received(8 * 10_000)
    assert len(found) == MARKS_MAX
    goes = 1
    while made.more:
        more = made.received(0)
        assert len(more) <= MARKS_MAX
        found += more
        goes += 1
    assert found == [b"four"] * 10_000
    assert (goes, made.held) == (10_000 // MARKS_MAX + 1, 0)
