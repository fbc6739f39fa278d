"""Two nodes without a cluster manager: somebody says `promote` and `handover`, and hooks move address and volume.

    python -m pytest tests/kernel/test_nodes_by_hand.py -s                         # with NFSv4.2
    python -m pytest tests/kernel/test_nodes_by_hand.py -m "long or not long" -s   # with every minor version

The volume is a journal here: each mount and unmount writes a line. What clients feel has the time in it that it takes
to start the command line twice.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import let_pass

from .clients import Clients, Site, place_for
from .cluster import Cluster, Service, make_group
from .incidents import GUARD_S, SETTLE_S, Incident, check_busy, check_fenced, observe, restore, table
from .judge import check_introductions
from .lab import Lab
from .load import Load
from .namespace import LabError
from .nodes import Node, Plan
from .workloads import locks

LEAD_S, QUIET_S = 0.5, 1.5
LOAD_S_MAX = 120.0
ACTIVE, STANDBY = 0, 10


@pytest.fixture(scope="module")
def manual(several_nodes: None) -> Iterator[Service]:
    """A service group on two nodes that nobody manages, in a lab of its own."""
    with Lab() as lab:
        journal = lab.directory / "journal"
        hooks: dict[str, str | int | float] = {
            name: f"echo $UNDERSTUDY_NODE {name} >>{journal}" for name in ("mount", "unmount")
        }
        cluster = Cluster(lab, Plan((make_group(lab.directory, "one", 1),), manager=False, cluster=hooks))
        service = cluster.services["one"]
        try:
            cluster.start()
            yield service
            cluster.stop()
            assert not service.state_problems()
        finally:
            cluster.power_off()


@pytest.fixture(params=[*(pytest.param(version, marks=pytest.mark.long) for version in ("4.0", "4.1")), "4.2"])
def manual_site(manual: Service, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A place for a test, used by two clients."""
    pair = Clients(manual.lab, manual, request.param)
    try:
        yield from place_for(request.node.name, pair)
    finally:
        pair.close()


def exit_code(service: Service, node: Node) -> int:
    """What a probe gets to know of a node."""
    command = [service.program(), "status", "--exit-code", "--config", str(node.configuration(service.group))]
    return subprocess.run(command, capture_output=True, timeout=30).returncode


def journal(service: Service) -> list[str]:
    """What the mount and unmount hooks have written."""
    return Path(service.lab.directory / "journal").read_text().splitlines()


def move(service: Service, how: str) -> Incident:
    """Have the active node let go and the other one take over; nothing of one overlaps with anything of the other."""
    cluster, group = service.cluster, service.group
    node = cluster.active(group)
    other, written = cluster.other(node), len(journal(service))
    at = time.time()
    node.command(group, how)
    # The other node cannot see in a volume that is not mounted there that it has been let go.
    other.command(group, "promote", "--released")
    incident = observe(service, "handover", at, other)
    assert exit_code(service, node) == STANDBY and exit_code(service, other) == ACTIVE
    assert journal(service)[written:] == [f"{node.name} unmount", f"{other.name} mount"]
    left, came = (cluster.address_moves(place, group, at) for place in (node, other))
    assert not left[-1][1] and came[-1][1] and left[-1][0] < came[0][0], (left, came)
    assert not cluster.fences(at), "a node that lets go by itself need not be fenced"
    return incident


def lose(service: Service) -> Incident:
    """The active node's power fails, and somebody notices: the other one has it fenced before it serves."""
    node = service.cluster.active(service.group)
    other = service.cluster.other(node)
    at = node.power_off()
    other.command(service.group, "promote")
    check_fenced(service, node, at)
    return observe(service, "node off", at, other)


def test_by_hand(manual_site: Site, manual: Service) -> None:
    """Handover, demote and back, a lost node: no error, no lost lock, nothing set up again."""
    site = manual_site
    holder, path = site.a.process(), f"{site.path}/held"
    assert holder.call(locks.lock, path, locks.FCNTL, True, False, 0, 1)
    before = {client: client.stats() for client in (site.a, site.b)}
    load = Load(site, LOAD_S_MAX)
    began = time.monotonic()
    let_pass(LEAD_S + QUIET_S + GUARD_S, "the load is measured while nothing happens")
    incidents = []
    for how in ("handover", "demote", "power off"):
        incidents.append(lose(manual) if how == "power off" else move(manual, how))
        let_pass(SETTLE_S, "the load goes on for a while before the next one")
    restore(manual, incidents[-1])
    load.stop()
    load.finish()
    for incident in incidents:
        incident.measure(load, (began + LEAD_S, began + LEAD_S + QUIET_S))
    print(f"\n{table(site.version, incidents)}")
    check_busy(incidents)
    check_introductions(before)
    rival = site.b.process()
    assert rival.call(locks.holder, path, 0, 1) == "exclusive", "the lock held all along is lost"


def test_fence_refused(manual: Service) -> None:
    """While the power switch does not answer, nobody takes over from a node that is out of reach."""
    cluster, group = manual.cluster, manual.group
    node = cluster.active(group)
    other, switch = cluster.other(node), manual.lab.directory / "nodes.refuses"
    switch.touch()
    node.cut()
    try:
        with pytest.raises(LabError, match="the switch does not answer"):
            other.command(group, "promote")
        cluster.wait_role(other, group, "standby")
        assert exit_code(manual, other) == STANDBY
        assert not any(here for _, here in cluster.address_moves(other, group, time.time() - 1)[-1:])
    finally:
        switch.unlink()
        node.mend()
    assert node.role(group) == "active", "it was out of reach, and nobody has taken over"
