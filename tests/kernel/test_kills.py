"""Many kills of the active worker in a row, at moments that a seed decides, while everything at once goes on.

    python -m pytest tests/kernel/test_kills.py -m long -s              # 300 kills for each minor version
    python -m pytest tests/kernel/test_kills.py -m long -s -k 4.1 --kills 3000 --seed 7

Nothing may be lost or done twice, no lock lost or granted twice, no wrong answer given, and no client may have to
introduce itself again. How long a kill is felt is measured elsewhere (test_takeover.py).
"""

import os
import random
import signal
import time

import pytest

from tests.support.waiting import let_pass

from .clients import Site
from .judge import Stress

KILLS, KILLS_LONG = 6, 300
# From kill to kill. The next warm worker is ready about 0.3 s after a takeover, so that many a kill meets none.
GAP_MIN_S, GAP_MAX_S = 0.1, 1.0
LEAD_S = 0.7
TAIL_S = 0.5
LONG_TIMEOUT_S = 3600
# A load that got nowhere has shown nothing.
STEPS_PER_KILL = {"files": 0.5, "git": 0.1, "claim": 5.0, "count": 1.0, "hold": 1.0, "denied": 1.0}


def kill_often(site: Site, kills: int, rng: random.Random) -> list[float]:
    """Kill the active worker that often; how long each took to be followed by another that serves, in seconds."""
    server = site.ours()
    took: list[float] = []
    last = server.active_pid()
    for _ in range(kills):
        began = time.monotonic()
        os.kill(last, signal.SIGKILL)
        last = server.active_pid(after=last)
        took.append(time.monotonic() - began)
        let_pass(rng.uniform(GAP_MIN_S, GAP_MAX_S) - took[-1], "the moments are random ones")
    return took


def check_kills(site: Site, kills: int, seed: int) -> None:
    """Everything that is promised, over so many kills."""
    print(f"\n{site.version}: {kills} kills, --seed {seed}")
    site.ours()
    work = Stress(site, seed, LEAD_S + kills * (GAP_MAX_S + 1.0) + 30)
    let_pass(LEAD_S, "the work gets under way")
    took = kill_often(site, kills, random.Random(seed))
    let_pass(TAIL_S, "the work goes on for a while")
    work.finish()
    print(f"{site.version}: takeovers {max(took) * 1000:.0f} ms at most")
    work.check()
    idle = {name: count for name, count in work.steps().items() if count < STEPS_PER_KILL[name.split()[0]] * kills}
    assert not idle, f"too little was done to show anything: {idle}"


def test_kills(site: Site, seed: int) -> None:
    """A few kills, every day with another seed."""
    check_kills(site, KILLS, seed)


@pytest.mark.long
@pytest.mark.timeout(LONG_TIMEOUT_S, method="signal")
def test_kills_in_hundreds(site: Site, seed: int, pytestconfig: pytest.Config) -> None:
    """As many kills as --kills asks for."""
    check_kills(site, pytestconfig.getoption("--kills", default=None) or KILLS_LONG, seed)
