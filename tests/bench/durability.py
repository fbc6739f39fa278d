"""What durability costs: the same load with the state in memory, at level `process`, and at level `power`.

`python -m tests.bench.durability [--rounds N] [--seconds S]` prints two tables: cycles a second and the ratio to
memory, paired round by round; and, at `power`, latency and requests in a transaction by requests in flight.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.support.processes import free_port

from .generator import BenchError, Load, Target, build, command, run
from .servers import running, understudy

WORKLOADS = ("open_close", "lock_unlock")
IN_FLIGHT = ((1, 1), (1, 16), (8, 16))


def shape(seconds: float, connections: int, slots: int) -> Load:
    """A load as the main benchmark's, of another shape."""
    return Load(
        seconds=seconds, warmup=0.3, connections=connections, slots=slots, share="client", one_owner=False, minor=1
    )


def rate(program: Path, workload: str, target: Target, load: Load) -> dict[str, float]:
    """One run; the generator's figures."""
    return run(command(program, workload, target, load), load)


def in_memory(directory: Path, program: Path, workload: str, load: Load) -> float:
    """Cycles a second without durability."""
    port = free_port()
    (directory / "export").mkdir(parents=True)
    (directory / "state").mkdir(mode=0o700)
    words = [sys.executable, "-m", "tests.bench.memory_server"]
    words += [str(directory / "export"), str(directory / "state"), str(port)]
    with running("memory", words, port, "/", directory / "log") as target:
        return rate(program, workload, target, load)["rate"]


def durable(directory: Path, level: str, program: Path, workload: str, load: Load) -> float:
    """Cycles a second with a store on the disk."""
    with understudy(directory, level) as target:
        return rate(program, workload, target, load)["rate"]


def transactions(port: int) -> tuple[float, float]:
    """(requests, transactions) so far, from the server's figures."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = [line.split() for line in page.read().decode().splitlines() if not line.startswith("#")]
    figures = {line[0]: float(line[1]) for line in lines}
    return figures["understudy_requests_total"], figures["understudy_commits_total"]


def costs(directory: Path, program: Path, rounds: int, seconds: float) -> None:
    """The first table."""
    print(f"{'workload':14}{'memory /s':>12}{'process /s':>12}{'process/memory':>16}{'pairs':>14}{'power/memory':>14}")
    for workload in WORKLOADS:
        load = shape(seconds, 2, 16)
        found: dict[str, list[float]] = {"memory": [], "process": [], "power": []}
        for number in range(rounds):
            place = directory / f"{workload}{number}"
            found["memory"].append(in_memory(place / "memory", program, workload, load))
            for level in ("process", "power"):
                found[level].append(durable(place / level, level, program, workload, load))
        pairs = [a / b for a, b in zip(found["process"], found["memory"], strict=True)]
        powers = [a / b for a, b in zip(found["power"], found["memory"], strict=True)]
        memory, process = statistics.median(found["memory"]), statistics.median(found["process"])
        spread = f"{min(pairs):.2f}-{max(pairs):.2f}"
        print(
            f"{workload:14}{memory:12,.0f}{process:12,.0f}{statistics.median(pairs):16.2f}{spread:>14}"
            f"{statistics.median(powers):14.2f}"
        )


def groups(directory: Path, program: Path, seconds: float) -> None:
    """The second table."""
    print(f"\n{'power, in flight':18}{'cycles /s':>12}{'p50 us':>10}{'p99 us':>10}{'requests a transaction':>24}")
    for connections, slots in IN_FLIGHT:
        port = free_port()
        load = shape(seconds, connections, slots)
        place = directory / f"power{connections * slots}"
        with understudy(place, "power", ["--metrics", f"127.0.0.1:{port}"]) as target:
            before = transactions(port)
            found = rate(program, "open_close", target, load)
            after = transactions(port)
        size = (after[0] - before[0]) / max(1.0, after[1] - before[1])
        row = f"{connections * slots:<18}{found['rate']:12,.0f}{found['p50_us']:10,.0f}{found['p99_us']:10,.0f}"
        print(f"{row}{size:24.1f}")


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.durability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    try:
        program = build()
        with tempfile.TemporaryDirectory() as directory:
            costs(Path(directory), program, options.rounds, options.seconds)
            groups(Path(directory), program, options.seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
