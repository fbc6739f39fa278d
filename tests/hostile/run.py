"""One flood against one server, with an honest client beside it: what both felt, and the verdict.

Owns the run, its bounds and the table. Must not know what a flood sends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.hostile.flood import Flood
from tests.hostile.honest import HonestClient, Latency, latency
from tests.hostile.server import LEASE_TIME_S, TargetServer, socket_bytes
from tests.support.launcher import ROOT
from tests.support.waiting import let_pass, watch

MIB = 1 << 20
MEMORY_MAX = 256 * MIB
"""Above idle, at any moment."""
MEMORY_LEFT_MAX = 64 * MIB
"""Above idle, when it is over."""
P99_MAX_MS = 20.0
"""Or twice the quiet value, if that is more."""
LOG_MAX = MIB >> 2
SETTLE_S = 2 * LEASE_TIME_S + 10.0
"""After so long everything of a flood that has let go must be gone."""
MEMORY_STOP = 3 << 30
"""A server that has so much is ended, and so is the run: the machine is others' too."""
HANG_S = 200.0
"""Beyond its own time a flood may wait for its last replies, and for the end of all that it held."""
SAMPLE_S = 0.02
ENTRIES = 20_000
"""Files in the large directory."""


@dataclass(slots=True)
class Figures:
    """What one run has measured; memory in bytes above idle. `problems` is empty if every bound held."""

    name: str
    durability: str
    did: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    memory_most: int = 0
    memory_left: int = 0
    sockets_most: int = 0
    log: int = 0
    quiet: Latency = field(default_factory=lambda: latency(()))
    during: Latency = field(default_factory=lambda: latency(()))
    mounts: int = 0
    mount_slowest_s: float = 0.0
    settled_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def judge(self, proof: str, p99_max_ms: float = P99_MAX_MS) -> None:
        """Add what broke a bound to `problems`; `proof` is what the flood must have counted."""
        bound_ms = max(p99_max_ms, 2 * self.quiet.p99_ms)
        found = [
            (self.memory_most > MEMORY_MAX, f"memory {self.memory_most / MIB:.0f} MiB above idle"),
            (self.memory_left > MEMORY_LEFT_MAX, f"{self.memory_left / MIB:.0f} MiB did not come back"),
            (not self.during.p99_ms <= bound_ms, f"p99 {self.during.p99_ms:.0f} ms; at most {bound_ms:.0f} ms"),
            (not self.mounts, "no new mount succeeded"),
            (not self.did.get(proof), f"the flood did nothing: {self.did}"),
            (self.log > LOG_MAX, f"{self.log >> 10} KiB of log"),
        ]
        self.problems += [text for wrong, text in found if wrong]

    def row(self) -> str:
        """A row of `HEAD`'s table."""
        did = ", ".join(f"{count} {what}" for what, count in sorted(self.did.items(), key=lambda item: -item[1])[:4])
        cells = (
            self.name, self.durability, did, f"{self.memory_most / MIB:.0f}", f"{self.memory_left / MIB:.0f}",
            f"{self.sockets_most / MIB:.0f}", str(self.quiet), str(self.during),
            f"{self.mounts}, {self.mount_slowest_s * 1e3:.0f}", f"{self.log / MIB:.1f}",
            "; ".join(self.problems) or "held",
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| flood | durability | what it got done | memory above idle, MiB | left, MiB | kernel's sockets, MiB |"
    " quiet p50 / p99 / max, ms | during | new mounts, slowest in ms | log, MiB | bounds |\n" + "|---" * 11 + "|"
)


def flood_process(flood: type[Flood], port: int, seconds: float, count: int) -> subprocess.Popen[str]:
    """Start the flood."""
    words = (flood.__name__, str(port), str(seconds), str(count))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.flooder", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


