"""The place that the Vagrantfile makes: nodes and clients are virtual machines, reached by ssh and their power switch.

Owns how each harm is done there. Both clients live on one machine: with two minor versions they are two clients to
the server, and share nothing on their own machine either. Must not know what is judged.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import tarfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support import judge
from tests.support.waiting import until, watch

from . import machines, places
from .machines import OFF, PAUSED, RUNNING, Hypervisor, MachineError
from .places import Client, Node, Patience, Place

VAGRANTFILE = Path(__file__).resolve().parents[1] / "Vagrantfile"
SERVICE = "192.168.56.10:/work"
CONTROL = "/run/understudy/alpha.sock"
LOAD = "/opt/understudy-source/vagrant/failover/load.py"
LOG = "/var/log/understudy/alpha.log"
EXPORT = "/srv/nfs/alpha/work"
OUT = "/var/tmp/understudy-load"
# For write=eager see `unstable` in load.py.
MOUNTS = (("vers=4.2,write=eager", "/mnt/nfs"), ("vers=4.1", "/mnt/other"))
SSH_TIMEOUT_S, BOOT_TIMEOUT_S, VAGRANT_TIMEOUT_S = 60.0, 300.0, 120.0
POLL_S = 0.3
# Everything in and out of one interface is dropped, below all that would notice: the node is cut off, and cannot know.
CUT = """table netdev cut {{
    chain in {{ type filter hook ingress device {0} priority 0; policy drop; }}
    chain out {{ type filter hook egress device {0} priority 0; policy drop; }}
}}"""
ASK = """
import json, socket
s = socket.socket(socket.AF_UNIX)
s.settimeout(3)
try:
    s.connect("%s")
    s.sendall(b'{"command": "status", "arguments": {}}\\n')
    print(json.dumps(json.loads(s.makefile().readline()).get("result") or {}))
except OSError:
    print("{}")
"""
FENCED = re.compile(r"^(\S+) asked: off (\S+) by \S+; answer after ([0-9.]+) s: off ")
# A real machine's kernel has other things to lose too: there any word of it counts.
ALARMS = re.compile(f"{judge.ALARMS.pattern}|lost")


class Shell:
    """Commands on one machine, over one ssh connection that stays open."""

    def __init__(self, name: str, configuration: Path) -> None:
        self._words = [
            "ssh", "-F", str(configuration), "-o", "ControlMaster=auto", "-o", "ControlPersist=600",
            "-o", f"ControlPath={configuration.parent}/ssh-{name}", "-o", "ConnectTimeout=5",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR", name,
        ]  # fmt: skip

    def output(self, command: str, timeout_s: float = SSH_TIMEOUT_S) -> bytes:
        """What a command, run by root, wrote.  Raises MachineError."""
        try:
            done = subprocess.run([*self._words, f"sudo sh -c {shlex.quote(command)}"], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=timeout_s)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"{command[:60]}: no end after {timeout_s:g} s") from error
        if done.returncode:
            raise MachineError(f"{command[:60]}: {done.stderr.decode(errors='replace').strip() or done.returncode}")
        return done.stdout

    def text(self, command: str, timeout_s: float = SSH_TIMEOUT_S) -> str:
        """What a command printed, as text."""
        return self.output(command, timeout_s).decode(errors="replace")

    def python(self, program: str) -> str:
        """What a Python program wrote."""
        return self.text(f"python3 -I -S -c {shlex.quote(program)}")

    def forget(self) -> None:
        """The machine has lost its power: its connection is dead."""
        subprocess.run([*self._words[:-1], "-O", "exit", self._words[-1]], capture_output=True, timeout=10, check=False)

    def ahead(self) -> float:
        """How far the machine's clock is ahead of ours."""
        found = []
        for _ in range(3):
            before = time.time()
            there = float(self.text("date +%s.%N"))
            after = time.time()
            found.append((after - before, there - (before + after) / 2))
        return min(found)[1]


class VirtualNode(Node):
    """nfs-a or nfs-b."""

    def __init__(self, name: str, shell: Shell, hypervisor: Hypervisor) -> None:
        self.name = name
        self.shell = shell
        self._hypervisor = hypervisor

    def _ask(self) -> dict[str, Any]:
        if self._hypervisor.state(self.name) != RUNNING:
            return {}
        try:
            return dict(json.loads(self.shell.python(ASK % CONTROL)))
        except (MachineError, ValueError):
            return {}

    def role(self) -> str:
        return str(self._ask().get("role", ""))

    def suffer(self, harm: str) -> float:
        pid = self._ask().get("pid") if harm == places.KILL_WORKER else None
        interface = self.shell.text("ip -o -4 address show to 192.168.56.0/24 | awk '{ print $2; exit }'").strip()
        moment = time.time()
        if harm == places.KILL_WORKER:
            self.shell.text(f"kill -9 {pid}")
        elif harm == places.KILL_DAEMON:
            self.shell.text("systemctl kill --signal=KILL --kill-whom=all understudy@alpha")
        elif harm == places.HANDOVER:
            self.shell.text(f"understudy handover --control {CONTROL}", 120)
        elif harm == places.POWER_OFF:
            self._hypervisor.power_off(self.name)
        elif harm == places.FREEZE:
            self._hypervisor.pause(self.name)
        elif harm == places.CUT:
            self.shell.text(f"nft {shlex.quote(CUT.format(interface))}")
        return moment

    def restore(self) -> None:
        state = self._hypervisor.state(self.name)
        if state == PAUSED:
            self._hypervisor.resume(self.name)
        elif state == OFF:
            self.shell.forget()
            self._hypervisor.power_on(self.name)
            until(self.boot, f"{self.name} has booted", BOOT_TIMEOUT_S, POLL_S, MachineError)
        else:
            self.shell.text("if nft list table netdev cut >/dev/null 2>&1; then nft delete table netdev cut; fi")

    def log(self) -> list[dict[str, Any]]:
        rows = []
        for line in self.shell.text(f"cat {LOG}").splitlines():
            try:
                rows.append(dict(json.loads(line)))
            except ValueError:
                # A node that lost its power may leave half a line, or zeros.
                continue
        return rows

    def boot(self) -> str:
        try:
            return self.shell.text("cat /proc/sys/kernel/random/boot_id", 15).strip()
        except MachineError:
            return ""

    def regions(self, path: str) -> list[int]:
        return [int(number) for number in json.loads(self.shell.text(f"python3 -I -S {LOAD} regions {EXPORT}/{path}"))]


