"""Exports: their text, their options, their clients, and the pseudo file system above them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nfsd.config import parse_export
from nfsd.exports import (
    AUTH_NONE,
    AUTH_SYS,
    Export,
    ExportError,
    Namespace,
    Options,
    parse_exports,
    parse_options,
)
from nfsd.exports import namespace as namespaces
from nfsd.vfs import Credentials, Node, StaleHandle
from tests.vfs.world import ROOT, SECRET, World


@dataclass(frozen=True)
class ClientText:
    """A client entry as the configuration has it."""

    match: str
    options: str = ""


@dataclass(frozen=True)
class ExportText:
    """An export as the configuration has it."""

    path: Path
    pseudo: str
    options: str = ""
    clients: tuple[ClientText, ...] = field(default=())


def one(*clients: ClientText, options: str = "") -> Export:
    """An export with these clients; names are resolved from a table."""
    names = {"host.example.org": ["192.0.2.77", "2001:db8::7"]}
    text = ExportText(Path("/srv"), "/srv", options, clients)
    return parse_exports([text], lambda name: names.get(name, []))[0]


def test_options_all() -> None:
    """Every option has its effect; later ones win."""
    assert parse_options("") == Options(False, "root", 65534, 65534, True, (AUTH_SYS,), None)
    assert parse_options("ro,all_squash,anonuid=5,anongid=6,insecure,sec=none:sys,fsid=9") == Options(
        True, "all", 5, 6, False, (AUTH_NONE, AUTH_SYS), 9
    )
    assert parse_options("ro, rw ,no_root_squash,root_squash,insecure,secure") == Options()
    assert not parse_options("").port_allowed(1024) and parse_options("").port_allowed(1023)
    assert parse_options("insecure").port_allowed(50000)


@pytest.mark.parametrize(
    "text",
    ["sync", "no_subtree_check", "rw=1", "anonuid", "anonuid=-1", "anonuid=4294967295", "anongid=x", "fsid=0",
     "fsid=256", "fsid=root", "sec=krb5", "sec=", "sec=sys:sys", "sec=foo", "Rw",
     "blackout=3601", "blackout=", "blackout"],
)  # fmt: skip
def test_options_refused(text: str) -> None:
    """What is not known is an error that says what is."""
    with pytest.raises(ExportError) as caught:
        parse_options(text)
    assert any(word in str(caught.value) for word in ("options are", "must be", "use sys"))


def test_exports_numbered() -> None:
    """Numbers that are given stay; the others fill the gaps in order."""
    texts = [parse_export(text) for text in ("/a", "/b,fsid=1", "/c", "/d,fsid=3")]
    assert [export.id for export in parse_exports(texts)] == [2, 1, 4, 3]
    with pytest.raises(ExportError, match="fsid=1 of /b is taken by /a"):
        parse_exports([parse_export("/a,fsid=1"), parse_export("/b,fsid=1")])
    with pytest.raises(ExportError, match="256 exports"):
        parse_exports([parse_export(f"/{number}") for number in range(256)])


@pytest.mark.parametrize("pair", [("/a=/x", "/b=/x"), ("/a=/x", "/b=/x/y"), ("/a=/x/y", "/b=/x"), ("/a=/", "/b=/b")])
def test_exports_overlap(pair: tuple[str, str]) -> None:
    """One export's place may not lie at or beneath another's."""
    with pytest.raises(ExportError, match="lies at or beneath"):
        parse_exports([parse_export(text) for text in pair])
    assert len(parse_exports([parse_export("/a=/x"), parse_export("/b=/xy")])) == 2


@pytest.mark.parametrize("pseudo", ["relative", "/a/../b", "/./a"])
def test_exports_pseudo_refused(pseudo: str) -> None:
    """A pseudo path is absolute and plain."""
    with pytest.raises(ExportError, match="must begin with /"):
        parse_exports([ExportText(Path("/srv"), pseudo)])


def test_clients_first_match() -> None:
    """Entries are tried in order; their options come on top of the export's; no match is no access."""
    export = one(
        ClientText("192.0.2.5", "ro"), ClientText("192.0.2.0/24", "no_root_squash"),
        ClientText("2001:db8::/32"), options="insecure",
    )  # fmt: skip
    assert export.options_for("192.0.2.5") == Options(read_only=True, secure=False)
    assert export.options_for("::ffff:192.0.2.5") == Options(read_only=True, secure=False)
    assert export.options_for("192.0.2.6") == Options(squash="none", secure=False)
    assert export.options_for("2001:db8:1::1") == Options(secure=False)
    assert export.options_for("fe80::1%eth0") is None
    assert export.options_for("198.51.100.1") is None
    assert export.options_for("not an address") is None
    assert not export.read_only
    assert one(ClientText("*", "ro")).read_only


