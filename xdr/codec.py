"""The bounded XDR codec (RFC 4506): the base classes of every generated packer and unpacker.

This file owns how primitive values become bytes and back, and the one rule that protects the server: every
length or count is compared with the bytes that remain before anything is allocated. The public methods carry
xdrlib3's names and produce its bytes. It is stricter than xdrlib3 in these points only: all faults are
XdrError; numbers out of range, booleans other than 0 and 1 and fixed opaques of another length are refused.
It MUST NOT know any protocol, and MUST NOT read from anything but the buffer that it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview

UINT32_MAX = 0xFFFFFFFF
# Words of a bitmap that a decoder accepts: 1024 bits, so that one far ahead of RFC 7862 is answered, not refused.
BITMAP_WORDS_MAX = 32
# A bytes object with an end before its own end is cut by copying up to this size, in bytes; a memoryview cuts
# longer ones without a copy, at the price of slower slices.
CUT_BY_COPY_MAX = 65536

PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_INT = struct.Struct(">i")
_UINT = struct.Struct(">I")
_HYPER = struct.Struct(">q")
_UHYPER = struct.Struct(">Q")
_FLOAT = struct.Struct(">f")
_DOUBLE = struct.Struct(">d")
_WORDS = tuple(struct.Struct(f">{count}I") for count in range(BITMAP_WORDS_MAX + 2))
_TWO = _WORDS[2]
_THREE = _WORDS[3]
_ZERO = b"\0\0\0\0"
_ONE = b"\0\0\0\1"


class XdrError(Exception):
    """The bytes are not what the interface description says, or the value cannot be encoded by it."""


class XdrValue:
    """The base of generated classes: compares and prints by fields; subclasses list them in __slots__."""

    __slots__: tuple[str, ...] = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__slots__)
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in fields if v is not None)})"


class XdrWideUnion(XdrValue):
    """The base of unions with many arms: keeps the discriminant and the one arm's value, `arm`.

    The arms' names of the interface description work for reading: the name of the arm that the discriminant
    selects gives `arm`, the others None. Subclasses provide `_arms`: discriminant -> name of the arm's field.
    """

    __slots__: tuple[str, ...] = ()
    arm: Any
    _arms: dict[int, str | None] = {}
    _names: frozenset[str] = frozenset()

    def __init__(self, discriminant: int, arm: object = None, **named: object) -> None:
        for name, value in named.items():
            if name not in self._names:
                raise TypeError(f"{type(self).__name__} has no arm {name!r}")
            if self._arms.get(discriminant) == name:
                arm = value
            elif value is not None:
                raise TypeError(f"discriminant {discriminant} does not select {name!r}")
        setattr(self, self.__slots__[0], discriminant)
        self.arm = arm

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        return self.arm if self._arms.get(getattr(self, self.__slots__[0])) == name else None


class Packer:
    """Encodes values into a list of byte strings; large opaques are kept by reference, not copied."""

    __slots__ = ("_parts", "_add")

    def __init__(self) -> None:
        # As `reset` does, without the call: every request makes one.
        self._parts: list[bytes | bytearray | memoryview] = []
        self._add = self._parts.append

    def reset(self) -> None:
        """Forget everything packed so far."""
        self._parts = []
        self._add = self._parts.append

    def get_buffer(self) -> bytes:
        """Return everything packed so far as one byte string."""
        return b"".join(self._parts)

    get_buf = get_buffer

    def get_parts(self) -> list[bytes | bytearray | memoryview]:
        """Return the live list of parts, for writing them out without joining."""
        return self._parts

    def size(self) -> int:
        """Return the number of bytes packed so far."""
        return sum(map(len, self._parts))

    def pack_raw(self, data: Buffer) -> None:
        """Append bytes that are XDR already; their length MUST be a multiple of four."""
        if len(data) & 3:
            raise XdrError(f"raw XDR of {len(data)} bytes is not a multiple of four; pad it")
        self._add(data)

    def pack_uint(self, x: int) -> None:
        """Pack an unsigned 32 bit number."""
        try:
            self._add(_UINT.pack(x))
        except struct.error as error:
            raise unpackable("unsigned int", error) from None

    def pack_int(self, x: int) -> None:
        """Pack a signed 32 bit number."""
        try:
            self._add(_INT.pack(x))
        except struct.error as error:
            raise unpackable("int", error) from None

    pack_enum = pack_int

    def pack_bool(self, x: bool) -> None:
        """Pack a truth value."""
        self._add(_ONE if x else _ZERO)

    def pack_uhyper(self, x: int) -> None:
        """Pack an unsigned 64 bit number."""
        try:
            self._add(_UHYPER.pack(x))
        except struct.error as error:
            raise unpackable("unsigned hyper", error) from None

    def pack_hyper(self, x: int) -> None:
        """Pack a signed 64 bit number."""
        try:
            self._add(_HYPER.pack(x))
        except struct.error as error:
            raise unpackable("hyper", error) from None

    def pack_float(self, x: float) -> None:
        """Pack a single precision number."""
        try:
            self._add(_FLOAT.pack(x))
        except (struct.error, OverflowError) as error:
            raise unpackable("float", error) from None

    def pack_double(self, x: float) -> None:
        """Pack a double precision number."""
        try:
            self._add(_DOUBLE.pack(x))
        except struct.error as error:
            raise unpackable("double", error) from None

    def pack_fstring(self, n: int, s: Buffer) -> None:
        """Pack an opaque of fixed length n and its padding."""
        if len(s) != n:
            raise bad_size("fixed opaque", len(s), n)
        self._add(s)
        if n & 3:
            self._add(PADDING[n & 3])

    pack_fopaque = pack_fstring

    def pack_string(self, s: Buffer) -> None:
        """Pack an opaque of variable length: its length, its bytes, its padding."""
        n = len(s)
        self.pack_uint(n)
        self._add(s)
        if n & 3:
            self._add(PADDING[n & 3])

    pack_opaque = pack_string
    pack_bytes = pack_string

    def pack_bitmap(self, bits: int, words_max: int = BITMAP_WORDS_MAX) -> None:
        """Pack a set of bit numbers held in one int, bit n of it as bit n % 32 of word n // 32.

        As few words as possible are written; words_max MUST NOT be more than BITMAP_WORDS_MAX.
        """
        if bits < 0:
            raise XdrError("a bitmap cannot be negative")
        count = (bits.bit_length() + 31) >> 5
        if count > words_max:
            raise bad_size("bitmap words", count, words_max)
        if count == 2:
            self._add(_THREE.pack(2, bits & UINT32_MAX, bits >> 32))
        elif count == 1:
            self._add(_TWO.pack(1, bits))
        else:
            words = [bits >> shift & UINT32_MAX for shift in range(0, count << 5, 32)]
            self._add(_WORDS[count + 1].pack(count, *words))

    def pack_list(self, list: Sequence[T], pack_item: Callable[[T], None]) -> None:
        """Pack a linked list: 1 before every item, 0 at the end."""
        for item in list:
            self._add(_ONE)
            pack_item(item)
        self._add(_ZERO)

    def pack_farray(self, n: int, list: Sequence[T], pack_item: Callable[[T], None]) -> None:
        """Pack an array of fixed length n."""
        if len(list) != n:
            raise bad_size("fixed array", len(list), n)
        for item in list:
            pack_item(item)

    def pack_array(self, list: Sequence[T], pack_item: Callable[[T], None]) -> None:
        """Pack an array of variable length: its count, its items."""
        self.pack_uint(len(list))
        for item in list:
            pack_item(item)


class Unpacker:
    """Decodes values from data[pos:end]; positions are counted from the start of data.

    Opaques come out as bytes, except where a generated method promises a memoryview. A memoryview of WRITE
    data refers to the caller's buffer: it MUST be used before that buffer is changed.
    """

    __slots__ = ("_buf", "position", "_end")

    def __init__(self, data: Buffer, pos: int = 0, end: int | None = None) -> None:
        if end is None and 0 <= pos <= len(data):
            # As `reset` does, without the call: every request makes one.
            self._buf = data
            self.position = pos
            self._end = len(data)
        else:
            self.reset(data, pos, end)

    def reset(self, data: Buffer, pos: int = 0, end: int | None = None) -> None:
        """Start again on other data."""
        size = len(data)
        if end is None:
            end = size
        elif end != size:
            if end > size or end < 0:
                raise XdrError(f"an end at {end} is outside of {size} bytes")
            if data.__class__ is bytes and end <= CUT_BY_COPY_MAX:
                data = data[:end]
            else:
                data = memoryview(data)[:end]
        if pos < 0 or pos > end:
            raise XdrError(f"a position at {pos} is outside of {end} bytes")
        self._buf = data
        self.position = pos
        self._end = end

    def get_position(self) -> int:
        """Return where the next value begins."""
        return self.position

    def set_position(self, position: int) -> None:
        """Go on at another place of the same data."""
        if position < 0 or position > self._end:
            raise XdrError(f"a position at {position} is outside of {self._end} bytes")
        self.position = position

    def get_buffer(self) -> Buffer:
        """Return the data that is decoded, up to its end."""
        return self._buf

    def remaining(self) -> int:
        """Return the number of bytes not decoded yet."""
        return self._end - self.position

    def done(self) -> None:
        """Promise that nothing is left over. Raises XdrError if bytes remain."""
        if self.position != self._end:
            raise XdrError(f"{self._end - self.position} bytes are left over at {self.position}")

    def unpack_uint(self) -> int:
        """Unpack an unsigned 32 bit number."""
        try:
            value: int = _UINT.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("unsigned int", self) from None
        self.position += 4
        return value

    def unpack_int(self) -> int:
        """Unpack a signed 32 bit number."""
        try:
            value: int = _INT.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("int", self) from None
        self.position += 4
        return value

    unpack_enum = unpack_int

    def unpack_bool(self) -> bool:
        """Unpack a truth value; anything but 0 and 1 is refused (RFC 4506 4.4)."""
        value = self.unpack_int()
        if value not in (0, 1):
            raise bad_bool(value)
        return value == 1

    def unpack_uhyper(self) -> int:
        """Unpack an unsigned 64 bit number."""
        try:
            value: int = _UHYPER.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("unsigned hyper", self) from None
        self.position += 8
        return value

    def unpack_hyper(self) -> int:
        """Unpack a signed 64 bit number."""
        try:
            value: int = _HYPER.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("hyper", self) from None
        self.position += 8
        return value

    def unpack_float(self) -> float:
        """Unpack a single precision number."""
        try:
            value: float = _FLOAT.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("float", self) from None
        self.position += 4
        return value

    def unpack_double(self) -> float:
        """Unpack a double precision number."""
        try:
            value: float = _DOUBLE.unpack_from(self._buf, self.position)[0]
        except struct.error:
            raise truncated("double", self) from None
        self.position += 8
        return value

    def unpack_fstring(self, n: int) -> bytes:
        """Unpack an opaque of fixed length n and skip its padding."""
        start = self.position
        after = start + n + (-n & 3)
        if n < 0 or after > self._end:
            raise bad_length("fixed opaque", n, self._end - start, None)
        self.position = after
        value = self._buf[start : start + n]
        return value if value.__class__ is bytes else bytes(value)

    unpack_fopaque = unpack_fstring

    def unpack_string(self, limit: int = UINT32_MAX) -> bytes:
        """Unpack an opaque of variable length, at most limit bytes."""
        n = self.unpack_uint()
        if n > limit:
            raise bad_length("opaque", n, self._end - self.position, limit)
        return self.unpack_fstring(n)

    unpack_opaque = unpack_string
    unpack_bytes = unpack_string

    def unpack_bitmap(self, words_max: int = BITMAP_WORDS_MAX) -> int:
        """Unpack what pack_bitmap packs; words of zero at the end are accepted."""
        buf = self._buf
        pos = self.position
        try:
            count = _UINT.unpack_from(buf, pos)[0]
            if count > words_max:
                raise bad_length("bitmap", count, self._end - pos, words_max)
            pos += 4
            if count == 2:
                low, high = _TWO.unpack_from(buf, pos)
                bits: int = low | high << 32
            else:
                bits = 0
                for word in reversed(_WORDS[count].unpack_from(buf, pos)):
                    bits = bits << 32 | word
        except struct.error:
            raise truncated("bitmap", self) from None
        self.position = pos + 4 * count
        return bits

    def unpack_list(self, unpack_item: Callable[[], T]) -> list[T]:
        """Unpack a linked list, one item after the other."""
        items: list[T] = []
        while self.unpack_bool():
            items.append(unpack_item())
        return items

    def unpack_farray(self, n: int, unpack_item: Callable[[], T]) -> list[T]:
        """Unpack an array of n items; an item MUST take four bytes or more, as every XDR value does."""
        if n < 0 or n << 2 > self._end - self.position:
            raise bad_length("array", n, self._end - self.position, None)
        return [unpack_item() for _ in range(n)]

    def unpack_array(self, unpack_item: Callable[[], T]) -> list[T]:
        """Unpack an array of variable length."""
        return self.unpack_farray(self.unpack_uint(), unpack_item)


def truncated(what: str, unpacker: Unpacker) -> XdrError:
    """Make the error for data that ends inside a value."""
    return XdrError(f"{what}: the data ends at {unpacker._end}, inside the value")


def bad_length(what: str, length: int, remaining: int, limit: int | None) -> XdrError:
    """Make the error for a length or count beyond the data or beyond its limit."""
    if limit is not None and length > limit:
        return XdrError(f"{what}: a length of {length} is over the limit of {limit}")
    return XdrError(f"{what}: a length of {length} is over the {max(remaining, 0)} bytes that remain")


def bad_enum(what: str, value: int) -> XdrError:
    """Make the error for a number that the enumeration or union does not have."""
    return XdrError(f"{what}: {value} is not one of its values")


def bad_bool(value: int) -> XdrError:
    """Make the error for a boolean that is neither 0 nor 1."""
    return XdrError(f"bool: {value} is neither 0 nor 1")


def bad_size(what: str, size: int, allowed: int) -> XdrError:
    """Make the error for a value to be packed that is longer or shorter than its type allows."""
    return XdrError(f"{what}: cannot pack a length of {size} where the type allows {allowed}")


def unpackable(what: str, error: Exception) -> XdrError:
    """Make the error for a value that does not fit its type."""
    return XdrError(f"{what}: cannot be packed: {error}")
