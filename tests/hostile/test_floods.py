"""Each flood for a moment, by hand, and that the judge bites in every run; the long ones are `--all`'s."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.hostile import floods_clients
from tests.hostile.conftest import Targets
from tests.hostile.flood import Flood
from tests.hostile.flooder import CONTROL, FLOODS
from tests.hostile.honest import PACE_S, Latency, Timed, latency
from tests.hostile.run import LOG_MAX, MEMORY_LEFT_MAX, MEMORY_MAX, Figures, Run, one
from tests.hostile.server import TargetServer

SECONDS, QUIET_S = 1.0, 0.4
# The other tests' machine is not quiet: this finds who holds the loop, and the long run how long requests take.
P99_MAX_MS = 150.0
# One that has to wait for the disk with every request: the rest is the same code at both levels.
AT_POWER = (floods_clients.ConfirmedClients,)
CASES = [("process", flood) for flood in FLOODS] + [("power", flood) for flood in AT_POWER]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("durability", "flood"), CASES, ids=[f"{level}-{flood.__name__}" for level, flood in CASES])
def test_flood(targets: Targets, durability: str, flood: type[Flood]) -> None:
    """An honest client goes on, new ones mount, the server lives, its memory is bounded and comes back."""
    run = Run(targets.of(durability), flood, seconds=SECONDS, quiet_s=QUIET_S, long=False, p99_max_ms=P99_MAX_MS)
    figures = run.run()
    print(figures.row())
    if figures.problems:
        targets.give_up(durability)
    assert not figures.problems


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("flood", [CONTROL, *FLOODS], ids=[flood.__name__ for flood in (CONTROL, *FLOODS)])
def test_flood_long(tmp_path: Path, durability: str, flood: type[Flood]) -> None:
    """Twenty seconds of each at both levels, each against a server of its own."""
    figures = one(TargetServer(tmp_path, durability), flood, 20.0, 5.0)
    print(figures.row())
    assert not figures.problems


def test_silence_is_felt() -> None:
    """A second of silence is a hundred slow requests, not one among a thousand."""
    quick = [Timed(0.0, 0.001)] * 1000
    assert latency(quick).p99_ms == 1.0
    felt = latency([*quick, Timed(0.0, 1.0)])
    assert felt.count == 1001 + round(1.0 / PACE_S) - 1
    assert felt.p99_ms > 900 and felt.max_ms == 1000.0
    assert math.isnan(latency([]).p99_ms)


def good() -> Figures:
    """What a flood leaves that did no harm."""
    quiet = Latency(1000, 1.0, 15.0, 20.0)
    return Figures("flood", "process", {"NFS4_OK": 9}, quiet=quiet, during=Latency(1000, 2.0, 30.0, 90.0), mounts=3)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("memory_most", MEMORY_MAX + 1, "above idle"),
        ("memory_left", MEMORY_LEFT_MAX + 1, "did not come back"),
        ("during", Latency(1000, 1.0, 30.1, 31.0), "p99"),
        ("during", Latency(0, math.nan, math.nan, math.nan), "p99"),
        ("mounts", 0, "mount"),
        ("log", LOG_MAX + 1, "log"),
        ("did", {"refused by RPC": 9}, "did nothing"),
    ],
)
def test_judge_bites(attribute: str, value: object, words: str) -> None:
    """Each bound that does not hold is named, and nothing else."""
    figures = good()
    figures.judge("NFS4_OK")
    assert not figures.problems
    setattr(figures, attribute, value)
    figures.judge("NFS4_OK")
    [problem] = figures.problems
    assert words in problem
