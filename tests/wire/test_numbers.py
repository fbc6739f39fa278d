"""Handles over changes of the configuration: an export is itself in any order, and a withdrawn one reaches no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.config import Config, parse_export
from nfsd.exports import Numbers, parse_exports
from nfsd.exports.numbers import KEY_PREFIX, is_key
from nfsd.resume.edge import of_this_machine
from nfsd.resume.exports import Exports
from statestore import META, LmdbStore
from tests.support import operations as ops
from tests.wire.conftest import Connect, MakeServer, needs_root
from tests.wire.server import ServerProcess
from tests.wire.store import flip, harm
from xdr.generated import nfs4

OPTIONS = "rw,insecure,no_root_squash"
STALE = nfs4.NFS4ERR_STALE

Handles = dict[str, tuple[bytes, bytes, int]]
"""The handles of an export's root and of a file in it, and its fsid, by its pseudo path."""


class Changing:
    """A server whose configuration changes from start to start."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.server = server
        self.connect = connect
        (server.export / "file").write_bytes(b"data")

    def start(self, *pseudos: str) -> None:
        """kill -9, and a start with these exports in this order."""
        self.server.kill()
        self.server._exports = dict.fromkeys(pseudos, OPTIONS)
        self.server.start()

    def look(self, *pseudos: str) -> Handles:
        """What exports look like."""
        connection = self.connect(self.server)
        found = {}
        for pseudo in pseudos:
            asked = [ops.getfh(), ops.getattr_(nfs4.FATTR4_FSID), ops.lookup(b"file"), ops.getfh()]
            reply = connection.call(ops.putrootfh(), ops.lookup(pseudo[1:].encode()), *asked, minor=0)
            assert reply.status == nfs4.NFS4_OK
            fsid = int.from_bytes(reply.results[3].resok4.obj_attributes.attr_vals[:8], "big")
            found[pseudo] = reply.results[2].resok4.object, reply.results[5].resok4.object, fsid
        return found

    def statuses(self, handles: Handles) -> dict[str, set[int]]:
        """The statuses of the use of the handles of each export."""
        connection = self.connect(self.server)
        return {
            pseudo: {connection.status(ops.putfh(handle), ops.getattr_(nfs4.FATTR4_SIZE), minor=0) for handle in both}
            for pseudo, (*both, _fsid) in handles.items()
        }


@pytest.fixture(params=["kernel", "table"])
def changing(request: pytest.FixtureRequest, make_server: MakeServer, connect: Connect) -> Changing:
    """A server with two exports, by each kind of handles."""
    settings = {"handles": request.param}
    server = make_server(exports={"/one": OPTIONS, "/two": OPTIONS}, settings=settings)
    return Changing(server, connect)


@needs_root
def test_exports_change(changing: Changing) -> None:
    """Handles and fsids stay over reordering and additions; those of a withdrawn export wait for it, and are stale."""
    before = changing.look("/one", "/two")
    good: set[int] = {nfs4.NFS4_OK}
    changing.start("/new", "/two", "/other", "/one")
    assert changing.look("/one", "/two") == before
    assert changing.statuses(before) == {"/one": good, "/two": good}
    withdrawn: tuple[tuple[str, ...], ...] = (("/two",), ("/third", "/fourth", "/two", "/new"))
    for others in withdrawn:
        changing.start(*others)
        assert changing.statuses(before) == {"/one": {STALE}, "/two": good}
        assert before["/one"][2] not in [fsid for *_both, fsid in changing.look(*others).values()]
    changing.start("/one", "/two", "/third")
    assert changing.look("/one", "/two") == before
    assert changing.statuses(before) == {"/one": good, "/two": good}


@needs_root
def test_damaged_number(make_server: MakeServer, connect: Connect) -> None:
    """One damaged copy of a number costs nothing; both cost the export's handles, which reach no other export."""
    changing = Changing(make_server(exports={"/one": OPTIONS, "/two": OPTIONS}), connect)
    before = changing.look("/one", "/two")
    first = KEY_PREFIX + before["/one"][2].to_bytes(4, "big")
    for copy in (b"\0", b"\1"):
        changing.server.kill()
        harm(changing.server.state, META, lambda key, copy=copy: key == first + copy, flip())  # type: ignore[misc]
        changing.server.start()
        assert changing.look("/one", "/two") == before
    changing.server.kill()
    harm(changing.server.state, META, lambda key: key.startswith(first), flip())
    changing.server.start()
    for _ in range(2):
        assert changing.statuses(before) == {"/one": {STALE}, "/two": {nfs4.NFS4_OK}}
        after = changing.look("/one", "/two")
        assert after["/two"] == before["/two"] and after["/one"][2] not in (before["/one"][2], before["/two"][2])
        changing.server.restart()


@needs_root
@pytest.mark.parametrize("stored", [True, False])
def test_prepared_exports(tmp_path: Path, stored: bool) -> None:
    """What a warm process has opened ahead it serves from; with other numbers in the store it opens anew."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (parse_export(f"{tmp_path / name}=/{name},rw") for name in ("one", "two"))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    store = LmdbStore.open(state, level="process", on_failure=lambda error: None)
    secret = store.secret
    if stored:
        numbers = Numbers()
        parse_exports([two, one], numbers=numbers)
        store.wait(store.commit(numbers.changes))
    store.close()
    config = Config(exports=(one, two), state=state, control=tmp_path / "control", node="node")
    exports = Exports(config, of_this_machine(), pytest.fail)
    exports.prepare()
    assert exports._prepared is not None
    ahead = exports._prepared[1]
    store = LmdbStore.open(state, level="process", on_failure=lambda error: None)
    rows = [(key, value) for kind, key, value in store.load() if kind == META and is_key(key)]
    opened = exports.open(secret, rows, [], lambda changes: store.wait(store.commit(changes)))
    assert opened is ahead
    assert [each.id for each in opened.exports] == ([2, 1] if stored else [1, 2])
    assert sum(is_key(key) for kind, key, _value in store.load() if kind == META) == 4
    opened.close()
    store.close()
    exports.prepare()
    other = Numbers()
    parse_exports([parse_export(f"{tmp_path}=/other"), one], numbers=other)
    rows = [(key[1:], value[10:]) for key, value in other.changes.entries.items() if value is not None]
    again = exports.open(secret, rows, [], lambda changes: None)
    assert {each.pseudo: each.id for each in again.exports} == {"/one": 2, "/two": 3}
    again.close()
