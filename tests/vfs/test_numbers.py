"""The numbers of exports: the same whatever the order, never given twice, and stored before they are told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nfsd.config import parse_export
from nfsd.exports import ExportError, Namespace, Numbers, parse_exports
from nfsd.exports.numbers import KEY_PREFIX, LOST, Place, Wanted, decode, encode, is_key, stand_ins
from nfsd.vfs import StaleHandle
from nfsd.vfs.handles import BODY_SIZE_MAX, KERNEL, MEMORY, PSEUDO, HandleCodec
from nfsd.vfs.interface import HANDLE_SIZE_MAX
from nfsd.vfs.objects import ROOT_ID, ObjectTable
from nfsd.vfs.objects import is_key as is_row_key
from statestore import META, NAME, MemoryStore
from tests.vfs.world import ROOT, SECRET


class Installation:
    """A store that keeps numbers over starts with one configuration after the other."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def rows(self) -> list[tuple[bytes, bytes]]:
        """The stored records of numbers."""
        self.store.flush()
        return [(key, value) for kind, key, value in self.store.load() if kind == META and is_key(key)]

    def start(self, *texts: str) -> dict[str, int]:
        """The numbers by pseudo path."""
        numbers = Numbers(self.rows())
        exports = parse_exports([parse_export(text) for text in texts], numbers=numbers)
        self.store.commit(numbers.changes)
        return {export.pseudo: export.id for export in exports}


@pytest.fixture
def installation() -> Installation:
    """One that has never been started."""
    return Installation()


def test_first_start(installation: Installation) -> None:
    """Where nothing has been given, as before there were records, the order and fsid= alone decide."""
    texts = ["/a", "/b,fsid=1", "/c", "/d,fsid=3"]
    first = installation.start(*texts)
    assert first == {"/a": 2, "/b": 1, "/c": 4, "/d": 3}
    assert first == {export.pseudo: export.id for export in parse_exports(map(parse_export, texts))}
    assert installation.start(*texts) == first and Numbers(installation.rows()).changes.entries == {}


def test_any_order_and_choice(installation: Installation) -> None:
    """Adding, removing and reordering exports leaves the numbers of all others, and none is ever another's."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    owners: dict[int, str] = {}
    for _ in range(50):
        chosen = chance.sample([f"/dir{n}=/export{n}" for n in range(20)], chance.randrange(1, 8))
        given = installation.start(*chosen)
        for text in chosen:
            number = given[text.partition("=")[2]]
            assert owners.setdefault(number, text) == text
    assert len(owners) == len(set(owners.values()))


def test_another_place_is_another_export(installation: Installation) -> None:
    """Another directory at a pseudo path, or another pseudo path of a directory, is not the export of before."""
    assert installation.start("/srv/a=/a", "/srv/b=/b") == {"/a": 1, "/b": 2}
    assert installation.start("/srv/c=/a", "/srv/b=/other") == {"/a": 3, "/other": 4}
    assert installation.start("/srv/b=/b", "/srv/a=/a") == {"/a": 1, "/b": 2}


def test_fsid_keeps_the_number(installation: Installation) -> None:
    """With fsid= one of the two, the pseudo path or the directory, may change, and the handles stay good."""
    installation.start("/srv/a=/a", "/srv/b=/b")
    assert installation.start("/srv/c=/a,fsid=1", "/srv/b=/other,fsid=2") == {"/a": 1, "/other": 2}
    assert installation.start("/srv/c=/a", "/srv/b=/other") == {"/a": 1, "/other": 2}
    assert installation.start("/srv/b=/b", "/srv/a=/a") == {"/b": 3, "/a": 4}


def test_fsid_of_another(installation: Installation) -> None:
    """A number that another export has, or had, is refused."""
    installation.start("/srv/a=/a", "/srv/b=/b")
    for texts in (("/srv/c=/c,fsid=1",), ("/srv/a=/c,fsid=1", "/srv/a=/a"), ("/srv/a=/a,fsid=2", "/srv/b=/b,fsid=1")):
        with pytest.raises(ExportError, match="give a number that no export has had"):
            installation.start(*texts)
    assert installation.start("/srv/c=/c,fsid=7", "/srv/a=/a") == {"/c": 7, "/a": 1}


def test_fsid_instead_of_a_number(installation: Installation) -> None:
    """Who gets another number by fsid= has that one from now on; the one before is not given to anybody else."""
    assert installation.start("/a") == {"/a": 1}
    assert installation.start("/a,fsid=7") == {"/a": 7}
    assert installation.start("/a", "/b") == {"/a": 7, "/b": 2}
    with pytest.raises(ExportError, match="fsid=1"):
        installation.start("/c,fsid=1")
    assert installation.start("/a,fsid=1") == {"/a": 1}


def test_lost_number() -> None:
    """The number of a lost record is given to nobody, unless fsid= says whose it is."""
    keys = [KEY_PREFIX + (1).to_bytes(4, "big") + copy for copy in (b"\0", b"\1")]
    lost = stand_ins([], keys)
    assert lost == [(key, LOST) for key in keys]
    wanted = [Wanted(Place("/a", "/a"), None), Wanted(Place("/b", "/b"), None)]
    assert Numbers(lost).assign(wanted) == [2, 3]
    assert Numbers(lost).assign([Wanted(Place("/a", "/a"), 1)]) == [1]


def test_lost_copy(installation: Installation) -> None:
    """What one copy of a record says stands in the place of the other."""
    installation.start("/a", "/b")
    rows = installation.rows()
    assert len(rows) == 4
    for lost in rows:
        left = [row for row in rows if row != lost]
        assert stand_ins(left, [lost[0], b"verifier"]) == [lost]
        assert Numbers(left).assign([Wanted(Place("/b", "/b"), None), Wanted(Place("/a", "/a"), None)]) == [2, 1]


def test_many_numbers() -> None:
    """There are numbers beyond one byte: old ones never have to be given again."""
    numbers = Numbers()
    for each in range(300):
        numbers.assign([Wanted(Place(f"/{each}", "/srv"), None)])
    assert numbers.assign([Wanted(Place("/299", "/srv"), None), Wanted(Place("/0", "/srv"), None)]) == [300, 1]


def test_records() -> None:
    """A record says what was put, bytes that are no UTF-8 too; what cannot be one is refused."""
    place = Place("/ex\udcffport", "/srv/\udcfe")
    for current in (True, False):
        value = encode(place, current)
        assert decode(value) == (place, current)
    assert decode(LOST) == (None, False)
    for size in range(1, len(value) - len("/srv/") - 1):
        with pytest.raises(ValueError):
            decode(value[:size])
    assert is_key(KEY_PREFIX + bytes(5)) and not is_key(KEY_PREFIX + bytes(4)) and not is_key(b"address." + bytes(8))


@pytest.mark.parametrize("number", [1, 255, 256, 0xFFFFFFFF])
@pytest.mark.parametrize("version", [KERNEL, MEMORY])
def test_handles_of_any_number(number: int, version: int) -> None:
    """A handle has its export's number, be it one byte or four; a short one looks as it always did."""
    codec = HandleCodec(SECRET)
    body = bytes(range(BODY_SIZE_MAX))
    handle = codec.encode(version, number, body)
    assert codec.decode(handle) == (version, number, body) and len(handle) <= HANDLE_SIZE_MAX
    if number < 256:
        assert handle[:2] == bytes((version, number))
    assert codec.decode(codec.encode(PSEUDO, 0, bytes(16))) == (PSEUDO, 0, bytes(16))
    with pytest.raises(ValueError, match="body has at most"):
        codec.encode(version, number, bytes(HANDLE_SIZE_MAX))


