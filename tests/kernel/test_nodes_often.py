"""Failovers and failbacks in a row, of which kind and when a seed decides, while everything at once goes on.

    python -m pytest tests/kernel/test_nodes_often.py -m long -s                # 50 for each minor version
    python -m pytest tests/kernel/test_nodes_often.py -m long -s -k 4.1 --kills 200 --seed 7

Nothing may be lost or done twice, no lock lost or granted twice, no wrong answer given, and no client may have to
introduce itself again. How long it is felt is measured elsewhere (test_nodes.py).
"""

import random

import pytest

from tests.support.waiting import let_pass

from .clients import Site
from .cluster import Service
from .incidents import KINDS, befall, restore
from .judge import Stress

COUNT, COUNT_LONG = 3, 50
GAP_MIN_S, GAP_MAX_S = 0.1, 2.0
LEAD_S, TAIL_S = 0.7, 0.5
EACH_S_MAX = 30.0
LONG_TIMEOUT_S = 3600
# A load that got nowhere has shown nothing.
STEPS_PER_INCIDENT = {"files": 0.5, "git": 0.1, "claim": 5.0, "count": 1.0, "hold": 1.0, "denied": 1.0}


def check_often(site: Site, service: Service, count: int, seed: int) -> None:
    """Everything that is promised, over so many."""
    print(f"\n{site.version}: {count} incidents, --seed {seed}")
    rng = random.Random(seed)
    work = Stress(site, seed, LEAD_S + count * EACH_S_MAX)
    let_pass(LEAD_S, "the work gets under way")
    for number in range(count):
        incident = befall(service, rng.choice(list(KINDS)))
        print(
            f"{number:3} {incident.kind:15} now {incident.winner}, {incident.served_at - incident.at:.3f} s; "
            f"detection {incident.detection_s:.3f} s, {incident.phases}",
            flush=True,
        )
        let_pass(rng.uniform(GAP_MIN_S, GAP_MAX_S), "the moments are random ones")
        restore(service, incident)
        let_pass(rng.uniform(GAP_MIN_S, GAP_MAX_S), "the moments are random ones")
    let_pass(TAIL_S, "the work goes on for a while")
    work.finish()
    work.check()
    least = {name: STEPS_PER_INCIDENT[name.split()[0]] * count for name in work.steps()}
    idle = {name: done for name, done in work.steps().items() if done < least[name]}
    assert not idle, f"too little was done to show anything: {idle}"


def test_nodes_often(nodes_site: Site, service: Service, seed: int) -> None:
    """A few, every day with another seed."""
    check_often(nodes_site, service, COUNT, seed)


@pytest.mark.long
@pytest.mark.timeout(LONG_TIMEOUT_S, method="signal")
def test_nodes_often_long(nodes_site: Site, service: Service, seed: int, pytestconfig: pytest.Config) -> None:
    """As many takeovers as --kills asks for."""
    check_often(nodes_site, service, pytestconfig.getoption("--kills", default=None) or COUNT_LONG, seed)
