"""The few XDR shapes attribute values are made of, as ready bytes.

Owns the encodings of opaque, bitmap4 and unsigned integers outside the general codec, because
an attribute value is assembled from precompiled pieces.  It must not know any attribute.
"""

import struct

from xdr.codec import PADDING

U32 = struct.Struct(">I")


def opaque(value: bytes) -> bytes:
    """The XDR form of a variable-length opaque: length, bytes, zero padding (RFC 4506 4.10)."""
    size = len(value)
    return U32.pack(size) + value + PADDING[size & 3]


def bitmap(mask: int) -> bytes:
    """The XDR form of a bitmap4 in as few words as the highest bit allows (RFC 8881 3.2)."""
    words = (mask.bit_length() + 31) // 32
    parts = [(mask >> (32 * index)) & 0xFFFFFFFF for index in range(words)]
    return struct.pack(f">{words + 1}I", words, *parts)
