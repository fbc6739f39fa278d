"""What an export's options do to a request: ro, squashing, client lists, secure ports."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Session, mount, unique
from tests.wire.conftest import Connect, MakeServer, needs_root
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

NOBODY = 65534
EXPORTS = {
    "/plain": "rw,insecure,no_root_squash,fsid=1",
    "/ro": "ro,insecure,no_root_squash,fsid=2",
    "/squashed": "rw,insecure,fsid=3",
    "/all": "rw,insecure,all_squash,anonuid=1234,anongid=4321,fsid=4",
    "/secure": "rw,no_root_squash,fsid=5",
    "/listed": "rw,insecure,no_root_squash,fsid=6",
}
# The last address has no entry and is nobody's client.
CLIENTS = {"/listed": [("127.0.0.1", "rw"), ("127.0.0.2", "ro"), ("127.0.1.0/24", "rw,root_squash")]}

pytestmark = needs_root


@pytest.fixture(scope="module")
def exporting(make_server: MakeServer) -> ServerProcess:
    """A server that exports one directory in six ways."""
    return make_server(exports=EXPORTS, clients=CLIENTS)


def owner_of(server: ServerProcess, name: bytes) -> tuple[int, int]:
    """Whose a file is."""
    status = (server.export / name.decode()).stat()
    return status.st_uid, status.st_gid


def changes(session: Session, directory: bytes, handle: bytes, name: bytes) -> dict[str, list[ops.Op]]:
    """Everything that changes a file system, as compounds."""
    return {
        "OPEN create": [ops.putfh(directory), ops.open_(unique(b"new"), how=ops.unchecked())],
        "OPEN write": [ops.putfh(directory), ops.open_(name, ops.WRITE)],
        "OPEN truncate": [ops.putfh(directory), ops.open_(name, ops.READ, how=ops.unchecked(ops.attrs(size=0)))],
        "CREATE": [ops.putfh(directory), ops.mkdir(unique(b"dir"))],
        "REMOVE": [ops.putfh(directory), ops.remove(name)],
        "SETATTR": [ops.putfh(handle), ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o600))],
        "WRITE": [ops.putfh(handle), ops.write(ops.ANONYMOUS, b"x")],
        "LINK": [ops.putfh(handle), ops.savefh(), ops.putfh(directory),
                 ops.Op(nfs4.OP_LINK, nfs4.LINK4args(unique(b"link")))],
        "RENAME": [ops.putfh(directory), ops.savefh(), ops.putfh(directory),
                   ops.Op(nfs4.OP_RENAME, nfs4.RENAME4args(name, unique(b"renamed")))],
    }  # fmt: skip


CHANGES = ["OPEN create", "OPEN write", "OPEN truncate", "CREATE", "REMOVE", "SETATTR", "WRITE", "LINK", "RENAME"]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("pseudo", "source"), [(b"ro", "127.0.0.1"), (b"listed", "127.0.0.2")])
def test_read_only_change(
    exporting: ServerProcess, connect: Connect, name: bytes, change: str, pseudo: bytes, source: str
) -> None:
    """Every change of a file system that is read-only, for all or for this client, is ROFS and does nothing."""
    path = exporting.export / name.decode()
    path.write_bytes(b"data")
    session = mount(connect(exporting, source=source), pseudo=pseudo)
    handle = session.open(name, ops.READ).handle
    before, listing = path.stat(), sorted(os.listdir(exporting.export))
    operations = changes(session, session.directory, handle, name)[change]
    assert session.status(*operations) == nfs4.NFS4ERR_ROFS
    assert path.read_bytes() == b"data" and path.stat().st_mode == before.st_mode
    assert sorted(os.listdir(exporting.export)) == listing


def test_read_only_read(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """A read-only export is read, and ACCESS says that it cannot be written."""
    (exporting.export / name.decode()).write_bytes(b"data")
    session = mount(connect(exporting), pseudo=b"ro")
    opened = session.open(name, ops.READ)
    asked = ops.access(nfs4.ACCESS4_READ | nfs4.ACCESS4_MODIFY | nfs4.ACCESS4_EXTEND)
    results = session.ok(ops.putfh(opened.handle), ops.read(opened.stateid), asked)
    assert results[1].resok4.data == b"data"
    assert results[2].resok4.access == nfs4.ACCESS4_READ


@pytest.mark.parametrize(("pseudo", "source"), [(b"ro", "127.0.0.1"), (b"listed", "127.0.0.2")])
def test_copy_from_read_only_export(
    exporting: ServerProcess, connect: Connect, name: bytes, pseudo: bytes, source: str
) -> None:
    """COPY only reads its source, which may be in a read-only export; its target may not."""
    (exporting.export / name.decode()).write_bytes(b"data")
    target = exporting.export / unique(b"copy").decode()
    target.write_bytes(b"old")
    session = mount(connect(exporting, source=source), pseudo=b"plain", minor=2)
    handles = []
    for export, file in ((pseudo, name), (b"plain", target.name.encode())):
        walked = session.ok(ops.putrootfh(), ops.lookup(export), ops.lookup(file), ops.getfh())
        handles.append(walked[-1].resok4.object)
    copying = ops.Op(nfs4.OP_COPY, nfs4.COPY4args(ops.ANONYMOUS, ops.ANONYMOUS, 0, 0, 0, True, True, []))
    session.ok(ops.putfh(handles[0]), ops.savefh(), ops.putfh(handles[1]), copying)
    assert target.read_bytes() == b"data"
    status = session.status(ops.putfh(handles[1]), ops.savefh(), ops.putfh(handles[0]), copying)
    assert status == nfs4.NFS4ERR_ROFS


@pytest.mark.parametrize("change", CHANGES)
def test_pseudo_root_change(exporting: ServerProcess, connect: Connect, name: bytes, change: str) -> None:
    """Nothing of the pseudo file system can be changed."""
    session = mount(connect(exporting), pseudo=b"plain")
    root = session.ok(ops.putrootfh(), ops.getfh())[-1].resok4.object
    allowed = {nfs4.NFS4ERR_ROFS, nfs4.NFS4ERR_NOENT, nfs4.NFS4ERR_ISDIR, nfs4.NFS4ERR_XDEV}
    assert session.status(*changes(session, root, root, b"plain")[change]) in allowed


def test_squash_root(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """root_squash, the default: root is nobody, other users are themselves."""
    mount(connect(exporting), pseudo=b"squashed").create(name)
    assert owner_of(exporting, name) == (NOBODY, NOBODY)
    theirs = unique(b"file")
    mount(connect(exporting, uid=1000, gid=1000), pseudo=b"squashed").create(theirs)
    assert owner_of(exporting, theirs) == (1000, 1000)


def test_squash_root_group(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """root_squash takes the group 0 away too, the supplementary one as well."""
    path = exporting.export / name.decode()
    path.write_bytes(b"data")
    path.chmod(0o040)
    session = mount(connect(exporting, uid=1000, gid=0, groups=(0,)), pseudo=b"squashed")
    assert session.open_status(name, ops.READ) == nfs4.NFS4ERR_ACCESS
    assert mount(connect(exporting, uid=1000, gid=0), pseudo=b"plain").open_status(name, ops.READ) == nfs4.NFS4_OK


def test_squash_root_is_not_all_powerful(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """A squashed root cannot read what others may not."""
    path = exporting.export / name.decode()
    path.write_bytes(b"data")
    path.chmod(0o600)
    assert mount(connect(exporting), pseudo=b"squashed").open_status(name, ops.READ) == nfs4.NFS4ERR_ACCESS
    assert mount(connect(exporting), pseudo=b"plain").open_status(name, ops.READ) == nfs4.NFS4_OK


@pytest.mark.parametrize("uid", [0, 1000])
def test_squash_all(exporting: ServerProcess, connect: Connect, name: bytes, uid: int) -> None:
    """all_squash: everybody is anonuid and anongid."""
    mount(connect(exporting, uid=uid), pseudo=b"all").create(name)
    assert owner_of(exporting, name) == (1234, 4321)


def test_squash_by_network(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """A network's entry in the client list has options of its own."""
    mount(connect(exporting, source="127.0.1.7"), pseudo=b"listed").create(name)
    assert owner_of(exporting, name) == (NOBODY, NOBODY)
    mine = unique(b"file")
    mount(connect(exporting), pseudo=b"listed").create(mine)
    assert owner_of(exporting, mine) == (0, 0)


