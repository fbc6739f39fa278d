"""What the failover test needs of a place to run in: two nodes that can come to harm, and two clients.

Owns the interface between the test and its two places, the virtual machines and the namespace lab, and what a harm
means. Must not know either place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What happens to the node that serves.
KILL_WORKER = "kill-worker"  # kill -9 of the process that serves
KILL_DAEMON = "kill-daemon"  # kill -9 of every process of the daemon
POWER_OFF = "power-off"  # the plug is pulled
CUT = "cut"  # its packets are dropped, both ways; it runs on and does not know
FREEZE = "freeze"  # it stands still, and would go on one day: the zombie
HANDOVER = "handover"  # planned: it is asked to give the part away
HARMS = (KILL_WORKER, KILL_DAEMON, HANDOVER, POWER_OFF, CUT, FREEZE)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take in a place; all in seconds.

    `stall_s` is how long clients may stand still by harm; harms that are not in it are judged by `stall_other_s`.
    """

    interval_s: float
    quiet_s: float
    settle_s: float
    role_s: float
    load_s: float
    stall_s: dict[str, float]
    stall_other_s: float


class Node(ABC):
    """One of the two nodes."""

    name: str

    @abstractmethod
    def role(self) -> str:
        """What its daemon says it is; an empty string if nobody answers."""

    @abstractmethod
    def suffer(self, harm: str) -> float:
        """Have one of HARMS happen to it; when that was (this host's wall clock, s)."""

    @abstractmethod
    def restore(self) -> None:
        """Have it be whole again, switched on and connected, whatever it has suffered."""

    @abstractmethod
    def log(self) -> list[dict[str, Any]]:
        """Its daemon's log, one object a line; what went with its power is missing."""

    @abstractmethod
    def boot(self) -> str:
        """A word that is another one after each loss of power; an empty string while it has none."""

    @abstractmethod
    def regions(self, path: str) -> list[int]:
        """What of a file of the load `unstable` is on its disk (`load.py regions`); path in the export."""


class Client(ABC):
    """A machine, or what a server takes for one, with the export mounted."""

    name: str
    mount_point: str

    @abstractmethod
    def start(self, directory: str, kinds: Sequence[str], interval_s: float, limit_s: float) -> None:
        """Begin to work, in a directory of the export."""

    @abstractmethod
    def first_step(self, kind: str) -> bool:
        """Whether a kind of work has done its first step."""

    @abstractmethod
    def stop(self, limit_s: float) -> dict[str, str]:
        """Have the work end, and return the files that it wrote, by name."""

    @abstractmethod
    def stats(self) -> dict[str, list[int]]:
        """The mount's counters (`load.py stats`)."""

    @abstractmethod
    def complaints(self) -> list[str]:
        """What its kernel has complained of since it was last asked."""


class Place(ABC):
    """Two nodes and two clients. A context manager."""

    name: str
    patience: Patience
    harms: tuple[str, ...]
    nodes: tuple[Node, Node]
    # The first works, the second wants what the first holds.
    clients: tuple[Client, Client]

    @abstractmethod
    def fences(self) -> list[tuple[float, str]]:
        """What the fence device has switched off at a node's request: when (this host's wall clock), which node."""

    @abstractmethod
    def ahead(self, who: str) -> float:
        """How far the wall clock of a node or client is ahead of this host's, in seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stop what was started for the test."""
