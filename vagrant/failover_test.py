"""The failover test: everything that can happen to the node that serves, while two Linux clients work.

    python3 -m vagrant.failover_test --on machines       # the virtual machines of the Vagrantfile, which are up
    python3 -m vagrant.failover_test --on namespaces     # two nodes in network namespaces of this machine
    ... --harm power-off --harm handover                 # only these, in this order

Exit code 0 if all is well. Prints what stood still, for how long, and the takeover's phases; what the nodes and
clients wrote is kept in a directory that it names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.waiting import let_pass, until
from vagrant.failover.judge import Evidence, judge, lost_regions, steps, takeover, written_again
from vagrant.failover.load import REGION_SIZE
from vagrant.failover.machines import directory
from vagrant.failover.places import HANDOVER, HARMS, KILL_DAEMON, KILL_WORKER, Node, Place

FIRST = ("append", "read", "create", "lock", "stat", "hold", "unstable")
SECOND = ("denied",)
# Each node serves and stands by in turn; the second handover is the failback.
ALL = (KILL_WORKER, HANDOVER, HANDOVER, KILL_DAEMON, *(harm for harm in HARMS[3:]))
LIMIT_S = 900.0
POLL_S = 0.05


class Failed(Exception):
    """A case came to no end that could be judged."""


def wait(what: str, ready: Callable[[], bool], limit_s: float, pause_s: float = POLL_S) -> None:
    """Wait until something is so.  Raises Failed."""
    until(ready, f"{what}, after {limit_s:g} s", limit_s, pause_s, Failed)


def roles(place: Place) -> list[str]:
    """Both nodes' roles."""
    return [node.role() for node in place.nodes]


def settled(place: Place) -> tuple[Node, Node]:
    """The node that serves and the one that stands by, once it is so.  Raises Failed."""
    first, second = place.nodes
    try:
        wait("one node active, the other standby", lambda: sorted(roles(place)) == ["active", "standby"],
             place.patience.role_s, 0.5)  # fmt: skip
    except Failed as error:
        raise Failed(f"{error}: {roles(place)}") from error
    return (first, second) if first.role() == "active" else (second, first)


def begin(place: Place, path: str) -> None:
    """Start the work of both clients, and wait until all of it is under way."""
    patience = place.patience
    worker, rival = place.clients
    worker.start(path, FIRST, patience.interval_s, LIMIT_S)
    wait("the lock is held", lambda: worker.first_step("hold"), patience.load_s)
    rival.start(path, SECOND, patience.interval_s, LIMIT_S)
    for client, kinds in ((worker, FIRST), (rival, SECOND)):
        for kind in kinds:
            wait(f"{kind} works", lambda kind=kind, client=client: client.first_step(kind), patience.load_s)  # type: ignore[misc]


def taker_of(place: Place, harm: str, victim: Node, other: Node) -> Node:
    """The node that serves after the harm, once it does."""
    candidates = {KILL_WORKER: (victim,), KILL_DAEMON: (victim, other)}.get(harm, (other,))
    found: list[Node] = []

    def ready() -> bool:
        found[:] = [node for node in candidates if node.role() == "active"]
        return bool(found)

    if harm in (KILL_WORKER, KILL_DAEMON):
        let_pass(0.2, "whoever asks at once may still see the one that was killed")
    wait(f"somebody serves after {harm}", ready, place.patience.role_s)
    return found[0]


