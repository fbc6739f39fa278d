"""One node of a cluster: a network namespace on the lab's bridge, its keepalived, and a daemon for each service group.

Owns what can be done to a node, from starting it to pulling its plug. Processes of a node are those in its network
namespace; nodes share the host's process ids and files, so that state and exports are there on each of them. It must
not know which node ought to serve.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.control import status_of
from tests.support.processes import Child, tail
from tests.support.waiting import until

from . import fence_node
from .keepalived import Instance, Keepalived, configuration
from .lab import BRIDGE, Lab
from .namespace import LabError
from .server import LEASE_TIME_S, PORT, SQUASH, WORK

INTERFACE = "eth0"
READY_TIMEOUT_S = 30.0
POLL_S = 0.02
# A paused daemon does not answer; nobody waits for it.
ASK_TIMEOUT_S = 1.0
COMMAND_TIMEOUT_S = 90.0
FENCE_PROGRAM = Path(fence_node.__file__)

CONFIGURATION = """
[server]
listen = "{address}:{port}"
state = "{state}"
control = "{control}"
node = "{node}"
durability = "{durability}"
lease_time_s = {lease_time_s}
log_file = "{log}"

[cluster]
{cluster}
"""
EXPORT = """
[[export]]
path = "{path}"
pseudo = "{pseudo}"
options = "rw,{squash}"
"""


@dataclass(frozen=True, slots=True)
class Group:
    """A service group: what moves between nodes as one."""

    name: str
    number: int
    state: Path
    exports: dict[str, Path]

    @property
    def address(self) -> str:
        """The address that its clients mount."""
        return f"10.199.0.{100 + self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for all nodes of a cluster, and what a test may want otherwise.

    With `manager` keepalived decides and moves the addresses; without, the daemon's own hooks move them and somebody
    says `promote`. `fence` is "command", or what the daemons' configuration shall say instead of the lab's own.
    """

    groups: tuple[Group, ...]
    manager: bool = True
    fence: str = "command"
    durability: str = "power"
    cluster: dict[str, str | int | float] = field(default_factory=dict)