class Run:
    """One flood against a server that runs; the server runs on, unless it died or had to be ended."""

    def __init__(
        self, server: TargetServer, flood: type[Flood], *, seconds: float, quiet_s: float, long: bool,
        p99_max_ms: float = P99_MAX_MS,
    ) -> None:  # fmt: skip
        self._server = server
        self._flood = flood
        self._seconds = seconds
        self._quiet_s = quiet_s
        self._long = long
        self._p99_max_ms = p99_max_ms
        self.figures = Figures(flood.name, server.durability)
        self._idle = 0
        self._sockets_idle = 0

    def run(self) -> Figures:
        """Measure: a quiet time, the flood, and the time until everything of it is gone."""
        figures, server = self.figures, self._server
        pid, log_size = server.pid, server.log_size()
        honest = HonestClient(server.port)
        honest.start()
        began = time.monotonic()
        let_pass(self._quiet_s, "the quiet time is measured")
        self._idle, self._sockets_idle = server.anonymous_bytes(), socket_bytes()
        flooded = time.monotonic()
        process = flood_process(self._flood, server.port, self._seconds, self._flood.counts[self._long])
        try:
            self._until(lambda: process.poll() is not None, self._seconds * self._flood.time_factor + HANG_S)
        finally:
            if process.poll() is None:
                process.kill()
            output, errors = process.communicate()
        over = time.monotonic()
        figures.did = json.loads(output) if output.strip() else {}
        if not figures.did:
            figures.problems.append(f"the flood ended with {process.returncode}: {errors[-400:]}")
        # At least a moment, so that what goes on in the server after the flood is felt.
        figures.settled_s = self._until(self._settled, SETTLE_S, at_least=over + 0.2) - over
        figures.memory_left = max(0, server.anonymous_bytes() - self._idle)
        honest.stop()
        ended = time.monotonic()
        figures.seconds = over - flooded
        figures.quiet, figures.during = honest.between(began, flooded), honest.between(flooded, ended)
        mounts = honest.mounted_between(flooded, ended)
        figures.mounts = len(mounts)
        figures.mount_slowest_s = max((mount.seconds for mount in mounts), default=0.0)
        figures.log = server.log_size() - log_size
        figures.problems += honest.problems[:3]
        if not server.alive() or server.pid != pid:
            figures.problems.append(f"the server died with exit code {server.poll()}")
        figures.judge(self._flood.proof, self._p99_max_ms)
        return figures

    def _settled(self) -> bool:
        return self._server.anonymous_bytes() - self._idle <= MEMORY_LEFT_MAX

    def _until(self, done: Callable[[], bool], timeout_s: float, at_least: float = 0.0) -> float:
        """Sample until it is done, or the server has to be ended; when that was."""
        figures, server = self.figures, self._server

        def look() -> bool:
            size = server.anonymous_bytes()
            figures.memory_most = max(figures.memory_most, size - self._idle)
            figures.sockets_most = max(figures.sockets_most, socket_bytes() - self._sockets_idle)
            if size > MEMORY_STOP and server.alive():
                figures.problems.append(f"ended at {size / MIB:.0f} MiB")
                server.send_signal(signal.SIGKILL)
            return not server.alive() or (done() and time.monotonic() >= at_least)

        watch(look, bool, timeout_s, SAMPLE_S)
        return time.monotonic()


def judge_end(server: TargetServer) -> Iterator[str]:
    """Stop the server: what is wrong with its end, its log or its store."""
    if (code := server.stop()) != 0:
        yield f"the server ended with {code} when it was told to stop"
    yield from (f"{event['event']}: {event.get('reason', '')}" for event in server.faults())
    verified = server.store("verify")
    if verified.returncode:
        yield f"store verify: {verified.stdout}{verified.stderr}"


def one(server: TargetServer, flood: type[Flood], seconds: float, quiet_s: float) -> Figures:
    """The long run of one flood against a server of its own, which is judged to its end."""
    server.furnish(ENTRIES)
    server.start()
    try:
        figures = Run(server, flood, seconds=seconds, quiet_s=quiet_s, long=True).run()
        figures.problems += judge_end(server) if server.alive() else ()
    finally:
        server.close()
    return figures
