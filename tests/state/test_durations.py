"""How long a file is blacked out: the order of precedence, and what the file's attribute may say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nfsd.errors import Nfs4Error
from nfsd.exports import parse_options
from nfsd.state.durations import Durations, check_value, seconds_of
from nfsd.state.waiting import SWEEP_COUNT, Waiting
from xdr.generated import nfs4

HANDLE, OTHER, STALE = b"handle", b"other", b"stale"


class FakeNamespace:
    """Two exports; the attribute that a test puts on a file."""

    def __init__(self, **attributes: bytes) -> None:
        self.attributes = {name.encode(): value for name, value in attributes.items()}
        self.reads = 0

    def resolve(self, handle: bytes) -> Any:
        """Its node, or an error for a file that is gone."""
        if handle == STALE:
            raise OSError("gone")
        return SimpleNamespace(fs=self, handle=handle)

    def getxattr(self, node: Any, name: bytes, _cred: object) -> bytes:
        """The attribute."""
        assert name == b"blackout_time_s"
        self.reads += 1
        if node.handle not in self.attributes:
            raise OSError("no attribute")
        return self.attributes[node.handle]

    def export_of(self, handle: bytes) -> Any:
        """One export says a time, the others nothing."""
        return SimpleNamespace(options=parse_options("blackout=40" if handle == HANDLE else ""))


def durations(**attributes: bytes) -> Durations:
    """30 s for the server, 40 for the handle's export, 50 or 60 for some addresses."""
    namespace: Any = FakeNamespace(**attributes)
    return Durations(namespace, 30, [("192.0.2.7", 50), ("192.0.2.0/24", 60)])


@pytest.mark.parametrize(("value", "seconds"), [
    (b"0", 0), (b"3600", 3600), (b"0030", 30), (b"3601", None), (b"-1", None), (b"", None), (b" 5", None),
    (b"5\n", None), (b"1.5", None), (b"00005", None), ("٣".encode(), None),
])  # fmt: skip
def test_attribute_value(value: bytes, seconds: int | None) -> None:
    """0 to 3600 in decimal digits; a client that says anything else hears INVAL."""
    assert seconds_of(value) == seconds
    if seconds is None:
        with pytest.raises(Nfs4Error) as caught:
            check_value(value)
        assert caught.value.status == nfs4.NFS4ERR_INVAL
    else:
        check_value(value)


def test_precedence() -> None:
    """The file's word, then the client's, then the export's, then the server's."""
    waiting = Waiting(1000.0, durations(handle=b"70"))
    assert waiting.seconds(HANDLE, "192.0.2.7") == (70, "file")
    waiting = Waiting(1000.0, durations())
    assert waiting.seconds(HANDLE, "192.0.2.7") == (50, "client")
    assert waiting.seconds(HANDLE, "192.0.2.8") == (60, "client")
    assert waiting.seconds(HANDLE, "198.51.100.1") == (40, "export")
    assert waiting.seconds(HANDLE, "") == (40, "export")
    assert waiting.seconds(OTHER, "198.51.100.1") == (30, "server")
    assert waiting.until(OTHER, "") == 1030.0


def test_attribute_unusable() -> None:
    """A file that is gone, and a value that nobody should have put there, say nothing."""
    waiting = Waiting(0.0, durations(other=b"soon"))
    assert waiting.seconds(STALE, "") == (30, "server")
    assert waiting.seconds(OTHER, "") == (30, "server")


def test_attribute_is_read_once() -> None:
    """What the file said first counts until the next start, and a listing need not read it."""
    found = durations(handle=b"70")
    waiting = Waiting(0.0, found)
    namespace: Any = found._namespace
    assert waiting.seconds(HANDLE, "", read=False) == (40, "export")
    assert namespace.reads == 0
    assert waiting.of_file(HANDLE) == 70
    namespace.attributes[HANDLE] = b"0"
    assert waiting.seconds(HANDLE, "", read=False) == (70, "file")
    assert namespace.reads == 1


def test_lift() -> None:
    """A lifted file waits no longer, whatever it says."""
    waiting = Waiting(5.0, durations(handle=b"70"))
    waiting.lift(HANDLE)
    assert waiting.until(HANDLE, "192.0.2.7") == 5.0


def test_due() -> None:
    """Files come due at their own times, once each, however many portions their reading takes."""
    count = SWEEP_COUNT + 10
    handles = [b"%d" % number for number in range(count)]
    namespace: Any = FakeNamespace(**{"0": b"5", str(count - 1): b"90"})
    found = Durations(namespace, 30)
    waiting = Waiting(0.0, found)
    pairs = [(handle, "c", "") for handle in handles]
    assert waiting.due(lambda: pairs, 1.0) == set()
    assert not waiting.is_over()
    assert waiting.due(list, 6.0) == {b"0"}
    assert waiting.due(list, 30.0) == set(handles[1:-1])
    assert not waiting.is_over()
    assert waiting.due(list, 90.0) == {handles[-1]}
    assert waiting.is_over()
