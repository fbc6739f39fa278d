"""Two nodes with a real keepalived: whatever befalls the one that serves, clients notice a pause and nothing else.

    python -m pytest tests/kernel/test_nodes.py -s                     # one of each kind, with a table
    python -m pytest tests/kernel/test_nodes.py -m long -s             # twenty of each kind for each minor version
    python -m pytest tests/kernel/test_nodes.py -m long -s -k "handover and 4.1"

A stall is an activity's longest time between two completed steps around an incident, beyond the longest such time of
the same load while nothing happens. Detection is from the moment at which the plug was pulled to the one at which
keepalived gave the address to the other node.
"""

import time
from collections.abc import Sequence

import pytest

from tests.support.waiting import let_pass

from .clients import Site
from .cluster import Service
from .incidents import (
    GUARD_S,
    KINDS,
    SETTLE_S,
    Incident,
    befall,
    check_busy,
    check_promised,
    describe,
    restore,
    table,
)
from .judge import check_introductions
from .load import Load
from .workloads import locks

LEAD_S, QUIET_S = 0.5, 2.0
# An incident, its settling and the restart of a node on a busy machine.
EACH_S_MAX = 30.0
COUNT_LONG = 20
LONG_TIMEOUT_S = 1800
EVERY_DAY = ("process killed", "handover", "failback", "node off", "failback", "network cut")


def run(site: Site, service: Service, kinds: Sequence[str]) -> list[Incident]:
    """Let that befall the nodes, one after the other, under load; everything but the time is judged here."""
    holder, path = site.a.process(), f"{site.path}/held"
    assert holder.call(locks.lock, path, locks.FCNTL, True, False, 0, 1)
    before = {client: client.stats() for client in (site.a, site.b)}
    load = Load(site, LEAD_S + QUIET_S + len(kinds) * EACH_S_MAX)
    began = time.monotonic()
    quiet = (began + LEAD_S, began + LEAD_S + QUIET_S)
    let_pass(LEAD_S + QUIET_S + GUARD_S, "the load is measured while nothing happens")
    incidents = []
    for kind in kinds:
        incidents.append(befall(service, kind))
        let_pass(SETTLE_S, "the load goes on for a while before the next one")
        restore(service, incidents[-1])
    load.stop()
    load.finish()
    for incident in incidents:
        incident.measure(load, quiet)
    print(f"\n{load.summary(site.version, quiet)}\n{table(site.version, incidents)}")
    for incident in incidents:
        if incident.beyond_s > 2 * incident.promised_s:
            print(describe(service, incident))
    check_introductions(before)
    check_lock(site, path)
    return incidents


def check_lock(site: Site, path: str) -> None:
    """The lock held all along is held by whom it was, and by nobody once that one has let go."""
    rival = site.b.process()
    assert rival.call(locks.holder, path, 0, 1) == "exclusive", "the lock held all along is lost"
    assert not rival.call(locks.lock, path, locks.FCNTL, True, False, 0, 1)


def test_nodes(nodes_site: Site, service: Service) -> None:
    """One of each kind: no error, the lock stays held, the clients set up nothing again, and hardly a pause."""
    check_busy(run(nodes_site, service, EVERY_DAY))


@pytest.mark.long
@pytest.mark.timeout(LONG_TIMEOUT_S, method="signal")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "failback"])
def test_nodes_twenty(nodes_site: Site, service: Service, kind: str) -> None:
    """Twenty of a kind, the figures that are promised."""
    check_promised(run(nodes_site, service, [kind] * COUNT_LONG))