@pytest.mark.parametrize("number", [255, 256])
def test_rows_of_any_number(number: int) -> None:
    """The object table's rows are those of its export, be its number one byte or four."""
    store = MemoryStore()
    row = ObjectTable(number, [], store.commit).row_of(b"one", (ROOT_ID, b"a"))
    store.flush()
    rows = [(key, value) for kind, key, value in store.load() if kind == NAME]
    assert all(is_row_key(key) for key, _value in rows)
    assert ObjectTable(number, rows, store.commit).rows.keys() == {row.id}
    assert ObjectTable(511 - number, rows, store.commit).rows == {}


@pytest.mark.parametrize("handles", ["kernel", "table"])
def test_withdrawn_export(tmp_path: Path, installation: Installation, handles: str) -> None:
    """The handles of an export that is withdrawn are stale, also in an export of the same files, until it is back."""
    rows: list[tuple[bytes, bytes]] = []

    def open_exports(*texts: str) -> Namespace:
        numbers = Numbers(installation.rows())
        exports = parse_exports([parse_export(f"{tmp_path}={text}") for text in texts], numbers=numbers)
        installation.store.commit(numbers.changes)
        installation.store.flush()
        rows[:] = [(key, value) for kind, key, value in installation.store.load() if kind == NAME]
        commit = installation.store.commit
        return Namespace(exports, SECRET, handles=handles, rows=rows, commit=commit)  # type: ignore[arg-type]

    (tmp_path / "file").write_bytes(b"")
    namespace = open_exports("/one", "/two")
    root = namespace.root()
    found = {}
    for name in (b"one", b"two"):
        top = root.fs.lookup(root, name, ROOT)
        found[name] = top.handle, top.fs.lookup(top, b"file", ROOT).handle
    namespace.close()
    for texts, good in ((("/two",), (b"two",)), (("/new", "/two"), (b"two",)), (("/two", "/one"), (b"one", b"two"))):
        namespace = open_exports(*texts)
        for name, handles_of in found.items():
            for handle in handles_of:
                if name in good:
                    node = namespace.resolve(handle)
                    assert node.fs.export.pseudo == "/" + name.decode()
                else:
                    with pytest.raises(StaleHandle):
                        namespace.resolve(handle)
        namespace.close()
