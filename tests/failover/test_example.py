"""The examples together: real keepalived on two nodes, with the group's configuration, the probe, and real daemons."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until

from .network import Network

PROGRAM = Path(sys.executable).parent / "understudy"
NODES = ("nfs-a", "nfs-b")
ADDRESS, PORT = "192.0.2.10", 2049
WAIT_S = 20.0


class Pair:
    """Two nodes of group alpha. They share a directory in place of the volume, and one machine's processes."""

    def __init__(self, network: Network, room: Path, examples: Path) -> None:
        self.network = network
        self.room = room
        self._examples = examples
        self._processes: list[subprocess.Popen[bytes]] = []
        (room / "data").mkdir()

    def start(self) -> None:
        """First the daemons, then, once both are ready, keepalived on nfs-a, then on the other."""
        for node in NODES:
            (self.room / node).mkdir()
            self._adapt(
                node,
                "alpha.toml",
                {
                    'node = "nfs-a"': f'node = "{node}"',
                    '"/srv/nfs/alpha/': f'"{self.room}/',
                    'fence = "/usr/local/sbin/fence-peer"': 'fence = "host"',
                },
                without=("mount =", "unmount ="),
            )
            self._spawn(node, "daemon", [str(PROGRAM), "standby", "--config", str(self.room / node / "alpha.toml")])
        for node in NODES:
            self.wait_for_role(node, "standby")
        for node in NODES:
            self._adapt(
                node,
                "understudy-probe",
                {"/opt/understudy/bin/understudy": str(PROGRAM), "/etc/understudy/": f"{self.room}/{node}/"},
            )
            self._adapt(
                node,
                "keepalived.conf",
                {"/usr/local/sbin/": f"{self.room}/{node}/"},
                without=("vrrp_rt_priority", "vrrp_no_swap"),
            )
            place = self.room / node
            self._spawn(
                node,
                "keepalived",
                [
                    "keepalived",
                    "--dont-fork",
                    "--log-console",
                    "--vrrp",
                    "-i",
                    node,
                    "-f",
                    str(place / "keepalived.conf"),
                    "-p",
                    str(place / "pid"),
                    "-r",
                    str(place / "vrrp.pid"),
                ],
            )
            # Nobody preempts: the one that is up first has the address.
            self.wait_for_role("nfs-a", "active")

    def _adapt(self, node: str, name: str, changes: dict[str, str], without: tuple[str, ...] = ()) -> None:
        """Write a node's copy of an example, with what belongs to this test's place in it."""
        text = (self._examples / name).read_text()
        for old, new in {**changes, "/run/understudy/": f"{self.room}/{node}/"}.items():
            assert old in text or old == "/run/understudy/", f"{name} has no {old}"
            text = text.replace(old, new)
        lines = [line for line in text.splitlines() if not line.strip().startswith(without)] if without else None
        target = self.room / node / name
        target.write_text("\n".join(lines) + "\n" if lines else text)
        target.chmod((self._examples / name).stat().st_mode)

    def _spawn(self, node: str, name: str, command: list[str]) -> None:
        with (self.room / node / f"{name}.log").open("wb") as log:
            self._processes.append(
                self.network.nodes[node[-1]].call(
                    subprocess.Popen,
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def command(self, node: str, *words: str) -> subprocess.CompletedProcess[str]:
        """An understudy command, for a node."""
        return subprocess.run(
            [PROGRAM, *words, "--config", self.room / node / "alpha.toml"],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )

    def status(self, node: str) -> dict[str, object]:
        """What the node's daemon says of itself; nothing if there is none."""
        done = self.command(node, "status", "-o", "json")
        found: dict[str, object] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def wait_for_role(self, node: str, role: str) -> None:
        """Wait until the node has the role."""
        done = self.command(node, "status", "--wait", role, "--timeout", str(WAIT_S - 5))
        assert done.returncode == 0, f"{node} never became {role}: {done.stderr}{self.log(node)}"

    def wait_for_backup(self, node: str) -> None:
        """Wait until keepalived on the node would take the address."""
        log = self.room / node / "keepalived.log"
        until(lambda: "(alpha) Entering BACKUP STATE" in log.read_text(), lambda: f"it backs up:\n{self.log(node)}")

    def log(self, node: str) -> str:
        """The end of both logs of a node, for a failure's text."""
        return "".join((self.room / node / f"{name}.log").read_text()[-3000:] for name in ("daemon", "keepalived"))

    def connect(self) -> socket.socket:
        """An idle client's connection, once the server has recorded it."""
        sock = self.network.nodes["client"].call(socket.create_connection, (ADDRESS, PORT), 5.0)
        sock.settimeout(WAIT_S)
        address, port = sock.getsockname()
        key = f"{address} {port}".encode().hex()
        dump: list[str | Path] = [PROGRAM, "store", "dump", "--kind", "PEER", "--state", self.room / "state"]
        until(
            lambda: key in subprocess.run(dump, capture_output=True, text=True, timeout=20).stdout,
            "the connection is recorded",
        )
        return sock

    def close(self) -> None:
        """Stop everything, keepalived first."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def pair(keepalived: None, room: Path, examples: Path) -> Iterator[Pair]:
    """Both nodes up, nfs-a first."""
    addresses = {"a": ("192.0.2.1/24",), "b": ("192.0.2.2/24",), "client": ("192.0.2.3/24",)}
    with Network(**addresses) as network:
        opened = Pair(network, room, examples)
        try:
            opened.start()
            yield opened
        finally:
            opened.close()


def reset_after(client: socket.socket, since: float) -> float:
    """Seconds from `since` until the idle client is reset."""
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    return time.monotonic() - since


def test_move_and_death(pair: Pair) -> None:
    """keepalived promotes; a handover moves the group, an idle client with it; so does the daemon's death."""
    pair.wait_for_backup("nfs-b")
    client, began = pair.connect(), time.monotonic()
    done = pair.command("nfs-a", "handover")
    assert done.returncode == 0, done.stderr + pair.log("nfs-a")
    print(f"\nhandover: client reset after {reset_after(client, began):.2f} s, the start of the command included")
    pair.wait_for_role("nfs-b", "active")
    pair.wait_for_role("nfs-a", "standby")
    print(f"    {pair.status('nfs-b')['recovery']}")
    assert "fence.unneeded" in pair.log("nfs-b")

    supervisor = pair.status("nfs-b")["supervisor_pid"]
    assert isinstance(supervisor, int)
    began = time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    # What the unit's ExecStopPost does.
    (pair.room / "nfs-b" / "alpha.fault").write_text("1\n")
    pair.wait_for_role("nfs-a", "active")
    print(f"daemon killed: served after {time.monotonic() - began:.2f} s")
    with pair.connect():
        assert "unsafe" not in pair.log("nfs-a") and "disabl" not in pair.log("nfs-a").lower()
