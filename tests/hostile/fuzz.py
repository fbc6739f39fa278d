"""Fuzzing of the server's core in one process: `python -m tests.hostile.fuzz --inputs 10000000`.

Guided by coverage (Atheris) where that is installed, or at random (`--plain`). Owns the runs, what they report and the
verdict: no exit, no fault line, memory flat, no input slower than its bound. What was found is kept with everything
that came before it, and can be repeated (`--repeat FILE`).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.hostile.fuzz_inputs import Writer
from tests.hostile.fuzz_live import Live
from tests.support.launcher import ROOT

MIB = 1 << 20
INPUT_MAX_S = 0.05
"""Of processor time, without coverage being measured; the best of `TRIES`, as another process may be in the way."""
TRIES = 3
MEMORY_GROWTH_MAX = 64 * MIB
"""Above what there was after a tenth of the inputs."""
SLOW_KEPT_MAX = 20
COLLECT_INTERVAL = 2000
PROBLEMS_MAX = 50
_PAGE_SIZE = resource.getpagesize()


@dataclass(slots=True)
class Report:
    """What one process found; times in seconds of processor time, memory in bytes."""

    seed: int
    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    memory_start: int = 0
    memory_end: int = 0
    problems: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    """Files that repeat an input above the bound."""

    def line(self) -> str:
        """The figures for a person to read."""
        rate = self.inputs / self.seconds if self.seconds else 0
        return (
            f"seed {self.seed}: {self.inputs} inputs in {self.seconds:.0f} s, {rate:.0f}/s; slowest"
            f" {self.slowest_s * 1e3:.1f} ms; memory {self.memory_start / MIB:.0f} -> {self.memory_end / MIB:.0f} MiB"
        )


class Harness:
    """Gives inputs to a live core and keeps account."""

    def __init__(self, directory: Path, seed: int, count: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.report = Report(seed)
        self.count = count
        log_file = directory / f"fuzz-{seed}.log"
        log_file.touch()
        self.live = Live(log_file)
        self._began = time.monotonic()
        self._places: set[str] = set()
        # Garbage is collected between inputs, so that it is not one input's time.
        gc.disable()

    def give(self, data: bytes) -> None:
        """One input."""
        report = self.report
        outcome = self.live.give(data)
        report.inputs += 1
        if outcome.seconds > report.slowest_s:
            report.slowest_s = outcome.seconds
        if outcome.seconds > INPUT_MAX_S and len(report.slow) < SLOW_KEPT_MAX:
            report.slow.append(str(self._keep("slow")))
        if outcome.problem:
            self._note(outcome.problem)
            self.live.start_anew()
        if report.inputs % COLLECT_INTERVAL == 0:
            gc.collect()
            report.memory_end = _resident_bytes()
            if report.inputs <= max(self.count // 10, COLLECT_INTERVAL):
                report.memory_start = report.memory_end
            report.seconds = time.monotonic() - self._began
            self.save()

    def done(self) -> bool:
        """Whether all inputs have been given, or there is no sense in going on."""
        return self.report.inputs >= self.count or len(self.report.problems) >= PROBLEMS_MAX

    def finish(self) -> Report:
        """End."""
        self.report.seconds = time.monotonic() - self._began
        self.live.close()
        gc.enable()
        self.save()
        return self.report

    def save(self) -> None:
        """Write the report, which another process reads."""
        (self.directory / f"report-{self.report.seed}.json").write_text(json.dumps(asdict(self.report)))

    def _note(self, problem: str) -> None:
        """Keep a problem, each place in the source once."""
        places = [
            line.strip() for line in problem.replace("\\n", "\n").splitlines() if line.strip().startswith("File ")
        ]
        place = places[-1] if places else problem[:100]
        if place not in self._places:
            self._places.add(place)
            self.report.problems.append(f"{problem}\nkept: {self._keep('problem')}")

    def _keep(self, what: str) -> Path:
        """Write the inputs of this life, the last of them the one in question, a line each."""
        path = self.directory / f"{what}-{self.report.seed}-{self.report.inputs}.txt"
        path.write_text("".join(f"{data.hex()}\n" for data in self.live.inputs), encoding="ascii")
        return path


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_SIZE


def plain(directory: Path, seed: int, count: int) -> Report:
    """Random mutations of real requests."""
    rng = random.Random(seed)
    writer = Writer(rng)
    harness = Harness(directory, seed, count)
    while not harness.done():
        harness.give(writer.valid() if rng.random() < 0.2 else writer.wrong())
    return harness.finish()


def again(file: Path) -> tuple[float, str]:
    """Give the inputs of a file to a live core: how long the last took at best, and what was wrong with it."""
    inputs = [bytes.fromhex(line) for line in file.read_text(encoding="ascii").splitlines()]
    best, problem = float("inf"), ""
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="understudy-fuzz-") as directory:
            log_file = Path(directory) / "log"
            log_file.touch()
            live = Live(log_file)
            gc.collect()
            gc.disable()
            for data in inputs:
                outcome = live.give(data)
            gc.enable()
            live.close()
        best, problem = min(best, outcome.seconds), problem or outcome.problem
    return best, problem


def verdict(reports: list[Report]) -> Iterator[str]:
    """What is wrong with a run."""
    for report in reports:
        yield from report.problems
        growth = report.memory_end - report.memory_start
        if growth > MEMORY_GROWTH_MAX:
            yield f"seed {report.seed}: memory grew by {growth / MIB:.0f} MiB"
        for name in report.slow:
            seconds, _problem = again(Path(name))
            if seconds > INPUT_MAX_S:
                yield f"an input took {seconds * 1e3:.0f} ms: {name}"


def children(directory: Path, seed: int, count: int, jobs: int) -> list[Report]:
    """Fuzz in processes of their own, which share a corpus; their reports."""
    words = [sys.executable, "-m", "tests.hostile.fuzz_guided", "--directory", str(directory)]
    started = []
    for number in range(jobs):
        command = [*words, "--inputs", str(count // jobs), "--seed", str(seed + number)]
        with (directory / f"fuzz-{seed + number}.stderr").open("wb") as errors:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors))
    reports = []
    for number, process in enumerate(started):
        code = process.wait()
        file = directory / f"report-{seed + number}.json"
        report = Report(**json.loads(file.read_text())) if file.exists() else Report(seed + number)
        if code:
            said = (directory / f"fuzz-{seed + number}.stderr").read_text(errors="replace")
            report.problems.append(f"the fuzzer ended with {code}: {said[-2000:]}")
        reports.append(report)
    return reports


def main() -> None:
    """The command line: figures, then what is wrong; exit code 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description="Fuzz the core in memory.")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many [100000]")
    parser.add_argument("--seed", type=int, default=None, help="random seed [a new one]")
    parser.add_argument("--jobs", type=int, default=1, help="processes [1]")
    parser.add_argument("--plain", action="store_true", help="at random, without coverage and without Atheris")
    parser.add_argument("--directory", type=Path, help="where the corpus and what is found are kept [temporary]")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="give the inputs of a file again")
    options = parser.parse_args()
    if options.repeat:
        seconds, problem = again(options.repeat)
        print(f"{seconds * 1e3:.1f} ms {problem}")
        sys.exit(1 if problem or seconds > INPUT_MAX_S else 0)
    seed = int.from_bytes(os.urandom(3), "big") if options.seed is None else options.seed
    directory = options.directory or Path(tempfile.mkdtemp(prefix="understudy-fuzz-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, in {directory}", flush=True)
    if options.plain:
        reports = [plain(directory, seed, options.inputs)]
    else:
        reports = children(directory, seed, options.inputs, options.jobs)
    problems = list(verdict(reports))
    print("\n".join([*(report.line() for report in reports), *(f"PROBLEM: {problem}" for problem in problems)]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
