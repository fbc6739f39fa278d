"""Bad input against a real server: `python -m tests.soak.mutate --count 1000000 --seed N`.

Owns the run and its judgement: the server lives on, a good client loses nothing, memory and log stay bounded, every
request is answered or its connection closed with a line in the log, and nothing beside the export is touched.
`--keep-going` starts a server that died again and lists every fault that it had, each kind once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.hostile import Figures, Hostile
from tests.soak.process import ServerProcess
from tests.soak.steady import SteadyClient
from xdr.generated import nfs4

MIB = 1 << 20
# Above what the server had when a tenth of the requests was done.
MEMORY_GROWTH_MAX = 64 * MIB
# A flood must not fill the disk: so much for the whole run, however long it is.
LOG_SIZE_MAX = 4 * MIB
SECRET = b"canary-5f3c0e7b9a"
# Short, so that what mutated requests leave behind expires within a long run.
LEASE_TIME_S = 15
EXPORT, STEADY = "fuzzed", "steady"
SAMPLE_S = 0.1
RESTARTS_MAX = 200
# Most of these have to succeed now and then, or the load only shows how requests are refused.
DEEP = (
    nfs4.OP_CLOSE, nfs4.OP_COMMIT, nfs4.OP_CREATE, nfs4.OP_GETATTR, nfs4.OP_LINK, nfs4.OP_LOCK, nfs4.OP_LOCKU,
    nfs4.OP_OPEN, nfs4.OP_OPEN_CONFIRM, nfs4.OP_READ, nfs4.OP_READDIR, nfs4.OP_REMOVE, nfs4.OP_RENAME,
    nfs4.OP_SETATTR, nfs4.OP_SETXATTR, nfs4.OP_WRITE,
)  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What a run found; `problems` is empty if all was well."""

    seed: int
    asked: int
    figures: Figures
    seconds: float = 0.0
    steady_rounds: int = 0
    steady_slowest_s: float = 0.0
    memory_start: int = 0
    memory_most: int = 0
    log_size: int = 0
    faults: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The outcome for a person to read."""
        figures = self.figures
        rate = figures.sent / self.seconds if self.seconds else 0
        yield f"seed {self.seed}: {figures.sent} mutated requests in {self.seconds:.1f} s, {rate:.0f}/s"
        yield (
            f"{figures.answered} answers, {figures.connections} connections, {len(figures.dropped)} closed by the"
            f" server, {figures.forgiven} requests on them without an answer"
        )
        yield f"results in an answer: {dict(sorted(figures.depths.items()))}"
        yield f"statuses: {dict(figures.statuses.most_common())}"
        successes = {nfs4.nfs_opnum4_names[number][3:]: count for number, count in figures.successes.most_common()}
        yield f"successful operations in {figures.decoded} decoded answers: {successes}"
        yield f"the good client: {self.steady_rounds} rounds, the slowest {self.steady_slowest_s * 1e3:.0f} ms"
        yield f"memory: {self.memory_start / MIB:.1f} MiB, at most {self.memory_most / MIB:.1f} MiB"
        yield f"log: {self.log_size / MIB:.2f} MiB"
        yield f"connections on which valid requests failed: {dict(figures.failures)}"
        yield from (f"fault: {fault}" for fault in self.faults)
        yield from (f"PROBLEM: {problem}" for problem in self.problems)


def make_trees(directory: Path) -> None:
    """The export with links that lead out of it, and beside it what must stay untouched and unread."""
    canary, export = directory / "canary", directory / EXPORT
    (canary / "below").mkdir(parents=True)
    for name in ("secret", "below/secret"):
        (canary / name).write_bytes(SECRET + b"\n")
    (canary / "link").symlink_to("secret")
    export.mkdir()
    (export / "out").symlink_to("../canary")
    (export / "out-absolute").symlink_to(canary / "secret")
    os.mkfifo(export / "fifo")
    for number in range(4):
        (export / f"d{number}").mkdir()
    for number in range(12):
        (export / f"f{number}").write_bytes(b"data %d\n" % number * 500)


def fingerprint(top: Path) -> str:
    """A digest of everything in a tree: names, kinds, modes, owners, times, contents."""
    digest = hashlib.blake2b()
    for path in sorted([top, *top.rglob("*")]):
        about = path.lstat()
        facts = (about.st_mode, about.st_uid, about.st_gid, about.st_nlink, about.st_size, about.st_mtime_ns)
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        digest.update(repr((str(path), about.st_ctime_ns, facts, content)).encode())
    return digest.hexdigest()


def hostiles(seed: int, address: tuple[str, int], figures: Figures) -> list[Hostile]:
    """Clients of every minor version, and one that breaks its connections."""
    shapes = (("h0", 0, False), ("h1", 1, False), ("h2", 2, False), ("h3", 2, False), ("b1", 1, True), ("b0", 0, True))
    return [
        Hostile(
            name, minor, address, EXPORT.encode(), SECRET, figures, random.Random(f"{seed} {name}"), breaker=breaker
        )
        for name, minor, breaker in shapes
    ]


async def attack(clients: list[Hostile], count: int, sample: Watch) -> None:
    """Let every client send its share; the two that break connections send a hundredth each."""
    share = count // 100
    rest = (count - 2 * share) // (len(clients) - 2)
    tasks = [asyncio.create_task(client.run(share if client.breaker else rest), name=client.name) for client in clients]
    try:
        while True:
            done, pending = await asyncio.wait(tasks, timeout=SAMPLE_S, return_when=asyncio.FIRST_EXCEPTION)
            sample.look()
            for task in done:
                task.result()
            if not pending:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Watch:
    """Looks at the server's memory now and then; the first tenth of the requests is warming up."""

    def __init__(self, server: ServerProcess, figures: Figures, count: int) -> None:
        self._server = server
        self._figures = figures
        self._warm = max(count // 10, 1000)
        self.start = 0
        self.most = 0

    def look(self) -> None:
        """Take one sample.  Raises ConnectionError if the server has died."""
        if not self._server.alive():
            raise ConnectionError(f"the server died with exit code {self._server.poll()}")
        size = self._server.resident_bytes()
        if self._figures.sent >= self._warm:
            self.start = self.start or size
            self.most = max(self.most, size)


def faults_in(server: ServerProcess) -> list[str]:
    """Every kind of fault in the log once: operation, reason, and where it was raised."""
    found: dict[str, str] = {}
    for event in server.events("server.fault", "server.failed", "store.failed"):
        trace = str(event.get("exception", "")).strip().splitlines()
        where = [line.strip() for line in trace if line.strip().startswith("File ")][-1:]
        text = f"{event['event']} {event.get('operation', '')} {event.get('reason', '')}"
        found.setdefault(f"{event.get('operation')} {where}", f"{text} peer {event.get('peer')} {' '.join(where)}")
    return list(found.values())


def unlogged(server: ServerProcess, ports: list[int]) -> list[int]:
    """Of the connections that the server closed, those without a line that says so, beyond the lines suppressed."""
    logged = {int(event["peer"].rpartition(":")[2]) for event in server.events("connection.dropped")}
    suppressed = sum(
        event["count"] for event in server.events("log.suppressed") if event["suppressed"] == "connection.dropped"
    )
    missing = [port for port in ports if port not in logged]
    return missing[suppressed:]


def write_recent(directory: Path, clients: list[Hostile]) -> Path:
    """Keep the last requests of every client, as hexadecimal lines, for whoever looks into a fault."""
    path = directory / "recent-requests.txt"
    with path.open("w", encoding="ascii") as file:
        for client in clients:
            channel = getattr(client, "_channel", None)
            file.write(f"# {client.name} port {channel.port if channel else 0}, oldest first\n")
            file.writelines(f"{data.hex()}\n" for data in client.recent)
    return path


def run(directory: Path, count: int, seed: int, keep_going: bool = False) -> Outcome:
    """Send `count` mutated requests to a server in `directory`, and judge."""
    make_trees(directory)
    outcome = Outcome(seed, count, Figures())
    untouched = fingerprint(directory / "canary")
    exports = {f"/{name}": directory / name for name in (EXPORT, STEADY)}
    server = ServerProcess(directory, exports, "--lease-time", str(LEASE_TIME_S))
    began = time.monotonic()
    restarts = 0
    while outcome.figures.sent < count and restarts <= RESTARTS_MAX:
        left = count - outcome.figures.sent
        died = _one_life(server, outcome, left, seed + restarts, directory)
        if not died:
            break
        outcome.problems.append(died)
        restarts += 1
        if not keep_going:
            break
    outcome.seconds = time.monotonic() - began
    _judge(server, outcome, restarts)
    if fingerprint(directory / "canary") != untouched:
        outcome.problems.append("the tree beside the export has changed")
    return outcome


def _one_life(server: ServerProcess, outcome: Outcome, count: int, seed: int, directory: Path) -> str:
    """Load one server until the requests are sent or it dies; how it died, or nothing."""
    server.start()
    pid = server.pid
    figures = outcome.figures
    clients = hostiles(seed, server.address, figures)
    watch = Watch(server, figures, count)
    steady = SteadyClient(server.address, STEADY.encode(), seed)
    steady.start()
    died = ""
    try:
        asyncio.run(attack(clients, count, watch))
    except OSError as error:
        died = f"{error}; the last requests: {write_recent(directory, clients)}"
    steady.stop()
    outcome.steady_rounds += steady.rounds
    outcome.steady_slowest_s = max(outcome.steady_slowest_s, steady.slowest_s)
    if not died:
        outcome.problems += [f"the good client, {problem}" for problem in steady.problems]
        if not server.alive() or server.pid != pid:
            died = f"the server died at the end with exit code {server.poll()}"
    outcome.memory_start, outcome.memory_most = watch.start, watch.most
    if figures.silent:
        outcome.problems.append(f"last requests: {write_recent(directory, clients)}")
    code = server.stop()
    if not died and code:
        outcome.problems.append(f"the server ended with {code} when it was told to stop")
    return died


def _judge(server: ServerProcess, outcome: Outcome, restarts: int) -> None:
    figures, problems = outcome.figures, outcome.problems
    outcome.log_size = server.log_size()
    outcome.faults = faults_in(server)
    if outcome.faults:
        problems.append(f"{len(outcome.faults)} kinds of fault in the log")
    errors = server.errors.read_text(errors="replace") if server.errors.exists() else ""
    if "Traceback" in errors:
        problems.append(f"an error that no log line tells of: {errors[errors.index('Traceback') :][:2000]}")
    growth = outcome.memory_most - outcome.memory_start
    if growth > MEMORY_GROWTH_MAX:
        problems.append(f"memory grew by {growth / MIB:.0f} MiB")
    if outcome.log_size > LOG_SIZE_MAX:
        problems.append(f"the log has {outcome.log_size / MIB:.0f} MiB")
    problems += figures.silent[:5]
    if figures.malformed:
        problems.append(f"{len(figures.malformed)} of {figures.decoded} answers do not decode: {figures.malformed[0]}")
    if figures.leaked:
        problems.append(f"{len(figures.leaked)} answers hold bytes from beside the export: {figures.leaked[0][:400]}")
    if not restarts and (missing := unlogged(server, figures.dropped)):
        problems.append(f"{len(missing)} connections closed without a line in the log, ports {missing[:5]}")
    if figures.sent < outcome.asked and not restarts:
        problems.append(f"only {figures.sent} of {outcome.asked} requests were sent: {dict(figures.failures)}")
    reached = sum(1 for number in DEEP if figures.successes[number])
    if reached < len(DEEP) * 3 // 4:
        problems.append("few requests get deep: the load is not what it should be")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Send mutated requests to a server of its own.")
    parser.add_argument("--count", type=int, default=1_000_000, help="mutated requests [1000000]")
    parser.add_argument("--seed", type=int, default=None, help="random seed [a new one]")
    parser.add_argument("--directory", type=Path, help="a new directory to work in, kept afterwards [temporary]")
    parser.add_argument("--keep-going", action="store_true", help="start a server that died again")
    options = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="understudy-mutate-"))
    directory.mkdir(parents=True, exist_ok=True)
    outcome = run(directory, options.count, seed, options.keep_going)
    print("\n".join(outcome.lines()))
    print(f"kept in {directory}")
    sys.exit(1 if outcome.problems else 0)


if __name__ == "__main__":
    main()
