"""Two service groups on two nodes, each node active for one and in reserve for the other.

    python -m pytest tests/kernel/test_groups.py -s                       # with NFSv4.2
    python -m pytest tests/kernel/test_groups.py -m "long or not long" -s # with every minor version

Both clients use both groups: what one group goes through is not to be felt by the other, though its server runs on the
same nodes and its clients are the same.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.waiting import let_pass

from .clients import MOUNTS, NAMES, Client, Site
from .cluster import Cluster, Service, make_group
from .guest import Guest, GuestProcess
from .incidents import (
    BUSY_STALL_MAX_S,
    GUARD_S,
    SETTLE_S,
    Incident,
    befall,
    check_busy,
    check_fenced,
    observe,
    restore,
    table,
)
from .judge import check_introductions
from .lab import Lab
from .load import ACTIVITIES, DENIED, Load
from .nodes import Plan
from .server import SQUASH, WORK
from .workloads import locks

GROUPS = ("one", "two")
LEAD_S, QUIET_S = 0.5, 1.5
LOAD_S_MAX = 150.0
# A pause of the machine, and less than any takeover's bound on a busy machine.
UNMOVED_MAX_S = BUSY_STALL_MAX_S / 2


@dataclass(frozen=True, slots=True)
class Part:
    """One group, the place of the test in its exports, and who holds a lock there."""

    service: Service
    site: Site
    holder: GuestProcess


@pytest.fixture(scope="module")
def groups(several_nodes: None) -> Iterator[Cluster]:
    """Two nodes with two groups, in a lab of their own."""
    with Lab() as lab:
        cluster = Cluster(lab, Plan(tuple(make_group(lab.directory, name, n) for n, name in enumerate(GROUPS, 1))))
        try:
            cluster.start()
            yield cluster
            cluster.stop()
            assert not any(service.state_problems() for service in cluster.services.values())
        finally:
            cluster.power_off()


@pytest.fixture(params=[*(pytest.param(version, marks=pytest.mark.long) for version in ("4.0", "4.1")), "4.2"])
def parts(groups: Cluster, request: pytest.FixtureRequest) -> Iterator[list[Part]]:
    """Both groups, mounted by two clients; the first is on the first node, the second on the second."""
    version = request.param
    guests = [Guest(groups.lab, f"{name}{version.replace('.', '')}", number) for number, name in enumerate(NAMES, 1)]
    try:
        for guest in guests:
            guest.wait_ready()
        groups.restore()
        for node, service in zip(groups.nodes, groups.services.values(), strict=True):
            if groups.active(service.group) is not node:
                befall(service, "handover")
        sizes = {service: service.log_sizes() for service in groups.services.values()}
        yield [make_part(service, guests, version) for service in groups.services.values()]
        for service, size in sizes.items():
            assert not service.faults_since(size), "the server logged a fault of its own"
    finally:
        for guest in guests:
            guest.close()


def make_part(service: Service, guests: list[Guest], version: str) -> Part:
    """Mount a group on both guests and hold a lock there."""
    name, address = service.group.name, service.address
    a, b = (Client(guest, version, address, f"{MOUNTS}/{name}") for guest in guests)
    for client in (a, b):
        client.mount()
    hosts = [service.exports[export] / f"groups-{version}" for export in (WORK, SQUASH)]
    for host in hosts:
        host.mkdir()
    paths = [f"{a.work}/{hosts[0].name}", f"{a.squash}/{hosts[1].name}"]
    holder = a.process()
    assert holder.call(locks.lock, f"{paths[0]}/held", locks.FCNTL, True, False, 0, 1)
    return Part(service, Site(a, b, version, paths[0], hosts[0], paths[1], hosts[1], service), holder)


class Scene:
    """Loads on both groups while things befall them."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.before = {client: client.stats(client.work) for part in parts for client in (part.site.a, part.site.b)}
        self.loads = [Load(part.site, LOAD_S_MAX, name=part.service.group.name) for part in parts]
        began = time.monotonic()
        self.quiet = (began + LEAD_S, began + LEAD_S + QUIET_S)
        self.others: list[tuple[str, float, float]] = []
        self.incidents: dict[int, list[Incident]] = {0: [], 1: []}
        let_pass(LEAD_S + QUIET_S + GUARD_S, "the load is measured while nothing happens")

    def befall(self, number: int, kind: str, *, both: bool = False) -> Incident:
        """Let that befall one group; the other one is on another node, or is hit as well."""
        first, second = (part.service for part in (self.parts[number], self.parts[1 - number]))
        incident = befall(first, kind)
        self.incidents[number].append(incident)
        if both:
            winner = second.cluster.active(second.group)
            assert winner.name == incident.winner
            self.incidents[1 - number].append(observe(second, kind, incident.at, winner))
        let_pass(SETTLE_S, "the load goes on for a while before the next one")
        shift = time.monotonic() - time.time()
        self.others.append((f"{kind} of {GROUPS[number]}", incident.at + shift, incident.served_at + shift))
        return incident

    def judge(self) -> None:
        """Both groups' clients noticed only what befell their own."""
        for load in self.loads:
            load.stop()
        for load in self.loads:
            load.finish()
        for number, found in self.incidents.items():
            for incident in found:
                incident.measure(self.loads[number], self.quiet)
            print(f"\n{table(GROUPS[number], found)}")
            check_busy(found)
        check_introductions(self.before)
        for part in self.parts:
            rival, path = part.site.b.process(), f"{part.site.path}/held"
            assert rival.call(locks.holder, path, 0, 1) == "exclusive", "the lock held all along is lost"

    def check_unmoved(self, number: int, title: str) -> None:
        """A group that stayed where it was had no gap when the other one moved."""
        load = self.loads[number]
        for name, start, end in self.others:
            if name == title:
                felt = max(load.stalls(kind, self.quiet, [start], end - start)[0] for kind in (*ACTIVITIES, DENIED))
                print(f"{title}: {GROUPS[number]} felt {felt * 1000:.0f} ms")
                assert felt < UNMOVED_MAX_S


def test_groups(parts: list[Part], groups: Cluster) -> None:
    """One group moves, moves back, loses its node; then the node that serves both dies: each goes on as if alone."""
    first, second = (part.service for part in parts)
    a, b = groups.nodes
    assert groups.active(first.group) is a and groups.active(second.group) is b
    scene = Scene(parts)
    scene.befall(0, "handover")
    assert groups.active(first.group) is b and groups.active(second.group) is b
    restore(first, scene.incidents[0][-1])
    scene.befall(0, "failback")
    restore(first, scene.incidents[0][-1])
    incident = scene.befall(0, "node off")
    assert groups.active(second.group) is b
    restore(first, incident)
    groups.wait_role(a, second.group, "standby")
    # Both are on the second node now.
    incident = scene.befall(1, "node off", both=True)
    check_fenced(first, b, incident.at)
    restore(second, incident)
    groups.wait_role(b, first.group, "standby")
    scene.judge()
    for title in ("handover of one", "failback of one", "node off of one"):
        scene.check_unmoved(1, title)
