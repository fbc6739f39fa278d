"""What a serving process may do besides serving: as little as it can, for good. Needs root, whose it would be else."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from nfsd.vfs import syscalls
from nfsd.vfs.process import Capability
from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Connection, Session, mount, unique
from tests.support.waiting import until
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

pytestmark = pytest.mark.root

SYS_RESOURCE = 24


def fields_of(pid: int) -> dict[str, str]:
    """A process's status, by the kernel's names (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_confined(pid: int, kept_ones: Iterable[Capability] = Capability) -> None:
    """The process has no other capabilities than those it needs, and nothing that it starts can get any."""
    fields = fields_of(pid)
    found = {name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    kept = sum(1 << capability for capability in kept_ones) & int(fields_of(os.getpid())["CapPrm"], 16)
    assert found == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}
    assert fields["NoNewPrivs"] == "1"


def test_pair(pair: PairProcess) -> None:
    """Both workers are confined; the supervisor, which only makes them, is not."""
    about = pair.settled()
    is_confined(about["pid"])
    warm = about["warm_pid"]
    # It is a warm one from its birth on, and prepares itself then.
    until(lambda: fields_of(warm)["NoNewPrivs"] == "1", "the warm worker has given up what it does not need")
    until(lambda: fields_of(warm)["CapPrm"] == fields_of(about["pid"])["CapPrm"], "and has it no more")
    is_confined(warm)
    assert fields_of(pair.pid)["CapPrm"] == fields_of(os.getpid())["CapPrm"]
    pair.kill_active()
    next_one = pair.settled(after=about["pid"])
    is_confined(next_one["pid"])


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ServerProcess]:
    """One process."""
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.close()


def test_alone(alone: ServerProcess) -> None:
    """A single process is confined as well."""
    is_confined(alone.pid)


class Bounded(ServerProcess):
    """One process below port 1024, begun with some of the capabilities only, as by a service manager."""

    def __init__(self, directory: Path, capabilities: set[Capability]) -> None:
        super().__init__(directory)
        self._capabilities = capabilities
        self.port = _low_port()

    def command(self) -> list[str]:
        """The server, begun by setpriv(1)."""
        names = ",".join(f"+{capability.name.lower()}" for capability in self._capabilities)
        return ["setpriv", f"--bounding-set=-all,{names}", "--inh-caps=-all", *super().command()]


def _low_port() -> int:
    """A port that only the privileged may listen on, and that nobody does."""
    for port in range(1023, 512, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port below 1024 is taken")


def works(directory: Path, capabilities: set[Capability]) -> set[Capability]:
    """Which of the things that a capability is needed for a server does that has these."""
    server = Bounded(directory, capabilities)
    try:
        server.start()
    except RuntimeError:
        return set(Capability) - {Capability.NET_BIND_SERVICE}
    connections = [Connection(server.port), Connection(server.port, uid=1000, gid=1001)]
    try:
        is_confined(server.pid, capabilities)
        root, user = map(mount, connections)
        name = unique(b"theirs")
        theirs = ops.putfh(user.create(name, mode=0o600).handle)
        about = (server.export / name.decode()).stat()
        ours = ops.putfh(root.create(unique(b"ours")).handle)
        read_write = nfs4.ACCESS4_READ | nfs4.ACCESS4_MODIFY
        null = nfs4.CREATE4args(
            nfs4.createtype4(nfs4.NF4CHR, devdata=nfs4.specdata4(1, 3)), unique(b"null"), ops.attrs()
        )
        done = {
            Capability.SETUID: about.st_uid == 1000,
            Capability.SETGID: about.st_gid == 1001,
            Capability.DAC_OVERRIDE: root.call(theirs, ops.access(read_write)).value(2).access == read_write,
            Capability.DAC_READ_SEARCH: server.events("export.opened")[0]["handles"] == "kernel",
            Capability.FOWNER: not root.status(theirs, ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o640))),
            Capability.CHOWN: not root.status(ours, ops.setattr_(ops.ANONYMOUS, group_of(b"1005"))),
            Capability.FSETID: keeps_group_bit(root, server),
            Capability.MKNOD: not root.status(ops.putfh(root.directory), nfs4.nfs_argop4(nfs4.OP_CREATE, null)),
            Capability.NET_BIND_SERVICE: True,
        }
        assert server.stop() == 0, server.report()
        return {capability for capability, is_done in done.items() if is_done}
    finally:
        for connection in connections:
            connection.close()
        server.close()


def group_of(digits: bytes) -> nfs4.fattr4:
    """The group that a file shall have, by its number."""
    packed = struct.pack(f">I{len(digits)}s{-len(digits) & 3}x", len(digits), digits)
    return nfs4.fattr4(1 << nfs4.FATTR4_OWNER_GROUP, packed)


def keeps_group_bit(root: Session, server: Bounded) -> bool:
    """Whether root, who is in no other group, can set the set-group-id bit of a file that is another group's."""
    name = unique(b"setgid")
    opened = root.create(name)
    file = server.export / name.decode()
    os.chown(file, -1, 1006)
    root.ok(ops.putfh(opened.handle), ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o2755)))
    return bool(file.stat().st_mode & stat.S_ISGID)


def test_enough(tmp_path: Path) -> None:
    """With what is kept everything works, also where a service manager leaves no way to bound it any further."""
    assert works(tmp_path, set(Capability)) == set(Capability)


@pytest.mark.parametrize("missing", Capability, ids=lambda capability: capability.name)
def test_each_is_needed(tmp_path: Path, missing: Capability) -> None:
    """Without one of those that are kept, what it is kept for does not work."""
    assert missing not in works(tmp_path, set(Capability) - {missing})


def test_never_beyond_a_quota(alone: ServerProcess) -> None:
    """CAP_SYS_RESOURCE, by which quotas and reserved blocks are for nobody, is nowhere in the process."""
    connection = Connection(alone.port, uid=1000, gid=1000)
    mount(connection).create(unique(b"file"))
    for status in Path(f"/proc/{alone.pid}/task").glob("*/status"):
        permitted = next(line for line in status.read_text().splitlines() if line.startswith("CapPrm:"))
        assert not int(permitted.split()[1], 16) >> SYS_RESOURCE & 1
    connection.close()


def test_capabilities_of_this_thread() -> None:
    """What the kernel says of a thread's capabilities is what is read of them."""
    fields = fields_of(os.getpid())
    assert syscalls.capabilities() == (int(fields["CapEff"], 16), int(fields["CapPrm"], 16))