class Node:
    """A node; nothing runs on it until it is started."""

    def __init__(self, lab: Lab, name: str, number: int, plan: Plan, program: str, switch: Path) -> None:
        self.lab = lab
        self.name = name
        self.plan = plan
        self.directory = lab.directory / name
        self.directory.mkdir()
        self.namespace = lab.add_namespace()
        self._own = f"10.199.0.{200 + number}"
        self._cable = f"cable-{number}"
        self._program = program
        self._switch = switch
        self._daemons: dict[str, Child] = {}
        self._peers: list[str] = []
        self._keepalived: Keepalived | None = None
        lab.add_cable(self._cable, self.namespace, INTERFACE)
        self._watch: Child | None = None

    # -- what lies on its disk ------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What the lab's power switch needs to know of it."""
        return {
            "namespace": str(self.namespace.path),
            "holder": self.namespace.holder_pid,
            "cable": self._cable,
            "bridge": BRIDGE,
            "bridge_namespace": str(self.lab.namespace.path),
        }

    def log(self, group: Group) -> Path:
        """The log of a group's daemon."""
        return self.directory / f"{group.name}.log"

    def control(self, group: Group) -> Path:
        """The control socket of a group's daemon."""
        return self.directory / f"{group.name}.sock"

    def configuration(self, group: Group) -> Path:
        """The configuration of a group's daemon."""
        return self.directory / f"{group.name}.toml"

    def instance(self, group: Group) -> Instance:
        """The group as the node's keepalived knows it."""
        fifo, fault = self.directory / f"{group.name}.fifo", self.directory / f"{group.name}.fault"
        return Instance(group.name, group.number, group.address, fifo, fault)

    def write_files(self, peers: Sequence["Node"]) -> None:
        """Write the configuration of keepalived and of each daemon."""
        for group in self.plan.groups:
            text = CONFIGURATION.format(
                address=group.address,
                port=PORT,
                state=group.state,
                control=self.control(group),
                node=self.name,
                durability=self.plan.durability,
                lease_time_s=LEASE_TIME_S,
                log=self.log(group),
                cluster="\n".join(f"{key} = {json.dumps(value)}" for key, value in self._cluster(group).items()),
            )
            for pseudo, squash in ((WORK, "no_root_squash"), (SQUASH, "root_squash")):
                text += EXPORT.format(path=group.exports[pseudo], pseudo=pseudo, squash=squash)
            self.configuration(group).write_text(text)
        if self.plan.manager:
            instances = [self.instance(group) for group in self.plan.groups]
            for instance in instances:
                os.mkfifo(instance.fifo)
                instance.fault_file.write_text("1\n")
            self._peers = [peer._own for peer in peers]
            text = configuration(self.name, self._own, self._peers, INTERFACE, instances)
            self._keepalived = Keepalived(self.lab, self.name, self.namespace, self.directory, text)

    def _cluster(self, group: Group) -> dict[str, str | int | float]:
        """The daemon's [cluster] table."""
        fence = f"{sys.executable} -I -S {FENCE_PROGRAM} {self._switch}"
        found: dict[str, str | int | float] = {"interface": INTERFACE, "hook_time_s": 10}
        found["fence"] = fence if self.plan.fence == "command" else self.plan.fence
        if self.plan.manager:
            instance = self.instance(group)
            found |= {
                "notify_fifo": str(instance.fifo),
                "notify_name": group.name,
                "fault_file": str(instance.fault_file),
            }
        else:
            word = f"{group.address}/24 dev {INTERFACE}"
            found |= {
                "address_up": f"ip address replace {word}",
                "address_down": f"! ip address show dev {INTERFACE} | grep -q {group.address}/ ||"
                f" ip address del {word}",
            }
        return found | self.plan.cluster

    # -- its life -------------------------------------------------------------------------------------------

    def _set_address(self) -> None:
        """Give it the address of its own, and take any other from it: the power switch has left its groups' there."""
        self.namespace.run(["ip", "address", "flush", "dev", INTERFACE, "scope", "global"])
        self.namespace.run(["ip", "address", "add", f"{self._own}/24", "dev", INTERFACE])

    def start(self) -> None:
        """Start everything that runs on it, as a boot does, and wait until its daemons are there.

        keepalived comes last: by then each daemon has said whether its node may have the address.
        """
        self._set_address()
        self.lab.plug_in(self._cable)
        watch = ["ip", "-ts", "-o", "monitor", "address"]
        self._watch = self.lab.spawn(f"addresses-{self.name}", watch, namespace=self.namespace)
        for group in self.plan.groups:
            command = [self._program, "standby", "--config", str(self.configuration(group))]
            name = f"{self.name}-{group.name}"
            self._daemons[group.name] = self.lab.spawn(name, command, namespace=self.namespace)
        for group in self.plan.groups:
            self._wait_ready(group)
        if self._keepalived is not None:
            self._greet()
            self._keepalived.start()

    def _greet(self) -> None:
        """Have the others know its link-layer address.

        Who has looked for it while it was off looks again only once a second, and its adverts wait meanwhile: a node
        that hears none for 0.75 s takes the part.
        """
        for address in self._peers:
            self.namespace.run(["bash", "-c", f"echo >/dev/udp/{address}/9 || true"])

    def _wait_ready(self, group: Group) -> None:
        def silence() -> str:
            return f"{self.name} has a daemon for {group.name}:\n{self.report(group)}"

        daemon = self._daemons[group.name]
        until(lambda: self.status(group) or not daemon.alive(), silence, READY_TIMEOUT_S, POLL_S, LabError)
        if not daemon.alive():
            raise LabError(f"the daemon ended before {silence()}")

    def stop(self) -> None:
        """Stop what runs on it politely, as a reboot does.

        The daemons come first: a node whose keepalived says farewell while a daemon still holds something is fenced.
        """
        for daemon in self._daemons.values():
            daemon.stop()
        if self._keepalived is not None:
            self._keepalived.stop()
        self._forget()

    def power_off(self) -> float:
        """Pull the plug: no FIN, no RST, no farewell of VRRP leaves it, and nothing on it runs any more.

        Returns when that was (wall clock, s).
        """
        moment = time.time()
        self.lab.pull_out(self._cable)
        command = [sys.executable, "-I", "-S", str(FENCE_PROGRAM), str(self._switch), self.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        if done.returncode:
            raise LabError(f"{self.name} cannot be switched off: {done.stderr}")
        self._forget()
        return moment

    def power_on(self) -> None:
        """Switch it on again, whoever has switched it off: it boots."""
        self._forget()
        self.start()

    def _forget(self) -> None:
        """Have its processes be gone; those that still are there are killed."""
        for child in (*self._daemons.values(), self._watch):
            if child is not None:
                child.kill()
                self.lab.children.remove(child)
        self._daemons.clear()
        self._watch = None
        if self._keepalived is not None:
            self._keepalived.forget()

    def cut(self) -> float:
        """Pull out its network cable at the switch: it runs on and cannot know. Returns when (wall clock, s)."""
        moment = time.time()
        self.lab.pull_out(self._cable)
        return moment

    def lose_link(self) -> float:
        """Have its interface have no carrier, which it sees. Returns when (wall clock, s)."""
        moment = time.time()
        self.lab.run(["ip", "link", "set", self._cable, "down"])
        return moment

    def mend(self) -> None:
        """Put the cable back in. A node that has been switched off meanwhile is switched on."""
        if self.alive():
            self.lab.plug_in(self._cable)
        else:
            self.power_on()

    def processes(self) -> list[int]:
        """Ids of what runs on it."""
        return fence_node.processes(str(self.namespace.path), self.namespace.holder_pid)

    def pause(self) -> float:
        """Stop all its processes where they stand, keepalived's too. Returns when (wall clock, s)."""
        moment = time.time()
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)
        return moment

    def resume(self) -> None:
        """Have what is left of its processes go on."""
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def alive(self) -> bool:
        """Whether all its daemons run."""
        return bool(self._daemons) and all(daemon.alive() for daemon in self._daemons.values())

    # -- its daemons ----------------------------------------------------------------------------------------

    def status(self, group: Group) -> dict[str, Any]:
        """What a group's daemon says of itself; nothing if it does not answer."""
        return status_of(self.control(group), ASK_TIMEOUT_S)

    def role(self, group: Group) -> str:
        """The daemon's role for the group, or an empty string."""
        return str(self.status(group).get("role", ""))

    def kill_active(self, group: Group) -> float:
        """Kill the process that serves the group here. Returns when (wall clock, s)."""
        status = self.status(group)
        if status.get("role") != "active":
            raise LabError(f"{self.name} does not serve {group.name}: {status.get('role')}")
        moment = time.time()
        os.kill(int(status["pid"]), signal.SIGKILL)
        return moment

    def command(self, group: Group, *words: str) -> str:
        """Run the command line on the node for a group's daemon (`promote`, `demote`, `handover`); its output."""
        return self.namespace.run(
            [self._program, *words, "--config", str(self.configuration(group))], COMMAND_TIMEOUT_S
        )

    def handover(self, group: Group) -> float:
        """Have it give the group away. Returns when that was asked for (wall clock, s), once it is done."""
        moment = time.time()
        self.command(group, "handover")
        return moment

    def report(self, group: Group) -> str:
        """The tails of what its processes said."""
        names = (f"{self.name}-{group.name}.out", f"keepalived-{self.name}.out")
        texts = [tail(self.log(group)), *(tail(self.lab.directory / name, 3000) for name in names)]
        return "\n".join([f"--- {self.name}", *texts])
