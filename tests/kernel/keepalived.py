"""A node's keepalived: which node has a service group's address, decided by VRRP.

Owns its configuration and its process. It must not know what serves on the addresses: it only says in a FIFO what it
has decided, and reads from a file whether its node may have the address.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Child, tail
from tests.support.waiting import until

from .lab import Lab
from .namespace import LabError, Namespace

# The address is taken after three missed advertisements and the skew, which the priority makes 2 ms.
ADVERT_INTERVAL_S = 0.25
DETECTION_MAX_S = 1.0
PRIORITY = 254
# FIFOs that keepalived can write all instances' states to; each has one reader.
FIFO_KEYWORDS = ("vrrp_notify_fifo", "notify_fifo")
START_TIMEOUT_S = 10.0
TAKES_PART = re.compile(rb"Entering (BACKUP|FAULT) STATE")

GLOBAL = """
global_defs {{
    router_id {node}
    script_user root
    vrrp_version 3
    # A backup that is not given a processor in time would take the address from a master that is alive. The default
    # limit of its processor time (10 ms) ends keepalived now and then: the kernel counts in ticks.
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 1000000
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 3
{fifos}
}}
"""
INSTANCE = """
track_file may_{name} {{
    file "{fault_file}"
    weight 0
}}
vrrp_instance {name} {{
    state BACKUP
    nopreempt
    interface {interface}
    virtual_router_id {number}
    priority {priority}
    advert_int {interval}
    unicast_src_ip {own}
    unicast_peer {{
        {peers}
    }}
    track_file {{
        may_{name}
    }}
    virtual_ipaddress {{
        {address}/24 dev {interface}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Instance:
    """One virtual address as a node's keepalived knows it."""

    name: str
    number: int
    address: str
    fifo: Path
    fault_file: Path


def configuration(node: str, own: str, peers: Sequence[str], interface: str, instances: Sequence[Instance]) -> str:
    """The text of keepalived.conf."""
    pairs = zip(FIFO_KEYWORDS, instances, strict=False)
    fifos = "\n".join(f"    {keyword} {instance.fifo}" for keyword, instance in pairs)
    text = GLOBAL.format(node=node, fifos=fifos)
    for instance in instances:
        text += INSTANCE.format(
            name=instance.name,
            number=instance.number,
            address=instance.address,
            fault_file=instance.fault_file,
            interface=interface,
            own=own,
            peers="\n        ".join(peers),
            priority=PRIORITY,
            interval=ADVERT_INTERVAL_S,
        )
    return text


class Keepalived:
    """keepalived on one node."""

    def __init__(self, lab: Lab, node: str, namespace: Namespace, directory: Path, text: str) -> None:
        self._lab = lab
        self._namespace = namespace
        self._name = f"keepalived-{node}"
        self._directory = directory
        self._file = directory / "keepalived.conf"
        self._file.write_text(text)
        self.child: Child | None = None

    def start(self) -> None:
        """Start it, as after a boot, and wait until it takes part.

        Raises:
            LabError: it does not after START_TIMEOUT_S.
        """
        pids = [self._directory / "keepalived.pid", self._directory / "vrrp.pid"]
        for pid in pids:
            pid.unlink(missing_ok=True)
        command = [
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--no-syslog",
            "--vrrp",
            f"--use-file={self._file}",
            f"--pid={pids[0]}",
            f"--vrrp_pid={pids[1]}",
        ]
        output = self._lab.directory / f"{self._name}.out"
        said = output.stat().st_size if output.exists() else 0
        child = self.child = self._lab.spawn(self._name, command, namespace=self._namespace)

        def takes_part() -> bool:
            return bool(TAKES_PART.search(output.read_bytes()[said:]))

        def silence() -> str:
            return f"{self._name} takes part:\n{tail(output)}"

        until(lambda: takes_part() or not child.alive(), silence, START_TIMEOUT_S, error=LabError)
        if not takes_part():
            raise LabError(f"it ended before {silence()}")

    def stop(self) -> None:
        """Stop it politely: it gives its addresses away at once."""
        if self.child is not None:
            self.child.stop()
            self.forget()

    def forget(self) -> None:
        """Have it be gone, because everything of its node has been killed."""
        if self.child is not None:
            self.child.kill()
            self._lab.children.remove(self.child)
            self.child = None
