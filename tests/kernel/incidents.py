"""What can befall the node that serves: each kind done to a cluster, and what it then took, phase by phase.

Owns the kinds, how each has to end, and the table and the bounds of what clients felt. It must not know which work the
clients do.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .cluster import Service
from .keepalived import DETECTION_MAX_S
from .load import ACTIVITIES, DENIED, Load
from .nodes import Node

# How long the load goes on after somebody serves again, before anything else is done.
SETTLE_S = 1.0
# What is felt this long before the next incident is not this one's: clocks of guests are known that well.
GUARD_S = 0.2
# What is promised, beyond the detection where there is one: the median of many of a kind, in seconds.
PROMISED_S = {"handover": 0.25, "failback": 0.25}
PROMISED_OTHERWISE_S = 0.5
# What shows on any machine, however busy, that no client was left to a refused connection (3 s) or a grace period.
BUSY_STALL_MAX_S = 2.0


# What a log's line has beside what it tells.
NOT_TOLD = ("event", "at", "ts", "level", "node", "config")


@dataclass(slots=True)
class Incident:
    """One of them. Moments are of the wall clock, in seconds, durations too."""

    kind: str
    at: float
    winner: str
    served_at: float
    detection_s: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    stalls: dict[str, float] = field(default_factory=dict)

    @property
    def beyond_s(self) -> float:
        """How much longer than its detection it was felt."""
        return self.stall_s - self.detection_s

    @property
    def promised_s(self) -> float:
        """The bound of that for the median of its kind."""
        return PROMISED_S.get(self.kind, PROMISED_OTHERWISE_S)

    @property
    def stall_s(self) -> float:
        """How long the activity that fared worst stood still, beyond its longest gap in a quiet time."""
        return max(self.stalls.values())

    def measure(self, load: Load, quiet: tuple[float, float]) -> None:
        """Take the stalls from a load that has finished; `quiet` is a time without incidents (monotonic, s)."""
        shift = time.monotonic() - time.time()
        window_s = self.served_at - self.at + SETTLE_S - GUARD_S
        for kind in (*ACTIVITIES, DENIED):
            self.stalls[kind] = load.stalls(kind, quiet, [self.at + shift], window_s)[0]


def kill_process(service: Service) -> tuple[float, Node]:
    """kill -9 of the process that serves: its node goes on by itself."""
    node = service.cluster.active(service.group)
    pid = int(node.status(service.group)["pid"])
    at = node.kill_active(service.group)
    service.active_pid(after=pid)
    assert service.cluster.active(service.group) is node, "a dead process is no reason to go to another node"
    return at, node


def hand_over(service: Service) -> tuple[float, Node]:
    """A planned handover: nobody is fenced, and the node that let go is in reserve."""
    node = service.cluster.active(service.group)
    other = service.cluster.other(node)
    at = node.handover(service.group)
    service.cluster.wait_role(other, service.group, "active")
    service.cluster.wait_role(node, service.group, "standby")
    assert not service.cluster.fences(at), "a node that lets go by itself need not be fenced"
    return at, other


def switch_off(service: Service) -> tuple[float, Node]:
    """The node's power fails."""
    node = service.cluster.active(service.group)
    at = node.power_off()
    other = service.cluster.other(node)
    service.cluster.wait_role(other, service.group, "active")
    check_fenced(service, node, at)
    return at, other


def cut_off(service: Service) -> tuple[float, Node]:
    """The node's cable comes out and it runs on: the other one must see to its end before it serves."""
    node = service.cluster.active(service.group)
    at = node.cut()
    other = service.cluster.other(node)
    service.cluster.wait_role(other, service.group, "active")
    check_fenced(service, node, at)
    assert not node.processes(), f"{node.name} still runs although {other.name} serves"
    return at, other


def freeze(service: Service) -> tuple[float, Node]:
    """All of the node stands still, keepalived too; what goes on later must not find anything of its own."""
    node = service.cluster.active(service.group)
    at = node.pause()
    other = service.cluster.other(node)
    service.cluster.wait_role(other, service.group, "active")
    check_fenced(service, node, at)
    node.resume()
    assert not node.processes(), f"{node.name} still runs although {other.name} serves"
    return at, other


def lose_link(service: Service) -> tuple[float, Node]:
    """The node's interface goes down, which it sees: it lets go by itself, unless it is fenced before it has."""
    node = service.cluster.active(service.group)
    at = node.lose_link()
    other = service.cluster.other(node)
    service.cluster.wait_role(other, service.group, "active")
    return at, other


def shut_down(service: Service) -> tuple[float, Node]:
    """Everything on the node is stopped politely, as before a reboot."""
    node = service.cluster.active(service.group)
    at = time.time()
    node.stop()
    other = service.cluster.other(node)
    service.cluster.wait_role(other, service.group, "active")
    assert not service.cluster.fences(at), "a node that lets go by itself need not be fenced"
    return at, other