def test_clients_by_name() -> None:
    """A host name stands for its addresses; they are asked for again by refresh alone."""
    export = one(ClientText("host.example.org", "ro"), ClientText("unknown.example.org"))
    assert export.options_for("192.0.2.77") == Options(read_only=True)
    assert export.options_for("2001:db8::7") == Options(read_only=True)
    assert export.options_for("192.0.2.78") is None
    export.refresh()
    assert export.options_for("192.0.2.77") == Options(read_only=True)


@pytest.mark.parametrize("match", ["", "192.0.2.0/33", "192.0.2", "*.example.org", "@group", "a b", "1:2"])
def test_clients_refused(match: str) -> None:
    """What cannot be matched is an error, not a silent refusal."""
    with pytest.raises(ExportError, match="is not allowed: write an address"):
        one(ClientText(match))


def test_blackout_option() -> None:
    """A blackout is the whole export's, and clients of the export may only repeat it."""
    assert parse_options("rw,blackout=0").blackout_s == 0
    assert parse_options("rw").blackout_s is None
    with pytest.raises(ExportError, match="client"):
        one(ClientText("*", "blackout=3"))


def test_client_fsid_refused() -> None:
    """The number belongs to the export as a whole."""
    with pytest.raises(ExportError, match="for one client"):
        one(ClientText("*", "fsid=3"))


def test_squash_of_export() -> None:
    """Options say whom a caller acts as."""
    assert one(options="all_squash,anonuid=1,anongid=2").options.apply(ROOT) == Credentials(1, 2, ())
    assert Options(squash="none").apply(ROOT) is ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Namespace:
    """Three exports below a pseudo root."""
    texts = []
    for name, pseudo in (("a", "/x/a"), ("b", "/x/deep/b"), ("c", "/c")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"")
        texts.append(parse_export(f"{tmp_path / name}={pseudo},no_root_squash"))
    return Namespace(parse_exports(texts), SECRET, born_ns=5_000_000_000)


def names_in(node: Node) -> list[bytes]:
    """The names in a directory."""
    return sorted(name for _cookie, name in node.fs.readdir(node, 0, ROOT))


def walk(tree: Namespace, path: str, address: str | None = None) -> Node:
    """Follow a path from the root, as it is or as a client sees it."""
    node = tree.root() if address is None else tree.root_for(address)
    for name in filter(None, path.split("/")):
        node = node.fs.lookup(node, name.encode(), ROOT)
    return node


def test_pseudo_tree(tree: Namespace) -> None:
    """Paths lead from the root to the exports' files and back."""
    root = tree.root()
    assert names_in(root) == [b"c", b"x"]
    deep = walk(tree, "/x/deep")
    assert names_in(deep) == [b"b"]
    export = walk(tree, "/x/deep/b")
    assert export.fs.export is not None and export.fs.export.pseudo == "/x/deep/b"
    assert walk(tree, "/x/deep/b/file").kind == stat.S_IFREG
    assert export.fs.parent(export, ROOT) is deep
    assert deep.fs.parent(deep, ROOT) is walk(tree, "/x")
    for name in (b"missing", b"x/deep", b".."):
        with pytest.raises(FileNotFoundError):
            root.fs.lookup(root, name, ROOT)
    tree.close()


def test_pseudo_numbers(tree: Namespace) -> None:
    """Each tree has its own fsid; a root shows the number of the directory that it covers."""
    nodes = [walk(tree, path) for path in ("/", "/x", "/x/deep", "/x/a", "/x/deep/b", "/c")]
    assert len({node.fs.fsid for node in nodes}) == 4
    covered = [node.fs.mounted_on_fileid(node, node.fs.stat(node)) for node in nodes]
    assert len(set(covered)) == len(nodes)
    root = tree.root()
    st = root.fs.stat(root)
    assert st.st_mtime_ns == st.st_ctime_ns == 5_000_000_000
    assert abs(root.fs.change(root, st) - 5_000_000_000) < 1 << 32
    assert st.st_mode == stat.S_IFDIR | 0o555 and st.st_nlink == 4
    assert root.fs.statfs(root).f_bfree == 0
    tree.close()


