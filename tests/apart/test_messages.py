"""What goes between a server and a keeper."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsd.apart.messages import Call, Stream, error_of, packed, raised, unpacked
from nfsd.vfs.interface import BadCookie, Credentials, FileSystem, Node, StaleHandle

NODE = Node(b"handle", FileSystem(), 0o100000, b"key")


def test_nodes_go_by_handle() -> None:
    """A node is what the far end has for its handle; all else is what it was, times in ns included."""
    about = os.stat(".")
    call = Call(7, "stat", (NODE, Credentials(1, 2, (3,))), {"about": about}, [(b"handle", 1, False)])
    message = packed(call, lambda node: node.handle)
    assert int.from_bytes(message[:4], "big") == len(message) - 4
    found = unpacked(message[4:], {b"handle": NODE}.__getitem__)
    assert found.arguments == (NODE, Credentials(1, 2, (3,)))
    assert found.named["about"].st_mtime_ns == about.st_mtime_ns
    assert found.nodes == [(b"handle", 1, False)]


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_stream_in_pieces(bodies: list[bytes], data: st.DataObject) -> None:
    """However the bytes come, the messages are found."""
    whole = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    found: list[bytes] = []
    stream, at = Stream(), 0
    while at < len(whole):
        size = data.draw(st.integers(1, len(whole) - at))
        found += stream.received(whole[at : at + size])
        at += size
    assert found == bodies


@pytest.mark.parametrize(
    "error",
    [StaleHandle("gone"), BadCookie(3), OSError(errno.ENOENT, "no such file"), OSError(errno.ETIMEDOUT, "late")],
)
def test_errors(error: OSError) -> None:
    """An error comes over as what it was."""
    again = raised(*error_of(error))
    assert type(again) is type(error)
    assert again.errno == error.errno