def differences(before: list[dict[str, list[int]]], after: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """What was added to each mount's counters."""
    return [
        {name: [new - old for new, old in zip(row, earlier.get(name, [0] * len(row)), strict=True)]
         for name, row in later.items()}
        for earlier, later in zip(before, after, strict=True)
    ]  # fmt: skip


def since(rows: list[dict[str, Any]], moment: float) -> list[dict[str, Any]]:
    """What was logged after a moment of the node's own clock."""
    return [row for row in rows if "ts" in row and datetime.fromisoformat(row["ts"]).timestamp() >= moment]


def run_case(place: Place, harm: str, number: int) -> Evidence:
    """Have one harm happen under load, and gather what there is to see of it."""
    patience, path = place.patience, f"case-{number}-{harm}-{int(time.time())}"
    victim, other = settled(place)
    ahead = {name: place.ahead(name) for name in (victim.name, other.name, *(c.name for c in place.clients))}
    boots = {node.name: node.boot() for node in place.nodes}
    for client in place.clients:
        client.complaints()
    before = [client.stats() for client in place.clients]
    begin(place, path)
    let_pass(patience.quiet_s, "the load is measured while nothing happens")
    moment = victim.suffer(harm)
    taker = taker_of(place, harm, victim, other)
    regions = taker.regions(f"{path}/unstable")
    let_pass(patience.settle_s, "the load goes on for a while")
    # The rival first: it would rightly be granted the lock of one who has ended.
    files = [client.stop(patience.load_s) for client in reversed(place.clients)][::-1]
    after = [client.stats() for client in place.clients]
    complaints = [line for client in place.clients for line in client.complaints()]
    victim.restore()
    settled(place)
    events = {node.name: since(node.log(), moment + ahead[node.name] - 0.1) for node in place.nodes}
    return Evidence(
        harm=harm, victim=victim.name, taker=taker.name, moment=moment, files=files,
        ahead=[ahead[client.name] for client in place.clients], counters=differences(before, after),
        complaints=complaints, fenced=[name for at, name in place.fences() if at >= moment - 0.1],
        rebooted=[node.name for node in place.nodes if node.boot() != boots[node.name]], events=events,
        regions=regions,
        stall_max_s=patience.stall_s.get(harm, patience.stall_other_s), quiet_s=patience.quiet_s,
    )  # fmt: skip


def tell(evidence: Evidence, problems: list[str]) -> None:
    """Print what was seen."""
    print(f"\n== {evidence.harm}: {evidence.victim} -> {evidence.taker}")
    counts = {kind: len(moments) for kind, moments in steps(evidence).items()}
    print("   stood still (s): " + ", ".join(f"{kind} {stall:.2f}" for kind, stall in evidence.stalls.items()))
    print("   steps done:      " + ", ".join(f"{kind} {count}" for kind, count in counts.items()))
    print("   takeover (s):    " + ", ".join(f"{phase} {took:.3f}" for phase, took in takeover(evidence).items()))
    if evidence.fenced:
        print(f"   switched off by the fence device: {', '.join(evidence.fenced)}")
    lost = len(lost_regions(evidence)) * REGION_SIZE >> 10
    print(f"   unstable data lost: {lost} KiB; written again: {written_again(evidence) >> 10} KiB")
    for problem in problems:
        print(f"   WRONG: {problem}")
    print(f"   {'FAILED' if problems else 'passed'}", flush=True)


def keep(results: Path, number: int, evidence: Evidence) -> None:
    """Write down what was seen, for whoever wants to know more."""
    place = results / f"{number}-{evidence.harm}"
    place.mkdir(parents=True)
    for node, rows in evidence.events.items():
        (place / f"{node}.log").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for client, files in enumerate(evidence.files, 1):
        for name, text in files.items():
            (place / f"client-{client}-{name}").write_text(text)
    facts = {"moment": evidence.moment, "ahead": evidence.ahead, "stalls": evidence.stalls,
             "counters": evidence.counters, "regions": evidence.regions}  # fmt: skip
    (place / "facts.json").write_text(json.dumps(facts) + "\n")


def open_place(name: str) -> Place:
    """The place of that name."""
    if name == "machines":
        from vagrant.failover.virtual import VirtualPlace

        return VirtualPlace()
    from vagrant.failover.namespaces import NamespacePlace

    return NamespacePlace()


def main(words: list[str]) -> int:
    """Run the cases; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=("machines", "namespaces"), default="machines")
    parser.add_argument("--harm", choices=HARMS, action="append", help="only this; may be given several times")
    options = parser.parse_args(words)
    results = directory() / "results" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    place = open_place(options.on)
    failed = 0
    began = time.monotonic()
    try:
        harms = options.harm or [harm for harm in ALL if harm in place.harms]
        print(f"{len(harms)} failovers on {place.name}")
        for number, harm in enumerate(harms, 1):
            evidence = run_case(place, harm, number)
            problems = judge(evidence)
            tell(evidence, problems)
            keep(results, number, evidence)
            failed += bool(problems)
    finally:
        place.close()
    print(f"\n{len(harms) - failed} passed, {failed} failed in {time.monotonic() - began:.0f} s; logs: {results}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