def refused(session: Session, directory: bytes) -> set[int]:
    """The statuses of using a directory that is not for this client, in several ways."""
    return {
        session.status(ops.putfh(directory)),
        session.status(ops.putfh(directory), ops.getattr_()),
        session.status(ops.putfh(directory), ops.open_(b"x", how=ops.unchecked())),
        session.status(ops.putfh(directory), ops.lookup(b"x")),
    }


def test_client_not_listed(exporting: ServerProcess, connect: Connect) -> None:
    """An address without an entry gets nothing of the export, even with a handle that it was told."""
    directory = mount(connect(exporting), pseudo=b"listed").directory
    stranger = mount(connect(exporting, source="127.0.0.9"), pseudo=b"plain")
    assert refused(stranger, directory) <= {nfs4.NFS4ERR_ACCESS, nfs4.NFS4ERR_PERM}
    status = stranger.status(ops.putrootfh(), ops.lookup(b"listed"), ops.lookup(b"x"))
    assert status in (nfs4.NFS4ERR_ACCESS, nfs4.NFS4ERR_NOENT)


def test_lookup_client_not_listed(exporting: ServerProcess, connect: Connect) -> None:
    """An address without an entry does not even see the attributes of the export's root."""
    stranger = mount(connect(exporting, source="127.0.0.9"), pseudo=b"plain")
    status = stranger.status(ops.putrootfh(), ops.lookup(b"listed"), ops.getattr_(nfs4.FATTR4_SIZE))
    assert status in (nfs4.NFS4ERR_ACCESS, nfs4.NFS4ERR_NOENT)


