"""A steady load of every kind, and how long each kind of it stood still around a moment.

Owns the activities' processes and the comparison of the guests' clocks with the host's. It must not know what happens
at that moment.
"""

import time
from collections.abc import Sequence

from tests.support.judge import longest_gap, stall, went_on

from .clients import Client, Site
from .guest import Pending
from .workloads import activities

# What client a does; client b asks for the lock that a holds.
ACTIVITIES = ("append", "read", "create", "lock", "stat")
DENIED = "denied"


def offset_of(client: Client) -> float:
    """The guest's clock minus the host's, in seconds, from the quickest of some questions."""
    process = client.process()
    found: list[tuple[float, float]] = []
    for _ in range(5):
        before = time.monotonic()
        there = process.call(activities.clock)
        after = time.monotonic()
        found.append((after - before, there - (before + after) / 2))
    return min(found)[1]


class Load:
    """Every activity, each in a process of its own, for some seconds.

    Somebody has to hold the lock of the file `held` when it begins. Loads at the same time need different names.
    """

    def __init__(self, site: Site, seconds: float, name: str = "load") -> None:
        self._site = site
        self._stops = [client.guest.results / f"stop-{name}" for client in (site.a, site.b)]
        for stop in self._stops:
            stop.unlink(missing_ok=True)
        self._offsets = {client: offset_of(client) for client in (site.a, site.b)}
        processes = {kind: self._client(kind).process() for kind in (*ACTIVITIES, DENIED)}
        for process in processes.values():
            process.call(activities.clock)  # It exists now, so that the activities begin together.
        self._running: dict[str, Pending] = {
            kind: process.start(
                activities.repeat, kind, site.path, seconds, f"/run/results/stop-{name}", timeout_s=seconds + 60
            )
            for kind, process in processes.items()
        }
        self.done: dict[str, list[float]] = {}

    def _client(self, kind: str) -> Client:
        return self._site.b if kind == DENIED else self._site.a

    def stop(self) -> None:
        """Have it end before its time."""
        for stop in self._stops:
            stop.touch()

    def finish(self) -> None:
        """Wait for its end, and check that everything that was done is there, once.

        Raises:
            GuestError: an activity failed.
        """
        for kind, pending in self._running.items():
            offset = self._offsets[self._client(kind)]
            self.done[kind] = [moment - offset for moment in pending.result()]
        lines = (self._site.host / "appended").read_text().splitlines()
        assert lines == [f"{number:07}" for number in range(len(self.done["append"]))]
        assert len(list((self._site.host / "created").iterdir())) == len(self.done["create"])

    def longest_gap(self, kind: str, start: float, end: float) -> float:
        """An activity's longest time between two steps around a span of time (host's clock), in seconds."""
        assert went_on(self.done[kind], start), f"{kind}: nothing was done after {start:.3f} s"
        return longest_gap(self.done[kind], start, end)

    def stalls(self, kind: str, quiet: tuple[float, float], moments: Sequence[float], window_s: float) -> list[float]:
        """How long an activity stood still after each moment, beyond its longest gap in a quiet time."""
        done = self.done[kind]
        stuck = [moment for moment in moments if not went_on(done, moment)]
        assert not stuck, f"{kind}: nothing was done after {stuck[0]:.3f} s"
        return [stall(done, quiet, (moment, moment + window_s)) for moment in moments]

    def summary(self, title: str, quiet: tuple[float, float]) -> str:
        """How much of each kind was done, and the longest gaps in a quiet time, as one line."""
        parts = (
            f"{kind} {len(done)} ({self.longest_gap(kind, *quiet) * 1000:.0f} ms)" for kind, done in self.done.items()
        )
        return f"{title} steps (longest quiet gap): {', '.join(parts)}"
