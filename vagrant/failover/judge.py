"""The verdict on one failover, from what both clients and both nodes wrote down.

Owns what counts as right of machines, their power and their fence; what any suite takes for a fault is
`tests.support.judge`'s. Reads values only: it must not know how they were come by, nor wait for anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.judge import faults, introductions, stall, went_on

from .load import REGION_SIZE, newest
from .places import CUT, FREEZE, HANDOVER, KILL_DAEMON, KILL_WORKER, POWER_OFF

POWER_LOST = (POWER_OFF, CUT, FREEZE)
MOVES = (HANDOVER, *POWER_LOST)
SENT = 3  # bytes sent, in a row of mountstats
EARLY_S = 0.5
"""The clocks of two machines are known to each other no better than this."""


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What was seen of one failover. Moments are of the test's own wall clock, in seconds."""

    harm: str
    victim: str
    taker: str
    moment: float
    files: list[dict[str, str]]
    """What each client's work wrote, by file name."""
    ahead: list[float]
    """How far each client's clock is ahead."""
    counters: list[dict[str, list[int]]]
    """Each mount's counters: what was added."""
    complaints: list[str]
    fenced: list[str]
    """Nodes that the fence device switched off."""
    rebooted: list[str]
    events: dict[str, list[dict[str, Any]]]
    """What each node's daemon logged since the harm."""
    regions: list[int]
    """What was in each place of `unstable` on the disk when the part had just been taken over."""
    stall_max_s: float
    quiet_s: float
    stalls: dict[str, float] = field(default_factory=dict)


def steps(evidence: Evidence) -> dict[str, list[float]]:
    """The moments of each kind of work's steps."""
    found = {}
    for files, ahead in zip(evidence.files, evidence.ahead, strict=True):
        for name, text in files.items():
            if name.endswith(".log") and name != "errors.log":
                found[name.removesuffix(".log")] = [float(line.split()[0]) - ahead for line in text.splitlines()]
    return found


def judge(evidence: Evidence) -> list[str]:
    """What is wrong; nothing, if all is well. Fills in `evidence.stalls`."""
    checks = (_work, _stalls, _introductions, _unstable, _power, _logs)
    problems = [problem for check in checks for problem in check(evidence)]
    return problems + [f"a client's kernel complains: {line}" for line in evidence.complaints]


def _work(evidence: Evidence) -> list[str]:
    """Nothing failed, every kind ended and found what it had done, nobody else got the lock."""
    problems = []
    for files in evidence.files:
        problems += [f"a client met an error: {line[:300]}" for line in files.get("errors.log", "").splitlines()]
        for name in files:
            kind = name.removesuffix(".log")
            if name == "errors.log" or not name.endswith(".log"):
                continue
            done = json.loads(files.get(f"{kind}.done") or '{"right": null}')
            if done["right"] is not True:
                problems.append(f"{kind}: {'never ended' if done['right'] is None else f'is not right: {done}'}")
    return problems


def _stalls(evidence: Evidence) -> list[str]:
    """Every kind went on afterwards, and nobody stood still for longer than is promised."""
    problems = []
    quiet_start = evidence.moment - evidence.quiet_s
    for kind, moments in steps(evidence).items():
        if not went_on(moments, evidence.moment):
            problems.append(f"{kind}: nothing was done after the harm")
            continue
        early = evidence.moment - EARLY_S
        found = stall(moments, (quiet_start, early), (early, moments[-1]))
        evidence.stalls[kind] = found
        # The regions of `unstable` are so large that their time says nothing.
        if found > evidence.stall_max_s and kind != "unstable":
            problems.append(f"{kind}: stood still for {found:.2f} s, more than {evidence.stall_max_s:g} s")
    return problems


def _introductions(evidence: Evidence) -> list[str]:
    """No client had to introduce itself again, or to claim anything."""
    problems = []
    for number, counters in enumerate(evidence.counters, 1):
        again = introductions({name: row[0] for name, row in counters.items()})
        if again:
            problems.append(f"client {number} introduced itself again: {again}")
    return problems


def lost_regions(evidence: Evidence) -> list[int]:
    """Regions that the victim had acknowledged before the harm, and that were not on the disk after it."""
    acknowledged = sum(moment < evidence.moment - EARLY_S for moment in steps(evidence).get("unstable", []))
    there = dict(enumerate(evidence.regions))
    return [number for place, number in enumerate(newest(acknowledged)) if there.get(place, -1) < number]


def written_again(evidence: Evidence) -> int:
    """Bytes of WRITEs beyond those that the work has written once, roughly."""
    sent = sum(counters["WRITE"][SENT] for counters in evidence.counters if "WRITE" in counters)
    size = sum(int(json.loads(files.get("unstable.done") or "{}").get("size", 0)) for files in evidence.files)
    return max(0, sent - size)


def _unstable(evidence: Evidence) -> list[str]:
    """UNSTABLE data that may be gone is written again; that it is right at last, the work itself has seen."""
    lost, again = lost_regions(evidence), written_again(evidence)
    if evidence.harm not in POWER_LOST and lost:
        return [f"regions {lost} of unstable data are gone although no power was lost"]
    if again < len(lost) * REGION_SIZE * 0.9:
        return [f"regions {lost} of unstable data were lost, and only {again} bytes were written again"]
    if evidence.taker != evidence.victim and again < REGION_SIZE * 0.9:
        # Another node has another verifier, whether or not anything has gone. How much that is depends on when the
        # client has last asked for a COMMIT by itself; and what was lost may be there again before anybody looks.
        return [f"only {again} bytes of unstable data were written again on another node"]
    return []


def _power(evidence: Evidence) -> list[str]:
    """Who went off had to, and nobody else did."""
    problems = []
    if evidence.harm in (CUT, FREEZE, POWER_OFF) and evidence.fenced != [evidence.victim]:
        problems.append(f"the fence device switched off {evidence.fenced or 'nobody'}, not {evidence.victim}")
    # A daemon that was killed may leave something behind that only the power switch ends.
    if evidence.harm in (HANDOVER, KILL_WORKER) and (evidence.fenced or evidence.rebooted):
        problems.append(f"switched off: {evidence.fenced or evidence.rebooted}, though nothing had to be")
    expected = {KILL_WORKER: (True,), KILL_DAEMON: (True, False)}.get(evidence.harm, (False,))
    if (evidence.taker == evidence.victim) not in expected:
        problems.append(f"{evidence.taker} took over from {evidence.victim}")
    return problems


def takeover(evidence: Evidence) -> dict[str, float]:
    """The phases of the takeover, in seconds."""
    done = [row for row in evidence.events[evidence.taker] if row.get("event") == "takeover.done"]
    phases = {key: value for key, value in (done[0] if done else {}).items() if key.endswith("_s")}
    return {key.removesuffix("_s"): float(value) for key, value in phases.items()}


def _logs(evidence: Evidence) -> list[str]:
    """The nodes' logs tell the same story."""
    problems = []
    for node, rows in evidence.events.items():
        problems += [f"{node} logged a fault: {json.dumps(row)[:300]}" for row in faults(rows)]
    if not takeover(evidence):
        problems.append(f"{evidence.taker} logged no takeover")
    if evidence.harm == HANDOVER:
        said = [row.get("event") for row in evidence.events[evidence.victim]]
        problems += [f"{evidence.victim} did not log {event}" for event in ("drain.done", "released")
                     if event not in said]  # fmt: skip
    return problems
