"""How long a server's event loop is held by one callback: a watch to start in place of `understudy`.

Owns the measuring and where it is written. As a program (`python -c "from tests.support.turns import main; main()"`) it
is `understudy`, behind two words of its own, a file and a number: each callback that needs more than so many ms becomes
a line of the file at once, so that nothing is lost with a killed process:

    server = ServerProcess(directory)
    turns = Turns(server)
    server.start()
    ...
    assert turns.longest().processor_ms < 5

What a callback needs of the processor is the same on a busy machine; `wall_ms` has in it what others needed. Must not
know what a callback does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from asyncio import events
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.launcher import Launched

PROGRAM = (sys.executable, "-c", "from tests.support.turns import main; main()")


@dataclass(frozen=True, slots=True)
class Turn:
    """One callback of an event loop: what it needed, in ms, and what it was."""

    processor_ms: float
    wall_ms: float
    what: str


NOTHING = Turn(0.0, 0.0, "nothing")


class Turns:
    """The turns of a server that is started after this; one that is started again goes on."""

    def __init__(self, server: Launched, *, over_ms: float = 1.0) -> None:
        """Turns that need `over_ms` or less are not noted."""
        self.file = server.directory / "turns"
        server.program = (*PROGRAM, str(self.file), str(over_ms))

    def noted(self) -> list[Turn]:
        """All that were noted so far, in their order."""
        if not self.file.exists():
            return []
        lines = self.file.read_text().splitlines(keepends=True)
        return [Turn(**json.loads(line)) for line in lines if line.endswith("\n")]

    def longest(self) -> Turn:
        """The one that needed most of the processor; NOTHING if none was noted."""
        return max(self.noted(), key=lambda turn: turn.processor_ms, default=NOTHING)

    def forget(self) -> None:
        """Note anew, as after the start, which is not what is measured."""
        if self.file.exists():
            os.truncate(self.file, 0)


def watch(note: Callable[[Turn], None], *, over_ms: float) -> Callable[[], None]:
    """Have every callback of this process's event loops measured; returns what ends that."""
    real: Callable[[events.Handle], None] = events.Handle._run
    wall_ns, processor_ns = time.perf_counter_ns, time.thread_time_ns

    def run(handle: events.Handle) -> None:
        wall, processor = wall_ns(), processor_ns()
        try:
            real(handle)
        finally:
            processor_ms = (processor_ns() - processor) / 1e6
            wall_ms = (wall_ns() - wall) / 1e6
            if processor_ms > over_ms:
                note(Turn(round(processor_ms, 3), round(wall_ms, 3), repr(handle)))

    def end() -> None:
        setattr(events.Handle, "_run", real)  # noqa: B010  # a slot of typeshed, a function to us

    setattr(events.Handle, "_run", run)  # noqa: B010
    return end


def into(file: Path) -> Callable[[Turn], None]:
    """What appends turns to a file, each with one write."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(turn: Turn) -> None:
        fields: dict[str, Any] = {name: getattr(turn, name) for name in Turn.__slots__}
        os.write(descriptor, json.dumps(fields).encode() + b"\n")

    return note


def main() -> None:
    """Be `understudy`, watched."""
    file, over_ms = sys.argv[1:3]
    del sys.argv[1:3]
    watch(into(Path(file)), over_ms=float(over_ms))
    from nfsd.cli import main as understudy

    understudy()
