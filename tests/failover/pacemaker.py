"""Two nodes with real corosync and pacemaker, each in namespaces of its own, on one machine.

Owns what makes a process tree look like a machine to them: host name, /run, /dev/shm, their state and their logs,
and a power switch that a fence device turns. Must not know what the cluster runs.
"""

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.waiting import until

from .network import Network

NODES = {"nfs-a": "192.0.2.1", "nfs-b": "192.0.2.2"}
CONTROLLERS = {"192.0.2.101": "nfs-a", "192.0.2.102": "nfs-b"}
TOKEN_MS = 1000
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.02
T = TypeVar("T")

COROSYNC = """
totem {{
  version: 2
  cluster_name: lab
  transport: udpu
  token: {token}
  crypto_cipher: none
  crypto_hash: none
}}
logging {{
  to_stderr: yes
  to_syslog: no
}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}}
nodelist {{
{nodes}
}}
"""
BOOT = """
set -e
mount --make-rprivate /
hostname "$NODE"
for place in /dev/shm /run /var/lib/pacemaker /var/lib/corosync /etc/corosync /var/log; do
    mount -t tmpfs tmpfs "$place"
done
mount --bind "$ROOM/agents" /usr/lib/ocf/resource.d
mount --bind "$ROOM/fence" /usr/sbin/fence_ipmilan
mkdir -p /run/resource-agents /run/lock /run/understudy /run/crm /run/pacemaker /var/log/pacemaker
for name in cib pengine cores blackbox; do mkdir -p "/var/lib/pacemaker/$name"; done
chown -R hacluster:haclient /var/lib/pacemaker /run/crm /run/pacemaker /var/log/pacemaker
cp "$ROOM/corosync.conf" /etc/corosync/
corosync -f >"$ROOM/$NODE.corosync" 2>&1 &
sleep 1
PCMK_logfile="$ROOM/$NODE.pacemaker" exec pacemakerd -f >/dev/null 2>&1
"""
FENCE = """#!/bin/sh
action= ip=
case "$*" in *metadata*) exec "{room}/fence_ipmilan.real" -o metadata ;; esac
while IFS='=' read -r name value; do
    case $name in action) action=$value ;; ip) ip=$value ;; esac
done
case $action in
metadata) exec "{room}/fence_ipmilan.real" -o metadata ;;
off | reboot) touch "{room}/$ip.asked" ;;
*) exit 0 ;;
esac
for try in $(seq 200); do
    [ -e "{room}/$ip.off" ] && exit 0
    sleep 0.05
done
exit 1
"""


class Cluster:
    """Both nodes, and a third namespace, `client`, on the same network."""

    def __init__(self, room: Path, agent: Path) -> None:
        self.room = room
        self._agent = agent
        self.network = Network(a=("192.0.2.1/24",), b=("192.0.2.2/24",), client=("192.0.2.3/24",))
        self.fenced_at: dict[str, float] = {}
        self._machines: dict[str, subprocess.Popen[bytes]] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._write_files()
        self.network.__enter__()
        for name in NODES:
            self._boot(name)
        threading.Thread(target=self._turn_switches, name="power", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for name in NODES:
            self.power_off(name)
        self.network.__exit__(kind, error, trace)

    def _write_files(self) -> None:
        nodes = "\n".join(
            f"  node {{\n    name: {name}\n    nodeid: {number}\n    ring0_addr: {address}\n  }}"
            for number, (name, address) in enumerate(NODES.items(), start=1)
        )
        (self.room / "corosync.conf").write_text(COROSYNC.format(token=TOKEN_MS, nodes=nodes))
        subprocess.run(["cp", "-a", "/usr/lib/ocf/resource.d", self.room / "agents"], check=True)
        (self.room / "agents" / "understudy").mkdir()
        subprocess.run(["cp", self._agent, self.room / "agents" / "understudy" / "understudy"], check=True)
        subprocess.run(["cp", "/usr/sbin/fence_ipmilan", self.room / "fence_ipmilan.real"], check=True)
        fence = self.room / "fence"
        fence.write_text(FENCE.format(room=self.room))
        fence.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)

    def _boot(self, name: str) -> None:
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            BOOT,
        ]
        environment = dict(os.environ, NODE=name, ROOM=str(self.room))
        self._machines[name] = self.network.nodes[name[-1]].call(
            subprocess.Popen, command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )

    def init_pid(self, name: str) -> int:
        """The process that is number 1 on the node; everything there ends with it."""
        parent = self._machines[name].pid
        return int(self.wait_for(lambda: Path(f"/proc/{parent}/task/{parent}/children").read_text().split(), 5.0)[0])

    def power_off(self, name: str) -> None:
        """End everything on a node at once; no packet leaves it any more."""
        machine = self._machines[name]
        if machine.poll() is None:
            self.network.cut(name[-1])
            os.kill(self.init_pid(name), signal.SIGKILL)
            machine.wait(COMMAND_TIMEOUT_S)

    def _turn_switches(self) -> None:
        """What the fence device asks for is done, and reported back."""
        while not self._ended.wait(POLL_S):
            for address, name in CONTROLLERS.items():
                if (self.room / f"{address}.asked").exists() and name not in self.fenced_at:
                    self.fenced_at[name] = time.monotonic()
                    self.power_off(name)
                    (self.room / f"{address}.off").touch()

    def run(self, name: str, command: str) -> str:
        """Run a shell command on a node, and return its output."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.init_pid(name)), "-m", "-n", "-u", "-p", "-i", "sh", "-ec", command],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert done.returncode == 0, f"{name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def has(self, name: str, address: str) -> bool:
        """Whether the node has the address; a node that is off has none."""
        if self._machines[name].poll() is not None:
            return False
        return f"{address}/" in self.network.nodes[name[-1]].run("ip -4 address show dev eth0")

    @staticmethod
    def wait_for(found: Callable[[], T], limit_s: float) -> T:
        """Wait until the function returns something that is true."""
        return until(found, "it has happened", limit_s, POLL_S)
