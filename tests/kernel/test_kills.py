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
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from .clients import Client, Site
from .guest import Pending
from .workloads import locks, stress

KILLS, KILLS_LONG = 6, 300
# From kill to kill. The next warm worker is ready about 0.3 s after a takeover, so that many a kill meets none.
GAP_MIN_S, GAP_MAX_S = 0.1, 1.0
LEAD_S = 0.7
TAIL_S = 0.5
LONG_TIMEOUT_S = 3600
# After its end is asked for, work finishes the step under way: a commit and a check of the repository at most.
FINISH_S = 60
# A load that got nowhere has shown nothing.
STEPS_PER_KILL = {"files": 0.5, "git": 0.1, "claim": 5.0, "count": 1.0, "hold": 1.0, "denied": 1.0}


class Stress:
    """All the work of both clients, from the constructor to finish()."""

    def __init__(self, site: Site, seed: int, seconds: float) -> None:
        self.site = site
        self.results: dict[str, dict[str, Any]] = {}
        self._seconds = seconds
        self._running: dict[str, Pending] = {}
        self._stops = [client.guest.results / "stop" for client in (site.a, site.b)]
        for stop in self._stops:
            stop.unlink(missing_ok=True)
        (site.host / "names").mkdir()
        self.holder = site.a.process()
        self._start("hold", self.holder, stress.hold, f"{site.path}/held")
        while not (site.host / "held").exists():
            time.sleep(0.01)
        time.sleep(0.1)
        self._begin(seed)

    def _begin(self, seed: int) -> None:
        path = self.site.path
        start = time.time() + 0.5
        for number, (name, client) in enumerate((("a", self.site.a), ("b", self.site.b))):
            self._start(f"files {name}", client.process(), stress.files, f"{path}/files-{name}", seed + number)
            self._start(f"claim {name}", client.process(), stress.claim, f"{path}/names", name, start)
            self._start(f"count {name}", client.process(), stress.count, f"{path}/number", name)
        self._start("git", self.site.a.process(), stress.git, f"{path}/tree", seed)
        self._start("denied", self.site.b.process(), stress.be_denied, f"{path}/held")

    def _start(self, name: str, process: Any, function: Callable[..., Any], *arguments: Any) -> None:
        self._running[name] = process.start(
            function, *arguments, "/run/results/stop", self._seconds, timeout_s=self._seconds + FINISH_S
        )

    def finish(self) -> None:
        """Have the work end and collect its results."""
        for stop in self._stops:
            stop.touch()
        self.results = {name: pending.result() for name, pending in self._running.items()}

    def steps(self) -> dict[str, int]:
        """How much was done, by work."""
        return {name: int(result["steps"]) for name, result in self.results.items()}

    def problems(self) -> dict[str, int]:
        """What went wrong in the clients' eyes, and in those of who sees all: nothing, if all is well."""
        found: Counter[str] = Counter()
        for result in self.results.values():
            found.update(result["problems"])
        found.update(self._names_problems())
        found.update(self._files_problems())
        counted = sum(self.results[f"count {name}"]["steps"] for name in "ab")
        number = int((self.site.host / "number").read_text().split()[0])
        if number != counted:
            found["counts lost under the lock"] = counted - number
        return dict(found)

    def _names_problems(self) -> dict[str, int]:
        """Each name has one winner, who has signed it; a loser has lost to somebody."""
        found: Counter[str] = Counter()
        won = {name: set(self.results[f"claim {name}"]["won"]) for name in "ab"}
        tried = max(self.results[f"claim {name}"]["tried"] for name in "ab")
        found["names won twice"] = len(won["a"] & won["b"])
        found["false EEXIST of an exclusive create"] = len(set(range(tried)) - won["a"] - won["b"])
        for name, mine in won.items():
            paths = [self.site.host / "names" / str(number) for number in mine]
            found["names lost or not signed"] += sum(
                not path.exists() or path.read_text() != name for path in paths
            )
        return {kind: count for kind, count in found.items() if count}

    def _files_problems(self) -> dict[str, int]:
        """What is there is what the clients left, byte for byte."""
        found: Counter[str] = Counter()
        for name in "ab":
            directory = self.site.host / f"files-{name}"
            there = {path.name: stress.digest(path.read_bytes()) for path in directory.iterdir() if path.is_file()}
            left = self.results[f"files {name}"]["files"]
            found["files lost"] += len(left.keys() - there.keys())
            found["files too many"] += len(list(directory.iterdir())) - len(there.keys() & left.keys())
            found["files with other content"] += sum(there[key] != left[key] for key in there.keys() & left.keys())
        return {kind: count for kind, count in found.items() if count}

    def examples(self) -> list[str]:
        """Some of the wrong answers in detail."""
        return [f"{name}: {text}" for name, result in self.results.items() for text in result["examples"]]


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
        time.sleep(max(0.0, rng.uniform(GAP_MIN_S, GAP_MAX_S) - took[-1]))
    return took


def check_introductions(client: Client, before: Any) -> None:
    """The client never introduced itself again."""
    again = client.stats().since(before).set_up_again()
    assert not again, f"client {client.guest.name} had to introduce itself again: {again}"


def check_kills(site: Site, kills: int, seed: int) -> None:
    """Everything that is promised, over so many kills."""
    print(f"\n{site.version}: {kills} kills, --seed {seed}")
    site.ours()
    before = {client: client.stats() for client in (site.a, site.b)}
    work = Stress(site, seed, LEAD_S + kills * (GAP_MAX_S + 1.0) + 30)
    time.sleep(LEAD_S)
    took = kill_often(site, kills, random.Random(seed))
    time.sleep(TAIL_S)
    work.finish()
    steps, problems = work.steps(), work.problems()
    print(f"{site.version}: done {steps}; takeovers {max(took) * 1000:.0f} ms at most; problems {problems or 'none'}")
    assert not problems, "\n".join([str(problems), *work.examples()])
    for client, stats in before.items():
        check_introductions(client, stats)
    assert site.b.call(locks.holder, f"{site.path}/held", 0, 0) == "exclusive", "the lock held all along is lost"
    work.holder.call(stress.release, f"{site.path}/held")
    assert site.b.call(locks.lock, f"{site.path}/held", locks.FCNTL, True, False)
    idle = {name: count for name, count in steps.items() if count < STEPS_PER_KILL[name.split()[0]] * kills}
    assert not idle, f"too little was done to show anything: {idle}"


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What decides the moments of the kills and what the files hold."""
    given = pytestconfig.getoption("--seed", default=None)
    return random.SystemRandom().randrange(1 << 31) if given is None else int(given)


def test_kills(site: Site, seed: int) -> None:
    """A few kills, every day with another seed."""
    check_kills(site, KILLS, seed)


@pytest.mark.long
@pytest.mark.timeout(LONG_TIMEOUT_S, method="signal")
def test_kills_in_hundreds(site: Site, seed: int, pytestconfig: pytest.Config) -> None:
    """As many kills as are asked for."""
    check_kills(site, pytestconfig.getoption("--kills", default=None) or KILLS_LONG, seed)
