"""What is done to a valid request: to its operations, to its bytes, to the record that carries it.

Pure: bytes and a random source in, bytes out.  Must not know the server.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

WORDS = (
    0, 1, 2, 3, 4, 7, 8, 9, 31, 32, 63, 64, 65, 127, 128, 129, 255, 256, 1023, 1024, 1025, 4095, 4096, 65535, 65536,
    1 << 20, (1 << 20) + 1, 1 << 24, 0x7FFFFFFC, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFE, 0xFFFFFFFF,
)  # fmt: skip
HYPERS = (0, 1, 1 << 31, 1 << 32, (1 << 63) - 4096, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1)
OPNUMS = (0, 1, 2, 3, *range(4, 76), 76, 100, 10044, 0x7FFFFFFF, 0xFFFFFFFF)
_WORD = struct.Struct(">I")
_HYPER = struct.Struct(">Q")

Mutation = Callable[[bytearray, random.Random], None]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Turn one to four bits over."""
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    """Set one to four bytes to anything."""
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def truncate(data: bytearray, rng: random.Random) -> None:
    """Cut the end off, mostly only a little of it."""
    most = len(data) if rng.random() < 0.3 else min(len(data), 24)
    del data[len(data) - rng.randrange(1, most + 1) :]


def extend(data: bytearray, rng: random.Random) -> None:
    """Append bytes that nobody asked for."""
    data += rng.randbytes(rng.randrange(1, 40)) if rng.random() < 0.5 else bytes(4 * rng.randrange(1, 10))


def _word_at(data: bytearray, rng: random.Random) -> int:
    return 4 * rng.randrange(max(1, (len(data) - 4) // 4 + 1))


def boundary_word(data: bytearray, rng: random.Random) -> None:
    """Put a boundary value into an XDR word."""
    if len(data) >= 4:
        _WORD.pack_into(data, _word_at(data, rng), rng.choice(WORDS))


def boundary_hyper(data: bytearray, rng: random.Random) -> None:
    """Put a boundary value into two XDR words."""
    if len(data) >= 8:
        _HYPER.pack_into(data, 4 * rng.randrange((len(data) - 8) // 4 + 1), rng.choice(HYPERS))


def wrong_length(data: bytearray, rng: random.Random) -> None:
    """Make a word that could be a length or a count a bit wrong, or huge."""
    if len(data) < 4:
        return
    at = 0
    for _ in range(8):
        at = _word_at(data, rng)
        if 0 < _WORD.unpack_from(data, at)[0] <= 1 << 16:
            break
    value = _WORD.unpack_from(data, at)[0]
    change = rng.choice((-4, -1, 1, 2, 3, 4, 0x1000, 0x10000000, 0x7FFFFFFF, 0xFFFFFFF0))
    _WORD.pack_into(data, at, value + change & 0xFFFFFFFF)


def random_block(data: bytearray, rng: random.Random) -> None:
    """Replace a stretch by random bytes."""
    start = rng.randrange(len(data))
    data[start : start + rng.randrange(1, 33)] = rng.randbytes(rng.randrange(1, 33))


def insert_words(data: bytearray, rng: random.Random) -> None:
    """Push everything behind some place back by a few words."""
    at = _word_at(data, rng)
    data[at:at] = rng.randbytes(4 * rng.randrange(1, 4))


def delete_words(data: bytearray, rng: random.Random) -> None:
    """Pull everything behind some place forward by a few words."""
    at = _word_at(data, rng)
    del data[at : at + 4 * rng.randrange(1, 4)]


BYTE_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits, set_bytes, truncate, extend, boundary_word, boundary_word, boundary_hyper, wrong_length,
    wrong_length, random_block, insert_words, delete_words,
)  # fmt: skip


def mutate_bytes(data: bytearray, rng: random.Random) -> None:
    """One mutation of the bytes, sometimes several."""
    for _ in range(1 if rng.random() < 0.75 else rng.randrange(2, 5)):
        if not data:
            return
        rng.choice(BYTE_MUTATIONS)(data, rng)


def mutate_operations(operations: list[bytes], other: Callable[[], bytes], rng: random.Random) -> list[bytes]:
    """Swap, repeat, drop, insert or renumber whole operations."""
    found = list(operations)
    draw = rng.randrange(7)
    at = rng.randrange(len(found))
    if draw == 0:
        rng.shuffle(found)
    elif draw == 1:
        found[at:at] = [found[at]] * rng.choice((1, 2, 5, 70))
    elif draw == 2:
        del found[at]
    elif draw == 3:
        found.insert(at, other())
    elif draw == 4:
        found[at] = _WORD.pack(rng.choice(OPNUMS)) + found[at][4:]
    elif draw == 5:
        # One operation's arguments under another one's number.
        found[at] = other()[:4] + found[at][4:]
    else:
        found += [other() for _ in range(rng.randrange(1, 6))]
    return found


def fragments(message: bytes, rng: random.Random) -> bytes:
    """A record in several fragments, some of them empty: nothing is wrong with it (RFC 5531 11)."""
    count = rng.randrange(2, 12)
    cuts = sorted(rng.randrange(len(message) + 1) for _ in range(count - 1))
    pieces = [message[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    return b"".join(
        _WORD.pack(len(piece) | (0x80000000 if index == len(pieces) - 1 else 0)) + piece
        for index, piece in enumerate(pieces)
    )


def broken_stream(message: bytes, rng: random.Random) -> bytes:
    """Bytes after which the stream cannot be in step any more."""
    draw = rng.randrange(8)
    size = len(message)
    if draw == 0:
        return _WORD.pack(0x80000000 | size + rng.randrange(1, 64)) + message
    if draw == 1:
        return _WORD.pack(0x80000000 | max(0, size - rng.randrange(1, 64))) + message
    if draw == 2:
        return _WORD.pack(rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 0x80000000 | 1 << 24, 1 << 21))) + message
    if draw == 3:
        return _WORD.pack(0) * rng.randrange(60, 200)
    if draw == 4:
        return _WORD.pack(0x80000000) + message
    if draw == 5:
        return rng.randbytes(rng.randrange(1, 400))
    if draw == 6:
        # A record of the largest size that is begun and never finished.
        return _WORD.pack(0x80000000 | 1 << 20) + message
    return b"".join(_WORD.pack(1) + message[at : at + 1] for at in range(min(size, 100)))