class VirtualClient(Client):
    """A mount on the client machine."""

    def __init__(self, name: str, shell: Shell, options: str, mount_point: str) -> None:
        self.name = name
        self.shell = shell
        self.mount_point = mount_point
        self._out = f"{OUT}-{name}"
        self._seen = 0
        options = f"{options},proto=tcp,hard,timeo=600"
        shell.text(f"mountpoint -q {mount_point} || mount -t nfs4 -o {options} {SERVICE} {mount_point}", 120)
        self.complaints()

    def start(self, directory: str, kinds: Sequence[str], interval_s: float, limit_s: float) -> None:
        path = f"{self.mount_point}/{directory}"
        self.shell.text(
            f"rm -rf {self._out}; mkdir -p {self._out} {path};"
            f" setsid -f python3 -I -S {LOAD} work {self._out} {path} {interval_s} {limit_s} {' '.join(kinds)}"
            f" </dev/null >{self._out}/output 2>&1"
        )

    def first_step(self, kind: str) -> bool:
        return bool(self.shell.text(f"head -n 1 {self._out}/{kind}.log 2>/dev/null || true").strip())

    def stop(self, limit_s: float) -> dict[str, str]:
        self.shell.text(f"touch {self._out}/stop")
        watch(lambda: self.shell.text(f"cat {self._out}/ended 2>/dev/null || true"), bool, limit_s, POLL_S)
        packed = self.shell.output(f"tar -C {self._out} -cf - .")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive.getmembers():
                if (file := archive.extractfile(member)) is not None:
                    found[os.path.basename(member.name)] = file.read().decode(errors="replace")
        return found

    def stats(self) -> dict[str, list[int]]:
        return dict(json.loads(self.shell.text(f"python3 -I -S {LOAD} stats {self.mount_point}")))

    def complaints(self) -> list[str]:
        lines = self.shell.text("dmesg").splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return [line for line in new if ALARMS.search(line)]


class VirtualPlace(Place):
    """The machines of the Vagrantfile, which have to be up: `vagrant up`, with UNDERSTUDY_CLIENT=1."""

    name = "virtual machines"
    harms = places.HARMS

    def __init__(self) -> None:
        configuration = machines.directory() / "ssh_config"
        names = ["nfs-a", "nfs-b", "client"]
        said = subprocess.run(["vagrant", "ssh-config", *names], cwd=VAGRANTFILE.parent, capture_output=True,
                              text=True, timeout=VAGRANT_TIMEOUT_S, check=False)  # fmt: skip
        if said.returncode:
            raise MachineError(f"the machines are not up (UNDERSTUDY_CLIENT=1 vagrant up): {said.stderr.strip()}")
        configuration.write_text(said.stdout)
        self._hypervisor = machines.hypervisor()
        self._shells = {name: Shell(name, configuration) for name in names}
        nodes = [VirtualNode(name, self._shells[name], self._hypervisor) for name in names[:2]]
        self.nodes = (nodes[0], nodes[1])
        clients = [VirtualClient(f"client-{number}", self._shells["client"], options, mount_point)
                   for number, (options, mount_point) in enumerate(MOUNTS, 1)]  # fmt: skip
        self.clients = (clients[0], clients[1])
        slow = os.environ.get("UNDERSTUDY_EMULATION") == "1"
        self.patience = self._emulated() if slow else self._native()

    @staticmethod
    def _native() -> Patience:
        """With KVM. keepalived needs 3 s to give a node up, ssh its time for a handover."""
        return Patience(
            interval_s=0.02, quiet_s=5.0, settle_s=5.0, role_s=60.0, load_s=60.0,
            stall_s={places.KILL_WORKER: 1.0, places.HANDOVER: 2.0, places.KILL_DAEMON: 5.0}, stall_other_s=10.0,
        )  # fmt: skip

    @staticmethod
    def _emulated() -> Patience:
        """Python is 5 to 23 times slower inside, and three machines share the processors with everything else."""
        return Patience(
            interval_s=0.1, quiet_s=10.0, settle_s=10.0, role_s=180.0, load_s=240.0,
            stall_s={places.KILL_WORKER: 10.0, places.HANDOVER: 20.0}, stall_other_s=40.0,
        )  # fmt: skip

    def fences(self) -> list[tuple[float, str]]:
        found = []
        for line in (machines.directory() / "fence-agent.log").read_text().splitlines():
            if match := FENCED.match(line):
                found.append((datetime.fromisoformat(match[1]).timestamp() - float(match[3]), match[2]))
        return found

    def ahead(self, who: str) -> float:
        return self._shells["client" if who.startswith("client") else who].ahead()

    def close(self) -> None:
        for shell in self._shells.values():
            shell.forget()