def check_fenced(service: Service, node: Node, since: float) -> None:
    """The power switch has been asked to see to a node's end."""
    fenced = [line["node"] for line in service.cluster.fences(since)]
    assert node.name in fenced, f"{node.name} was not fenced: {fenced}"


KINDS: dict[str, Callable[[Service], tuple[float, Node]]] = {
    "process killed": kill_process,
    "handover": hand_over,
    "failback": hand_over,
    "node off": switch_off,
    "network cut": cut_off,
    "node frozen": freeze,
    "link down": lose_link,
    "shutdown": shut_down,
}
UNANNOUNCED = ("node off", "network cut", "node frozen", "link down")


def befall(service: Service, kind: str) -> Incident:
    """Do one of a kind, wait until somebody serves again, and take down what that took."""
    at, winner = KINDS[kind](service)
    return observe(service, kind, at, winner)


def observe(service: Service, kind: str, at: float, winner: Node) -> Incident:
    """Take down what an incident took a group that is served again by now."""
    incident = Incident(kind, at, winner.name, time.time())
    if kind in UNANNOUNCED and service.cluster.plan.manager:
        came = [moment for moment, here in service.cluster.address_moves(winner, service.group, at) if here]
        assert came, f"{winner.name} serves without the address"
        incident.detection_s = came[0] - at
    recovery: dict[str, Any] = winner.status(service.group).get("recovery") or {}
    incident.phases = {name: float(value) for name, value in recovery.items() if isinstance(value, int | float)}
    return incident


def restore(service: Service, incident: Incident) -> None:
    """Bring back what an incident has taken away: the node that lost is in reserve then, and nothing else."""
    cluster = service.cluster
    winner = next(node for node in cluster.nodes if node.name == incident.winner)
    loser = cluster.other(winner)
    if incident.kind in (*UNANNOUNCED, "shutdown"):
        loser.mend()
    cluster.wait_role(loser, service.group, "standby")
    assert winner.role(service.group) == "active", f"{winner.name} lost the part when {loser.name} came back"


def describe(service: Service, incident: Incident) -> str:
    """What both nodes said and what came and went there around an incident, with seconds since it began."""
    end = incident.served_at + SETTLE_S
    lines: list[tuple[float, str]] = []
    for node in service.cluster.nodes:
        for event in service.cluster.events(node, service.group, incident.at):
            about = {key: value for key, value in event.items() if key not in NOT_TOLD}
            lines.append((event["at"], f"{node.name} {event['event']} {about or ''}"))
        for at, here in service.cluster.address_moves(node, service.group, incident.at):
            lines.append((at, f"{node.name} {'has' if here else 'has lost'} the address"))
    told = [f"  {at - incident.at:7.3f} {text}" for at, text in sorted(lines) if at < end]
    stalls = ", ".join(f"{kind} {stall:.3f}" for kind, stall in incident.stalls.items())
    return "\n".join([f"{incident.kind}, stalls in s: {stalls}", *told])


# -- verdict ------------------------------------------------------------------------------------------------------


def table(version: str, incidents: Iterable[Incident]) -> str:
    """What clients felt, by kind of incident, and where the time went: medians, in milliseconds."""
    by_kind: dict[str, list[Incident]] = {}
    for incident in incidents:
        by_kind.setdefault(incident.kind, []).append(incident)
    lines = [f"{version} {'':15} count  stall median   worst  beyond detection  detection  phases (medians, ms)"]
    for kind, found in by_kind.items():
        stalls = [incident.stall_s for incident in found]
        beyond = [incident.beyond_s for incident in found]
        names = dict.fromkeys(name for incident in found for name in incident.phases)
        phases = ", ".join(
            f"{name} {statistics.median(incident.phases.get(name, 0.0) for incident in found) * 1000:.0f}"
            for name in names
        )
        detection_s = statistics.median(incident.detection_s for incident in found)
        lines.append(
            f"{version} {kind:15} {len(found):5} {statistics.median(stalls) * 1000:13.0f} {max(stalls) * 1000:7.0f} "
            f"{statistics.median(beyond) * 1000:17.0f} {detection_s * 1000:10.0f}  {phases}"
        )
    return "\n".join(lines)


def check_busy(incidents: Iterable[Incident]) -> None:
    """The bounds that hold on a machine that has other things to do."""
    for incident in incidents:
        assert incident.beyond_s <= BUSY_STALL_MAX_S, incident
        assert incident.detection_s <= DETECTION_MAX_S + BUSY_STALL_MAX_S, incident


def check_promised(incidents: Iterable[Incident]) -> None:
    """What is promised of many of one kind."""
    found = list(incidents)
    kind = found[0].kind
    beyond = statistics.median(incident.beyond_s for incident in found)
    assert beyond <= found[0].promised_s, f"{kind}: {beyond:.3f} s beyond the detection"
    assert statistics.median(incident.detection_s for incident in found) <= DETECTION_MAX_S, f"{kind}: noticed late"