def low_port() -> int:
    """A port below 1024 that nobody uses."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("every port below 1024 is in use")


def test_secure_port(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """A secure export is for ports below 1024 only."""
    trusted = mount(connect(exporting, source_port=low_port()), pseudo=b"secure")
    trusted.create(name)
    anybody: Connection = connect(exporting)
    session = mount(anybody, pseudo=b"plain")
    assert refused(session, trusted.directory) <= {nfs4.NFS4ERR_ACCESS, nfs4.NFS4ERR_PERM}


def test_rename_between_exports(exporting: ServerProcess, connect: Connect, name: bytes) -> None:
    """Two exports are two file systems, even of one directory: RENAME and LINK between them are XDEV."""
    session = mount(connect(exporting), pseudo=b"plain")
    handle = session.create(name).handle
    elsewhere = session.ok(ops.putrootfh(), ops.lookup(b"all"), ops.getfh())[-1].resok4.object
    rename = ops.Op(nfs4.OP_RENAME, nfs4.RENAME4args(name, b"moved"))
    link = ops.Op(nfs4.OP_LINK, nfs4.LINK4args(b"linked"))
    assert session.status(ops.putfh(session.directory), ops.savefh(), ops.putfh(elsewhere), rename) == nfs4.NFS4ERR_XDEV
    assert session.status(ops.putfh(handle), ops.savefh(), ops.putfh(elsewhere), link) == nfs4.NFS4ERR_XDEV


def test_secinfo_export_for_others(exporting: ServerProcess, connect: Connect) -> None:
    """Whoever an export is not for is not told either that there is one."""
    secinfo = ops.Op(nfs4.OP_SECINFO, nfs4.SECINFO4args(b"listed"))
    for source, status in (("127.0.0.1", nfs4.NFS4_OK), ("127.0.0.9", nfs4.NFS4ERR_NOENT)):
        session = mount(connect(exporting, source=source), pseudo=b"squashed")
        assert session.status(ops.putrootfh(), secinfo) == status


HIDING = {"/open/here": "rw,insecure,fsid=1", "/closed/deep/there": "rw,insecure,fsid=2", "/open/closed": "rw,fsid=3"}
INSIDER, OUTSIDER, NOBODYS = "127.0.0.1", "127.0.0.9", "127.0.0.10"


@pytest.fixture(scope="module")
def hiding(make_server: MakeServer) -> ServerProcess:
    """A server with one export for two addresses and two for one of them."""
    clients = {name: [(INSIDER, "")] for name in HIDING}
    clients["/open/here"].append((OUTSIDER, ""))
    return make_server(exports=HIDING, clients=clients)


def walked(connection: Connection, *operations: ops.Op) -> tuple[int, list[Any]]:
    """The status and the results of a compound that needs no client, from the root on."""
    reply = connection.call(ops.putrootfh(), *operations, minor=0)
    return reply.status, reply.results


def listing(connection: Connection, *walk: bytes) -> tuple[list[bytes], int, int]:
    """The names in a directory above the exports, its change attribute and the number of its links."""
    reading = ops.Op(nfs4.OP_READDIR, nfs4.READDIR4args(0, bytes(8), 4096, 4096, 0))
    asked = ops.getattr_(nfs4.FATTR4_CHANGE, nfs4.FATTR4_NUMLINKS)
    status, results = walked(connection, *map(ops.lookup, walk), reading, asked)
    assert status == nfs4.NFS4_OK
    change, links = struct.unpack(">QI", results[-1].resok4.obj_attributes.attr_vals)
    return sorted(entry.name for entry in results[-2].resok4.reply.entries), change, links


def test_names_above_the_exports(hiding: ServerProcess, connect: Connect) -> None:
    """READDIR, LOOKUP, LOOKUPP, GETATTR and PUTFH above the exports tell nothing of those that are for others."""
    everybody = [connect(hiding, source=source) for source in (INSIDER, OUTSIDER, NOBODYS)]
    insider, outsider, _nobody = everybody
    assert [listing(each)[0] for each in everybody] == [[b"closed", b"open"], [b"open"], []]
    assert [listing(each)[2] for each in everybody] == [4, 3, 2]
    assert len({listing(each)[1] for each in everybody}) == 3
    assert [listing(each, b"open")[0] for each in (insider, outsider)] == [[b"closed", b"here"], [b"here"]]
    for walk in ((b"closed",), (b"open", b"closed"), (b"missing",)):
        assert walked(outsider, *map(ops.lookup, walk))[0] == nfs4.NFS4ERR_NOENT
    handle = walked(insider, ops.lookup(b"closed"), ops.getfh())[1][-1].resok4.object
    assert walked(insider, ops.putfh(handle))[0] == nfs4.NFS4_OK
    assert walked(outsider, ops.putfh(handle))[0] == nfs4.NFS4ERR_STALE
    up = [ops.lookup(b"open"), ops.lookup(b"here"), ops.Op(nfs4.OP_LOOKUPP, None)]
    found = [walked(outsider, *up, ops.lookup(name))[0] for name in (b"closed", b"here")]
    assert found == [nfs4.NFS4ERR_NOENT, nfs4.NFS4_OK]
    session = mount(outsider, pseudo=b"open")
    found = [session.open_status(name, ops.READ) for name in (b"closed", b"here")]
    assert found == [nfs4.NFS4ERR_NOENT, nfs4.NFS4ERR_ISDIR]
    # The port is not a matter of what is there: that an export is secure is said.
    assert walked(insider, ops.lookup(b"open"), ops.lookup(b"closed"))[0] == nfs4.NFS4ERR_ACCESS
