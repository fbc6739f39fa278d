"""Everything at once: the work of both clients that never stops while the server dies, and the judgement of it.

Owns which work there is, and what each client's answers have to be in the light of the others' and of what lies on the
host's disk. It must not know how the server dies.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.waiting import until

from .clients import Client, Site
from .guest import GuestProcess, Pending
from .mountstats import MountStats
from .workloads import locks, stress

# After its end is asked for, work finishes the step under way: a commit and a check of the repository at most.
FINISH_S = 60
# Until the lock that is held all along has been granted.
START_S = 30.0


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
        self._before = {client: client.stats() for client in (site.a, site.b)}
        (site.host / "names").mkdir()
        self._holder = site.a.process()
        self._start("hold", self._holder, stress.hold, f"{site.path}/held")
        # Its first step is a write under the lock.
        held = site.host / "held"
        until(lambda: held.exists() and held.stat().st_size > 0, "the lock is held", START_S)
        self._begin(seed)

    def _begin(self, seed: int) -> None:
        path = self.site.path
        start = time.time() + 0.5
        for number, (name, client) in enumerate((("a", self.site.a), ("b", self.site.b))):
            self._start(f"files {name}", client.process(), stress.files, f"{path}/files-{name}", seed + number)
            self._start(f"claim {name}", client.distinct_process(), stress.claim, f"{path}/names", name, start)
            self._start(f"count {name}", client.process(), stress.count, f"{path}/number", name)
        self._start("git", self.site.a.process(), stress.git, f"{path}/tree", seed)
        self._start("denied", self.site.b.process(), stress.be_denied, f"{path}/held")

    def _start(self, name: str, process: GuestProcess, function: Callable[..., Any], *arguments: Any) -> None:
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
        return problems_of(self.results, self.site.host)

    def examples(self) -> list[str]:
        """Some of the wrong answers in detail."""
        return [f"{name}: {text}" for name, result in self.results.items() for text in result["examples"]]

    def check(self) -> None:
        """Nothing was answered wrongly, lost or granted twice, and the lock held all along still is; it ends here."""
        steps, problems = self.steps(), self.problems()
        print(f"{self.site.version}: done {steps}; problems {problems or 'none'}")
        assert not problems, "\n".join([str(problems), *self.examples()])
        check_introductions(self._before)
        rival, path = self.site.b.process(), f"{self.site.path}/held"
        assert rival.call(locks.holder, path, 0, 0) == "exclusive", "the lock held all along is lost"
        self._holder.call(stress.release, path)
        assert rival.call(locks.lock, path, locks.FCNTL, True, False)


def problems_of(results: Mapping[str, Mapping[str, Any]], host: Path) -> dict[str, int]:
    """What is wrong with the work of both clients, by name, and with what it left in a directory of the host's."""
    found: Counter[str] = Counter()
    for result in results.values():
        found.update(result["problems"])
    found.update(_names_problems(results, host))
    found.update(_files_problems(results, host))
    counted = sum(results[f"count {name}"]["steps"] for name in "ab")
    number = int((host / "number").read_text().split()[0])
    if number != counted:
        found["counts lost under the lock"] = counted - number
    return dict(found)


def _names_problems(results: Mapping[str, Mapping[str, Any]], host: Path) -> dict[str, int]:
    """Each name has one winner, who has signed it; a loser has lost to somebody."""
    found: Counter[str] = Counter()
    won = {name: set(results[f"claim {name}"]["won"]) for name in "ab"}
    tried = max(results[f"claim {name}"]["tried"] for name in "ab")
    found["names won twice"] = len(won["a"] & won["b"])
    found["false EEXIST of an exclusive create"] = len(set(range(tried)) - won["a"] - won["b"])
    for name, mine in won.items():
        paths = [host / "names" / str(number) for number in mine]
        found["names lost or not signed"] += sum(not path.exists() or path.read_text() != name for path in paths)
    return {kind: count for kind, count in found.items() if count}


def _files_problems(results: Mapping[str, Mapping[str, Any]], host: Path) -> dict[str, int]:
    """What is there is what the clients left, byte for byte."""
    found: Counter[str] = Counter()
    for name in "ab":
        directory = host / f"files-{name}"
        there = {path.name: stress.digest(path.read_bytes()) for path in directory.iterdir() if path.is_file()}
        left = results[f"files {name}"]["files"]
        found["files lost"] += len(left.keys() - there.keys())
        found["files too many"] += len(list(directory.iterdir())) - len(there.keys() & left.keys())
        found["files with other content"] += sum(there[key] != left[key] for key in there.keys() & left.keys())
    return {kind: count for kind, count in found.items() if count}


def check_introductions(before: dict[Client, MountStats]) -> None:
    """No client had to introduce itself again since."""
    for client, stats in before.items():
        again = client.stats().since(stats).set_up_again()
        assert not again, f"client {client.guest.name} had to introduce itself again: {again}"
