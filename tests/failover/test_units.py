"""The example units and the example configuration: the programs that read them find nothing to say, and ours lives in
what the units leave it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.vfs.process import Capability
from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Connection, Session, mount, unique
from xdr.generated import nfs4

from . import filtered
from .conftest import EXAMPLES
from .nodes import Group, GroupNode

UNITS = ("understudy.service", "understudy.socket", "understudy@alpha.service")


def verify(directory: Path, unit: str) -> str:
    """What `systemd-analyze verify` says, with the program where the tests have it."""
    program = Path(sys.executable).parent / "understudy"
    for file in directory.glob("*.service"):
        file.write_text(file.read_text().replace("/opt/understudy/bin/understudy", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{unit}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    # Units of other packages on this machine are not ours to judge.
    return "\n".join(line for line in said.splitlines() if "understudy" in line)


@pytest.mark.parametrize("unit", UNITS)
def test_unit(systemd: None, examples: Path, unit: str) -> None:
    """The unit is understood, to the last key."""
    assert verify(examples, unit) == ""


def test_verify_bites(systemd: None, examples: Path) -> None:
    """A key that systemd does not know is named by its check."""
    file = examples / "understudy.service"
    file.write_text(file.read_text().replace("KillMode=", "KillMood="))
    assert "KillMood" in verify(examples, "understudy.service")


def test_group_configuration(examples: Path) -> None:
    """The example of a group's configuration is accepted."""
    program = Path(sys.executable).parent / "understudy"
    done = subprocess.run(
        [program, "check-config", "--config", examples / "alpha.toml"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0 and "ok" in done.stdout, done.stdout + done.stderr


# -- how much they leave ----------------------------------------------------------------------------------------

SECURITY = Path(__file__).resolve().parents[2] / "docs" / "security.md"
_SYSTEMD = re.compile(r"systemd (\d+)")


@pytest.mark.parametrize("unit", ["understudy.service", "understudy@alpha.service"])
def test_exposure(systemd: None, examples: Path, unit: str) -> None:
    """`systemd-analyze security` says the figure that the document says."""
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60).stdout
    found = _SYSTEMD.search(version)
    documented = SECURITY.read_text("utf-8")
    if found is None or f"systemd {found[1]}" not in documented:
        pytest.skip(f"the figures are another systemd's than {version.splitlines()[0]}")
    command = ["systemd-analyze", "--no-pager", "--offline=yes", "security", f"./{unit}"]
    said = subprocess.run(command, cwd=examples, capture_output=True, text=True, timeout=60).stdout
    figure = re.search(rf"level for {unit}: ([0-9.]+)", said)
    assert figure is not None, said
    name = unit.replace("@alpha", "@")
    row = next(line for line in documented.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.split("|")[3].strip() == figure[1]


def test_capabilities_of_the_units() -> None:
    """What a unit allows has all that a worker keeps; a single node's has nothing else."""
    kept = {f"CAP_{capability.name}" for capability in Capability}
    single = dict(filtered.settings(EXAMPLES / "understudy.service"))
    group = dict(filtered.settings(EXAMPLES / "understudy@.service"))
    assert set(single["CapabilityBoundingSet"].split()) == kept
    assert set(group["CapabilityBoundingSet"].split()) > kept


def filtered_command(unit: str, command: list[str]) -> list[str]:
    """A command that is begun as the unit would."""
    return [sys.executable, "-m", "tests.failover.filtered", str(EXAMPLES / unit), *command]


class InUnit(PairProcess):
    """A pair that has what understudy.service leaves it."""

    def command(self) -> list[str]:
        """The server, filtered."""
        return filtered_command("understudy.service", super().command())


@pytest.fixture
def in_unit(systemd: None, room: Path) -> Iterator[InUnit]:
    """A pair with what the unit leaves it, which serves."""
    pair = InUnit(room)
    pair.start()
    pair.settled()
    yield pair
    pair.close()


def use_everything(session: Session) -> None:
    """Every kind of system call that the server makes on files: each must succeed, or not be known by the disk."""
    opened = session.create(unique(b"file"))
    file, root = ops.putfh(opened.handle), ops.putfh(session.directory)
    session.ok(file, ops.write(opened.stateid, b"data", stable=nfs4.FILE_SYNC4), ops.read(opened.stateid))
    session.ok(file, ops.write(opened.stateid, bytes(100_000), offset=4096), ops.getattr_())
    session.ok(file, nfs4.nfs_argop4(nfs4.OP_COMMIT, nfs4.COMMIT4args(0, 0)))
    session.ok(file, ops.setattr_(opened.stateid, ops.attrs(size=5, mode=0o640)), ops.access())
    session.ok(file, ops.setxattr(b"name", b"value"), ops.removexattr(b"name"))
    space = nfs4.ALLOCATE4args(opened.stateid, 0, 8192)
    assert session.status(file, nfs4.nfs_argop4(nfs4.OP_ALLOCATE, space)) in (nfs4.NFS4_OK, nfs4.NFS4ERR_NOTSUPP)
    hole = nfs4.DEALLOCATE4args(opened.stateid, 0, 4096)
    assert session.status(file, nfs4.nfs_argop4(nfs4.OP_DEALLOCATE, hole)) in (nfs4.NFS4_OK, nfs4.NFS4ERR_NOTSUPP)
    session.ok(file, nfs4.nfs_argop4(nfs4.OP_SEEK, nfs4.SEEK4args(opened.stateid, 0, nfs4.NFS4_CONTENT_DATA)))
    copy = nfs4.COPY4args(opened.stateid, opened.stateid, 0, 1 << 20, 100, True, True, [])
    session.ok(file, ops.savefh(), nfs4.nfs_argop4(nfs4.OP_COPY, copy))
    session.lock(opened)
    names = [unique(b"name") for _ in range(4)]
    session.ok(file, ops.savefh(), root, ops.link(names[0]), ops.savefh(), ops.rename(names[0], names[1]))
    session.ok(root, ops.symlink(names[2], b"target"), ops.putfh(session.directory), ops.mkdir(names[3]))
    session.ok(root, ops.lookup(names[2]), nfs4.nfs_argop4(nfs4.OP_READLINK))
    listing = nfs4.READDIR4args(0, bytes(8), 4096, 4096, 1 << nfs4.FATTR4_FILEID)
    session.ok(root, nfs4.nfs_argop4(nfs4.OP_READDIR, listing))
    for name in names[1:]:
        session.ok(root, ops.remove(name))


def test_serves_in_its_unit(in_unit: InUnit) -> None:
    """With the unit's capabilities, system calls and memory everything works, for root and for a user."""
    for uid in (0, 1000):
        connection = Connection(in_unit.port, uid=uid, gid=uid)
        session = mount(connection, minor=2)
        use_everything(session)
        connection.close()
    before = in_unit.kill_active()
    in_unit.settled(after=before)
    connection = Connection(in_unit.port)
    use_everything(mount(connection, minor=2))
    connection.close()
    modes = {event["handles"] for event in in_unit.events("export.opened")}
    assert modes == {"kernel"}
    assert in_unit.stop() == 0, in_unit.report()
    assert not in_unit.faults()


def test_unit_bites(systemd: None) -> None:
    """What the unit forbids is refused."""
    text = (
        "import mmap, os, socket\n"
        "for attempt in (lambda: mmap.mmap(-1, 4096, prot=7), lambda: os.setpriority(0, 0, -1),"
        " lambda: os.sched_setscheduler(0, 1, os.sched_param(1)), lambda: os.chroot('/'),"
        " lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)):\n"
        "    try: attempt()\n"
        "    except PermissionError: print('refused')\n"
    )
    command = filtered_command("understudy.service", [sys.executable, "-c", text])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused"] * 5, done.stdout + done.stderr


class NodeInUnit(GroupNode):
    """A node that has what understudy@.service leaves it, in a mount namespace of its own."""

    def command(self) -> list[str]:
        """The daemon, filtered."""
        return ["unshare", "--mount", *filtered_command("understudy@.service", super().command())]


def test_group_in_its_unit(namespaces: None, systemd: None, room: Path) -> None:
    """A node's commands, which mount and set addresses, and its announcements work as well."""
    with Group(room) as group:
        group.a = NodeInUnit(group, "unit")
        group.network.nodes["unit"] = group.network.nodes["a"]
        volume = room / "volume"
        volume.mkdir()
        group.a.configure(
            fence="manager",
            hooks=f'mount = "mount -t tmpfs none {volume}"\nunmount = "! mountpoint -q {volume} || umount {volume}"\n',
        )
        group.a.start()
        group.a.promote()
        session = mount(group.connect(), minor=2)
        use_everything(session)
        assert group.a.events("announce.sent")
        session.connection.close()
        group.a.let_go("demote")
        assert not group.a.events("hook.failed") and len(group.a.events("hook.done")) >= 4
        assert group.a.stop() == 0