def test_pseudo_is_read_only(tree: Namespace) -> None:
    """Every change is EROFS; access grants reading and searching; there are no extended attributes."""
    root = tree.root()
    fs = root.fs
    assert fs.access(root, 7, ROOT) == os.R_OK | os.X_OK
    for call in (
        lambda: fs.create(root, b"f", ROOT, 0o600),
        lambda: fs.mkdir(root, b"f", ROOT, 0o700),
        lambda: fs.symlink(root, b"f", b"x", ROOT),
        lambda: fs.mknod(root, b"f", ROOT, 0o600, stat.S_IFIFO, 0),
        lambda: fs.link(root, root, b"f", ROOT),
        lambda: fs.remove(root, b"x", ROOT),
        lambda: fs.rename(root, b"x", root, b"y", ROOT),
        lambda: fs.setattr(root, ROOT, mode=0o777),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError) as caught:
        fs.listxattr(root, ROOT)
    assert caught.value.errno == errno.ENOTSUP
    with pytest.raises(IsADirectoryError):
        fs.open_data(root, False)
    with pytest.raises(FileNotFoundError):
        fs.parent(root, ROOT)
    tree.close()


def test_pseudo_cookies_and_handles(tree: Namespace, tmp_path: Path) -> None:
    """Reading goes on behind a cookie; handles stay the same over a restart."""
    root = tree.root()
    entries = list(root.fs.readdir(root, 0, ROOT))
    assert list(root.fs.readdir(root, entries[0][0], ROOT)) == entries[1:]
    assert list(root.fs.readdir(root, entries[1][0], ROOT)) == []
    handles = [walk(tree, path).handle for path in ("/", "/x", "/x/a")]
    exports = tree.exports
    tree.close()
    again = Namespace(exports, SECRET)
    for handle in handles:
        assert again.resolve(handle).handle == handle
    again.close()


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Namespace]:
    """Three exports below a pseudo root: one for everybody, two for one network each."""
    texts = []
    for name, pseudo, client in (
        ("a", "/x/a", "192.0.2.0/24"), ("b", "/x/deep/b", "198.51.100.0/24"), ("c", "/c", "*"),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        texts.append(ExportText(tmp_path / name, pseudo, "no_root_squash", (ClientText(client),)))
    namespace = Namespace(parse_exports(texts), SECRET, born_ns=5_000_000_000)
    yield namespace
    namespace.close()


def looks(node: Node) -> tuple[list[tuple[int, bytes]], int, int]:
    """The entries of a directory, its number of links and its change attribute."""
    fs = node.fs
    st = fs.stat(node)
    return list(fs.readdir(node, 0, ROOT)), st.st_nlink, fs.change(node, st)


FIRST, SECOND, STRANGER = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def test_pseudo_shows_what_is_for_a_client(closed: Namespace) -> None:
    """Names that lead to other clients' exports alone are not there; the others are what they are to everybody."""
    for address, paths, hidden in (
        (FIRST, ["/x/a", "/c"], ["/x/deep"]),
        (SECOND, ["/x/deep/b", "/c"], ["/x/a"]),
        (STRANGER, ["/c"], ["/x"]),
    ):
        for path in paths:
            assert walk(closed, path, address) is walk(closed, path)
        for path in hidden:
            with pytest.raises(FileNotFoundError):
                walk(closed, path, address)
            with pytest.raises(StaleHandle):
                closed.seen_by(walk(closed, path), address)
        root = walk(closed, "/", address)
        assert root.handle == closed.root().handle and closed.seen_by(closed.root(), address) is root
        assert root.fs.statfs(root).f_files == len({each for path in paths for each in _above(path)}) + 1
    entries, links, change = zip(*(looks(walk(closed, "/", each)) for each in (FIRST, SECOND, STRANGER)), strict=True)
    assert (
        links == (4, 4, 3)
        and entries[0] == entries[1]
        and entries[2] == [each for each in entries[0] if each[1] == b"c"]
    )
    assert change[0] == change[1] != change[2]
    inner = [looks(walk(closed, "/x", each)) for each in (FIRST, SECOND)]
    assert [[name for _cookie, name in each[0]] for each in inner] == [[b"a"], [b"deep"]]
    assert inner[0][2] != inner[1][2]
    above = walk(closed, "/x/a", FIRST)
    assert names_in(closed.seen_by(above.fs.parent(above, ROOT), FIRST)) == [b"a"]


def _above(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def test_pseudo_cookies_are_sound(closed: Namespace) -> None:
    """A cookie is good whatever names come and go: what follows it follows it."""
    entries = list(closed.root().fs.readdir(closed.root(), 0, ROOT))
    narrow = walk(closed, "/", STRANGER)
    for cookie, _name in entries:
        rest = [each for each in entries if each[0] > cookie]
        assert list(narrow.fs.readdir(narrow, cookie, ROOT)) == [each for each in rest if each[1] == b"c"]


def test_pseudo_views_are_bounded(closed: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that see the same share it; of many kinds of clients some are forgotten and served anew."""
    assert walk(closed, "/", FIRST) is walk(closed, "/", "192.0.2.77")
    monkeypatch.setattr(namespaces, "VIEWS_REMEMBERED", 1)
    first = walk(closed, "/", FIRST)
    walk(closed, "/", SECOND)
    assert walk(closed, "/", FIRST) is not first and looks(walk(closed, "/", FIRST)) == looks(first)


def test_pseudo_nothing_to_see(tmp_path: Path) -> None:
    """Who may see nothing sees an empty root, also where the root is an export for others."""
    for pseudo in ("/x", "/"):
        text = ExportText(tmp_path, pseudo, "", (ClientText(FIRST),))
        namespace = Namespace(parse_exports([text]), SECRET)
        root = namespace.root_for(STRANGER)
        assert looks(root)[:2] == ([], 2) and root.fs.export is None
        assert namespace.seen_by(namespace.resolve(root.handle), STRANGER) is root
        assert (namespace.root_for(FIRST).fs.export is None) == (pseudo == "/x")
        namespace.close()


def test_pseudo_export_at_the_root(tmp_path: Path) -> None:
    """An export at / is the whole tree."""
    namespace = Namespace(parse_exports([parse_export(f"{tmp_path}=/")]), SECRET)
    root = namespace.root()
    assert root.fs.export is namespace.exports[0]
    st = root.fs.stat(root)
    assert root.fs.mounted_on_fileid(root, st) == st.st_ino
    with pytest.raises(FileNotFoundError):
        root.fs.parent(root, ROOT)
    namespace.close()


def test_options_and_flavours_of_nodes(tmp_path: Path) -> None:
    """Above the exports every flavour of any is offered; an export that is not for a client offers none."""
    texts = []
    for name, options, client in (("a", "sec=sys", "192.0.2.1"), ("b", "sec=none", "*")):
        (tmp_path / name).mkdir()
        texts.append(ExportText(tmp_path / name, "/" + name, options, (ClientText(client),)))
    namespace = Namespace(parse_exports(texts), SECRET)
    root = namespace.root()
    closed = root.fs.lookup(root, b"a", ROOT)
    assert namespace.flavours(root, "192.0.2.1") == (AUTH_SYS, AUTH_NONE)
    assert namespace.flavours(root, "192.0.2.2") == (AUTH_NONE,)
    assert namespace.flavours(closed, "192.0.2.1") == (AUTH_SYS,)
    assert namespace.flavours(closed, "192.0.2.2") == ()
    assert namespace.options(closed, "192.0.2.2") is None
    above = namespace.options(root, "192.0.2.2")
    assert above is not None and above.port_allowed(60000)
    namespace.close()


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    """An export that is no directory is the operating system's error, and leaves nothing open."""
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file"):
        with pytest.raises(OSError):
            Namespace(parse_exports([parse_export(str(tmp_path / name))]), SECRET)
    assert len(os.listdir("/proc/self/fd")) == before


def test_read_only_export(world: World) -> None:
    """On a read-only export every change is EROFS, and access says so beforehand."""
    world.make(b"f", b"data")
    world.restart("ro,no_root_squash")
    fs, root = world.fs, world.root
    node = fs.lookup(root, b"f", ROOT)
    assert fs.access(node, os.R_OK | os.W_OK, ROOT) == os.R_OK
    assert world.read(node) == b"data"
    for call in (
        lambda: fs.open_data(node, True),
        lambda: fs.write(node, 0, b"x", ROOT),
        lambda: fs.allocate(node, 0, 1, ROOT),
        lambda: fs.punch_hole(node, 0, 1, ROOT),
        lambda: fs.create(root, b"f", ROOT, 0o600),
        lambda: fs.mkdir(root, b"d", ROOT, 0o700),
        lambda: fs.symlink(root, b"l", b"x", ROOT),
        lambda: fs.mknod(root, b"n", ROOT, 0o600, stat.S_IFIFO, 0),
        lambda: fs.link(node, root, b"g", ROOT),
        lambda: fs.remove(root, b"f", ROOT),
        lambda: fs.rename(root, b"f", root, b"g", ROOT),
        lambda: fs.setattr(node, ROOT, size=0),
        lambda: fs.setxattr(node, b"k", b"v", 0, ROOT),
        lambda: fs.removexattr(node, b"k", ROOT),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EROFS
