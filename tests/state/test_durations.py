"""How long a file is blacked out: the order of precedence, and what the file's attribute may say."""

from __future__ import annotations

import pytest

from nfsd.config import parse_export
from nfsd.errors import Nfs4Error
from nfsd.exports import Namespace, parse_exports
from nfsd.state.durations import ATTRIBUTE, FileDurations, check_value, seconds_of
from nfsd.vfs.interface import Node
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import MemoryTree
from statestore import Waiting
from tests.state.world import ROOT
from xdr.generated import nfs4

BEGAN = 1000.0


class Files:
    """Two exports, the first with a duration of its own; a file in each, with what a test says in its attribute."""

    def __init__(self, **attributes: bytes) -> None:
        exports = [parse_export("/one=/one,blackout=40,no_root_squash"), parse_export("/two=/two,no_root_squash")]
        trees = {path: MemoryTree(lambda: 0) for path in ("/one", "/two")}
        self.namespace = Namespace(parse_exports(exports), bytes(32), opener=opening(trees))
        self.one, self.two = (self._file(name, attributes) for name in ("one", "two"))
        # 30 s for the server, 40 for the first export, 50 or 60 for some addresses.
        self.durations = FileDurations(self.namespace, 30, [("192.0.2.7", 50), ("192.0.2.0/24", 60)])

    def _file(self, export: str, attributes: dict[str, bytes]) -> bytes:
        root = self.namespace.root()
        directory = root.fs.lookup(root, export.encode(), ROOT)
        node: Node = directory.fs.create(directory, b"file", ROOT, 0o644)[0]
        if export in attributes:
            self.say(node.handle, attributes[export])
        return node.handle

    def say(self, handle: bytes, value: bytes) -> None:
        """Put an attribute on a file, whatever it says."""
        node = self.namespace.resolve(handle)
        node.fs.setxattr(node, ATTRIBUTE, value, 0, ROOT)

    def remove(self, handle: bytes) -> None:
        """Remove a file."""
        node = self.namespace.resolve(handle)
        node.fs.remove(node.fs.root, b"file", ROOT)


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
    said = Files(one=b"70")
    assert Waiting(BEGAN, said.durations).seconds(said.one, "192.0.2.7") == (70, "object")
    silent = Files()
    waiting = Waiting(BEGAN, silent.durations)
    assert waiting.seconds(silent.one, "192.0.2.7") == (50, "client")
    assert waiting.seconds(silent.one, "192.0.2.8") == (60, "client")
    assert waiting.seconds(silent.one, "198.51.100.1") == (40, "export")
    assert waiting.seconds(silent.one, "") == (40, "export")
    assert waiting.seconds(silent.two, "198.51.100.1") == (30, "server")
    assert waiting.until(silent.two, "") == BEGAN + 30


def test_attribute_unusable() -> None:
    """A file that is gone, and a value that nobody should have put there, say nothing."""
    files = Files(one=b"70", two=b"soon")
    files.remove(files.one)
    waiting = Waiting(BEGAN, files.durations)
    assert files.durations.of_object(files.one) is None
    assert files.durations.of_object(b"no handle") is None
    assert waiting.seconds(files.two, "") == (30, "server")


def test_attribute_is_read_once() -> None:
    """What the file said first counts until the next start, and a listing need not read it."""
    files = Files(one=b"70")
    waiting = Waiting(BEGAN, files.durations)
    assert waiting.seconds(files.one, "", read=False) == (40, "export")
    assert waiting.of_object(files.one) == 70
    files.say(files.one, b"0")
    assert waiting.seconds(files.one, "", read=False) == (70, "object")
    assert Waiting(BEGAN, files.durations).of_object(files.one) == 0
