"""The failover test's verdict: it lets pass what is right, and names each thing that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vagrant.failover.judge import Evidence, judge, lost_regions
from vagrant.failover.load import PLACES, REGION_SIZE, newest, region, regions
from vagrant.failover.places import HANDOVER, KILL_WORKER, POWER_OFF

MOMENT = 100.0
BEFORE = 8
"""Regions written before the harm."""


def log(*moments: float) -> str:
    """A work's log with steps at these moments."""
    return "".join(f"{moment:.6f} {number}\n" for number, moment in enumerate(moments))


def evidence(**other: Any) -> Evidence:
    """A power-off that went well, but for what is given."""
    steps = [MOMENT - 10 + 0.1 * number for number in range(100)] + [MOMENT + 2 + 0.1 * number for number in range(50)]
    regions = [MOMENT - 9 + number for number in range(BEFORE)] + [MOMENT + 3.0]
    written = (BEFORE + 1) * REGION_SIZE
    fields: dict[str, Any] = {
        "harm": POWER_OFF, "victim": "nfs-a", "taker": "nfs-b", "moment": MOMENT,
        "files": [
            {"append.log": log(*steps), "append.done": '{"right": true, "count": 150}', "unstable.log": log(*regions),
             "unstable.done": json.dumps({"right": True, "count": BEFORE + 1, "size": written})},
            {"denied.log": log(*steps), "denied.done": '{"right": true}'},
        ],
        "ahead": [0.0, 0.0],
        "counters": [{"WRITE": [20, 20, 0, written + BEFORE * REGION_SIZE], "EXCHANGE_ID": [0, 0, 0, 0]}, {}],
        "complaints": [], "fenced": ["nfs-a"], "rebooted": ["nfs-a"],
        "events": {"nfs-a": [], "nfs-b": [{"event": "takeover.done", "level": "info", "total_s": 0.5}]},
        "regions": newest(3), "stall_max_s": 3.0, "quiet_s": 5.0,
    }  # fmt: skip
    return Evidence(**(fields | other))


def test_all_is_well() -> None:
    """Nothing is wrong with a takeover that went as it should, and the pause is measured."""
    seen = evidence()
    assert judge(seen) == []
    assert seen.stalls["append"] == pytest.approx(2.0, abs=0.15)
    assert lost_regions(seen) == [3, 4, 5, 6, 7]


def changed(change: Callable[[Evidence], None]) -> Evidence:
    """What a good takeover leaves, changed."""
    seen = evidence()
    change(seen)
    return seen


@pytest.mark.parametrize(("text", "change"), [
    ("met an error", lambda seen: seen.files[0].update({"errors.log": "100.1 append: EIO\n"})),
    ("append: never ended", lambda seen: seen.files[0].pop("append.done")),
    ("append: is not right", lambda seen: seen.files[0].update({"append.done": '{"right": false}'})),
    ("denied: nothing was done after", lambda seen: seen.files[1].update({"denied.log": log(90.0, 99.0)})),
    ("append: stood still", lambda seen: setattr(seen, "stall_max_s", 1.0)),
    ("introduced itself again", lambda seen: seen.counters[0].update({"EXCHANGE_ID": [1, 1, 0, 200]})),
    ("only 0 bytes were written again", lambda seen: seen.counters[0].update({"WRITE": [20, 20, 0, 9 * REGION_SIZE]})),
    ("switched off nobody", lambda seen: seen.fenced.clear()),
    ("nfs-a took over from nfs-a", lambda seen: setattr(seen, "taker", "nfs-a")),
    ("logged no takeover", lambda seen: seen.events["nfs-b"].clear()),
    ("logged a fault", lambda seen: seen.events["nfs-a"].append({"event": "wish.failed", "level": "error"})),
    ("kernel complains", lambda seen: seen.complaints.append("NFS: state manager failed")),
])  # fmt: skip
def test_each_wrong_is_named(text: str, change: Callable[[Evidence], None]) -> None:
    """Each of these alone is enough to fail, and is said."""
    assert any(text in problem for problem in judge(changed(change)))


def test_handover_needs_no_fence() -> None:
    """A node that is switched off in a planned handover is a failure, and so is one that did not say it let go."""
    problems = judge(evidence(harm=HANDOVER, regions=newest(BEFORE)))
    assert any("switched off" in problem for problem in problems)
    assert any("did not log released" in problem for problem in problems)


def test_killed_worker_loses_nothing() -> None:
    """The kernel has all that was acknowledged: nothing may be missing on the disk, or asked for again."""
    problems = judge(evidence(harm=KILL_WORKER, taker="nfs-a", fenced=[], rebooted=[]))
    assert any("are gone although no power was lost" in problem for problem in problems)


def test_newest() -> None:
    """Places are written round and round."""
    assert newest(0) == []
    assert newest(PLACES + 1) == [PLACES, *range(1, PLACES)]


def test_regions(tmp_path: Path) -> None:
    """Whole, being written over, with a hole, never finished."""
    half = REGION_SIZE // 2
    file = tmp_path / "unstable"
    holed, begun = region(2)[:half] + bytes(half), region(3)[:half]
    file.write_bytes(region(12) + region(13)[:half] + region(1)[half:] + holed + begun)
    assert regions(str(file)) == [12, 1, -1, -1]
