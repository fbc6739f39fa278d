"""SIGKILL under load, and a count: `python -m tests.soak.kill --kills 1000 --seed N`.

Owns the run: clients that hold much, a server that is killed at random moments, the store compared with what the
clients were told, and the same clients going on with the next server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import statestore
from nfsd.cli.records import DESCRIBERS
from tests.soak.holders import Holder, SessionHolder
from tests.soak.holders40 import OwnerHolder
from tests.soak.ledger import Facts, Verdict, compare, facts_of
from tests.soak.process import ServerProcess
from tests.support.waiting import let_pass, watch

EXPORT = "held"
PARK_LIMIT_S = 20.0
PROGRESS_LIMIT_S = 20.0
# Between two kills so many replies have come at least, and at most.
REPLIES_MIN, REPLIES_MAX = 50, 1500
# The commands are slow to start: they are asked at every so many kills, and at the last one.
COMMANDS_INTERVAL = 10


@dataclass(slots=True)
class Outcome:
    """What a run found; `problems` is empty if all was well."""

    seed: int
    kills: int = 0
    replies: int = 0
    replayed: int = 0
    forgotten_closes: int = 0
    seconds: float = 0.0
    slowest_start_s: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The outcome for a person to read."""
        verdict = self.verdict
        yield (
            f"seed {self.seed}: {self.kills} kills in {self.seconds:.1f} s, {self.replies} replies; the slowest"
            f" start took {self.slowest_start_s:.2f} s"
        )
        checked = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.checked.items()))
        yield f"acknowledged states checked: {sum(verdict.checked.values())} ({checked})"
        yield f"missing: {len(verdict.missing)}"
        yield (
            f"requests in flight: {verdict.carried_out} carried out, {verdict.not_carried_out} not,"
            f" {len(verdict.torn)} torn; {self.replayed} answered again from the store,"
            f" {self.forgotten_closes} closes of NFSv4.0 not known any more"
        )
        yield from (f"MISSING: {line}" for line in verdict.missing[:20])
        yield from (f"TORN: {line}" for line in verdict.torn[:20])
        yield from (f"PROBLEM: {line}" for line in self.problems[:40])


def make_holders(address: tuple[str, int], seed: int) -> list[Holder]:
    """Three sessions with one, four and eight slots, and two NFSv4.0 clients."""
    export = EXPORT.encode()
    sessions: list[Holder] = [
        SessionHolder(f"s{slots}", address, export, random.Random(f"{seed} s{slots}"), slots) for slots in (1, 4, 8)
    ]
    return sessions + [
        OwnerHolder(f"o{number}", address, export, random.Random(f"{seed} o{number}")) for number in range(2)
    ]


def wait_for_replies(holders: list[Holder], count: int) -> bool:
    """Wait until all clients together have `count` replies more; False if that takes too long."""
    goal = sum(holder.acknowledged for holder in holders) + count
    return watch(lambda: sum(holder.acknowledged for holder in holders) >= goal, bool, PROGRESS_LIMIT_S, poll_s=0.001)


def stored_facts(server: ServerProcess, by_command: bool) -> Facts:
    """What the store says, read as the command does it or by the command itself."""
    if not by_command:
        return facts_of(statestore.dump(server.state, DESCRIBERS))
    done = server.store("dump", "-o", "json")
    if done.returncode:
        raise RuntimeError(f"store dump failed: {done.stderr}")
    lines: list[dict[str, Any]] = json.loads(done.stdout)
    return facts_of(lines)


def check_store(server: ServerProcess, holders: list[Holder], outcome: Outcome, by_command: bool) -> None:
    """Compare what is on disk after a kill with what every client was told."""
    if by_command:
        done = server.store("verify")
        if done.returncode:
            outcome.problems.append(f"store verify: {done.stdout[-500:]} {done.stderr[-500:]}")
    report = statestore.verify(server.state)
    outcome.problems += [f"store verify after kill {outcome.kills}: {line}" for line in report.problems()]
    stored = stored_facts(server, by_command)
    for holder in holders:
        verdict = compare(holder.ledger, stored)
        verdict.missing = [f"kill {outcome.kills}, {holder.name}: {line}" for line in verdict.missing]
        verdict.torn = [f"kill {outcome.kills}, {holder.name}: {line}" for line in verdict.torn]
        outcome.verdict.add(verdict)
        if isinstance(holder, SessionHolder):
            holder.note_replays(stored)


def run(directory: Path, kills: int, seed: int, durability: str = "process") -> Outcome:
    """Kill a server in `directory` so many times, and judge after each."""
    rng = random.Random(seed)
    outcome = Outcome(seed)
    began = time.monotonic()
    server = ServerProcess(directory, {f"/{EXPORT}": directory / EXPORT}, "--durability", durability)
    server.start()
    holders = make_holders(server.address, seed)
    try:
        for holder in holders:
            holder.start()
        wait_for_replies(holders, 10 * len(holders))
        for number in range(kills):
            _kill_once(server, holders, rng, outcome, last=number == kills - 1)
            if outcome.problems or outcome.verdict.missing or outcome.verdict.torn:
                break
        for holder in holders:
            holder.join(PARK_LIMIT_S)
    finally:
        code = server.stop()
    if code:
        outcome.problems.append(f"the server ended with {code} when it was told to stop")
    for holder in holders:
        outcome.replies += holder.acknowledged
        outcome.replayed += getattr(holder, "replayed", 0)
        outcome.forgotten_closes += getattr(holder, "forgotten_closes", 0)
    for event in server.events("server.fault", "store.failed", "record.left_out", "record.damaged"):
        outcome.problems.append(f"{event['event']} in the log: {json.dumps(event)[:1500]}")
    outcome.seconds = time.monotonic() - began
    return outcome


def _kill_once(server: ServerProcess, holders: list[Holder], rng: random.Random, outcome: Outcome, last: bool) -> None:
    if not wait_for_replies(holders, rng.randrange(REPLIES_MIN, REPLIES_MAX)):
        outcome.problems.append("the clients make no progress")
    let_pass(rng.random() * 0.005, "the moment must not be bound to the end of a round")
    server.kill()
    outcome.kills += 1
    for holder in holders:
        if not holder.wait_parked(PARK_LIMIT_S):
            outcome.problems.append(f"{holder.name} does not see that the server has gone")
    if not outcome.problems:
        check_store(server, holders, outcome, by_command=last or outcome.kills % COMMANDS_INTERVAL == 0)
    for holder in holders:
        outcome.problems += [f"kill {outcome.kills}, {holder.name}: {line}" for line in holder.problems]
        holder.problems.clear()
    outcome.slowest_start_s = max(outcome.slowest_start_s, server.start())
    end = last or bool(outcome.problems or outcome.verdict.missing or outcome.verdict.torn)
    for holder in holders:
        holder.resume(end)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill a server of its own under load, and count what is missing.")
    parser.add_argument("--kills", type=int, default=100, help="[100]")
    parser.add_argument("--seed", type=int, default=None, help="random seed [a new one]")
    parser.add_argument("--durability", choices=("process", "power"), default="process", help="[process]")
    parser.add_argument("--directory", type=Path, help="a new directory to work in, kept afterwards [temporary]")
    options = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="understudy-kill-"))
    directory.mkdir(parents=True, exist_ok=True)
    outcome = run(directory, options.kills, seed, options.durability)
    print("\n".join(outcome.lines()))
    print(f"kept in {directory}")
    sys.exit(1 if outcome.problems or outcome.verdict.missing or outcome.verdict.torn else 0)


if __name__ == "__main__":
    main()
