"""Compiles and runs the load generator.

Owns the generator's command line and its time limit; must not know how servers are started.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD_LIMIT_S = 120
SETUP_LIMIT_S = 70
"""Above the generator's own limit for setup, so that its message is the one seen."""

DATA_WORKLOADS = ("read_", "write_")
METADATA_SHAPE = (2, 16)
"""Connections and slots of each, for workloads that move no data."""
DATA_SHAPE = (1, 8)


class BenchError(Exception):
    """A run that gave no figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a run loads a server. None for connections or slots means the workload's own shape."""

    seconds: float
    warmup: float
    connections: int | None
    slots: int | None
    share: str
    one_owner: bool
    minor: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens, its export's path there, and the processes whose CPU time counts."""

    address: str
    path: str
    pids: tuple[int, ...]


def build() -> Path:
    """Compile the generator if its sources are newer, and return the program.

    Raises:
        BenchError: there is no make or C compiler, or the compiler failed.
    """
    try:
        done = subprocess.run(
            ["make", "-s", "-C", str(HERE)],
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise BenchError("make is missing: apt install make gcc libc6-dev") from None
    if done.returncode:
        raise BenchError(f"the load generator does not compile:\n{done.stderr.strip()}")
    return HERE / "build" / "loadgen"


def workloads(program: Path) -> list[str]:
    """Return the names of the workloads that the generator knows, in its order."""
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.split()


def command(program: Path, workload: str, target: Target, load: Load) -> list[str]:
    """Return the command line of one run."""
    shape = DATA_SHAPE if workload.startswith(DATA_WORKLOADS) else METADATA_SHAPE
    words: list[object] = [program, "--address", target.address, "--path", target.path]
    words += ["--workload", workload, "--seconds", load.seconds, "--warmup", load.warmup]
    words += ["--connections", load.connections or shape[0], "--slots", load.slots or shape[1]]
    words += ["--share", load.share, "--minor", load.minor]
    if load.one_owner:
        words.append("--one-owner")
    if target.pids:
        words += ["--server-pid", ",".join(map(str, target.pids))]
    return [str(word) for word in words]


def run(words: Sequence[str], load: Load) -> dict[str, Any]:
    """Run the generator once and return what it printed.

    Raises:
        BenchError: it failed or took too long.
    """
    limit_s = load.seconds + load.warmup + SETUP_LIMIT_S
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load generator did not end within {limit_s:.0f} s") from None
    if done.returncode:
        raise BenchError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
