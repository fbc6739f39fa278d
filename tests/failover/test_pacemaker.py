"""Real pacemaker and corosync, set up with the very commands of docs/cluster.md, move a real daemon.

Takes a minute, and packages that nothing else needs: run by `pytest -m long tests/failover/test_pacemaker.py -s`,
which prints the times.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.packages import Need

from . import packages
from .conftest import require
from .pacemaker import NODES, Cluster

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "understudy"
ADDRESS, PORT = "192.0.2.10", 2049
FIRST_START_S, MOVE_S = 60.0, 60.0
NEEDS = (
    *packages.PACEMAKER,
    *packages.NAMESPACES,
    Need("pacemakerd", "pacemaker"),
    Need("corosync", "corosync"),
    Need("pcs", "pcs"),
    Need("crm_mon", "pacemaker-cli-utils"),
    Need("fence_ipmilan", "fence-agents"),
)
CONFIG = """
[server]
listen = "{address}:{port}"
state = "{room}/mount/state"
control = "/run/understudy/alpha.sock"

[cluster]
interface = "eth0"
fence = "manager"
mount = "mountpoint -q {room}/mount"

[[export]]
path = "{room}/mount/data"
pseudo = "/data"
options = "rw,insecure"
"""


def documented_commands(room: Path) -> list[str]:
    """The pcs commands of docs/cluster.md, with this machine's paths and a bind mount in place of the disk."""
    text = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^    (pcs [^\n]*)", text, flags=re.MULTILINE)
    changes = {
        "config=/etc/understudy/alpha.toml": f"config={room}/alpha.toml binary={PROGRAM}",
        "device=/dev/disk/by-label/alpha": f"device={room}/volume",
        "directory=/srv/nfs/alpha": f"directory={room}/mount",
        "fstype=ext4 options=noatime": "fstype=none options=bind",
    }
    for old, new in changes.items():
        assert any(old in command for command in commands), old
        commands = [command.replace(old, new) for command in commands]
    return commands


@pytest.fixture
def cluster(room: Path, examples: Path) -> Iterator[Cluster]:
    """Both nodes online, and nothing configured yet."""
    require(NEEDS)
    for name in ("volume/data", "volume/state", "mount"):
        (room / name).mkdir(parents=True, mode=0o700)
    (room / "alpha.toml").write_text(CONFIG.format(address=ADDRESS, port=PORT, room=room))
    with Cluster(room, examples / "ocf" / "understudy") as opened:
        yield opened


def online(cluster: Cluster) -> bool:
    """Whether both nodes see each other."""
    command = ["nsenter", "-t", str(cluster.init_pid("nfs-a")), "-m", "-n", "-u", "-p", "-i", "crm_mon", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return "Online: [ nfs-a nfs-b ]" in done.stdout


def holder(cluster: Cluster) -> str | None:
    """The node that has the address."""
    return next((name for name in NODES if cluster.has(name, ADDRESS)), None)


def status(cluster: Cluster, name: str) -> dict[str, object]:
    """What the node's daemon says of itself; nothing if there is none."""
    command = f"{PROGRAM} status -o json --config {cluster.room}/alpha.toml || true"
    said = cluster.run(name, command)
    found: dict[str, object] = json.loads(said) if said else {}
    return found


def serving(cluster: Cluster) -> str | None:
    """The node that has the address and serves on it."""
    name = holder(cluster)
    return name if name is not None and status(cluster, name).get("role") == "active" else None


def connect(cluster: Cluster) -> socket.socket:
    """An idle client's connection, once the server has recorded it."""
    sock = cluster.network.nodes["client"].call(socket.create_connection, (ADDRESS, PORT), 5.0)
    sock.settimeout(MOVE_S)
    address, port = sock.getsockname()
    dump: list[str | Path] = [PROGRAM, "store", "dump", "--kind", "PEER", "--state", cluster.room / "volume" / "state"]
    key = f"{address} {port}".encode().hex()
    cluster.wait_for(lambda: key in subprocess.run(dump, capture_output=True, text=True, timeout=20).stdout, 10.0)
    return sock


def reset_after(client: socket.socket, since: float) -> float:
    """Seconds from `since` until the idle client is reset."""
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    return time.monotonic() - since


def configure(cluster: Cluster) -> None:
    """Load what the documented commands come to; nfs-a is to begin."""
    cib = "/run/cib.xml"
    commands = [command.replace("pcs ", f"pcs -f {cib} ", 1) for command in documented_commands(cluster.room)]
    prefer = f"pcs -f {cib} constraint location alpha-clone prefers nfs-a=50"
    load = f"cibadmin --replace --scope configuration --xml-file {cib}"
    cluster.run("nfs-a", "; ".join([f"cibadmin --empty >{cib}", *commands, prefer, load]))


@pytest.mark.long
@pytest.mark.timeout(280)
def test_pacemaker(cluster: Cluster) -> None:
    """First start, a planned move, the daemon's death, the node's; clients meet the new node each time."""
    cluster.wait_for(lambda: online(cluster), FIRST_START_S)
    configure(cluster)
    began = time.monotonic()
    cluster.wait_for(lambda: cluster.has("nfs-a", ADDRESS), FIRST_START_S)
    print(f"\nfirst start: {time.monotonic() - began:.1f} s")
    cluster.wait_for(lambda: status(cluster, "nfs-b").get("role") == "standby", FIRST_START_S)
    assert serving(cluster) == "nfs-a"

    client, began = connect(cluster), time.monotonic()
    cluster.run("nfs-a", "crm_resource --resource alpha-clone --ban --promoted --node nfs-a")
    print(f"planned move: client reset after {reset_after(client, began):.1f} s")
    assert serving(cluster) == "nfs-b"
    print(f"    {status(cluster, 'nfs-b')['recovery']}")
    cluster.wait_for(lambda: status(cluster, "nfs-a").get("role") == "standby", MOVE_S)
    cluster.run("nfs-a", "crm_resource --resource alpha-clone --clear")

    epoch = status(cluster, "nfs-b")["epoch"]
    began = time.monotonic()
    cluster.run("nfs-b", f"kill -9 {status(cluster, 'nfs-b')['supervisor_pid']}")
    active = cluster.wait_for(lambda: serving(cluster), MOVE_S)
    assert active is not None
    print(f"daemon killed: {active} serves after {time.monotonic() - began:.1f} s")
    assert status(cluster, active)["epoch"] != epoch
    other = next(name for name in NODES if name != active)
    cluster.wait_for(lambda: status(cluster, other).get("role") == "standby", MOVE_S)

    client, began = connect(cluster), time.monotonic()
    cluster.power_off(active)
    seconds = reset_after(client, began)
    assert list(cluster.fenced_at) == [active], "pacemaker fences before it promotes, and nobody else"
    fenced_s = cluster.fenced_at[active] - began
    print(f"node off: fenced after {fenced_s:.1f} s, client reset after {seconds:.1f} s")
    print(f"    {status(cluster, other)['recovery']}")
    assert fenced_s < seconds and serving(cluster) == other
