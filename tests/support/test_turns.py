"""The watch over turns of an event loop bites, and lets what is short pass."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.support.turns import NOTHING, Turn, Turns, into, watch
from tests.wire.server import ServerProcess


def busy(milliseconds: float) -> None:
    """Need so much of the processor."""
    end = time.thread_time_ns() + milliseconds * 1e6
    while time.thread_time_ns() < end:
        pass


def test_long_callbacks_are_noted() -> None:
    """A callback that holds the loop is noted with what it was, short ones and pauses are not."""
    noted: list[Turn] = []
    end = watch(noted.append, over_ms=20)
    try:
        loop = asyncio.new_event_loop()
        loop.call_soon(busy, 1)
        loop.call_soon(busy, 30)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    finally:
        end()
    [turn] = noted
    assert 30 <= turn.processor_ms and "busy" in turn.what
    assert turn.wall_ms > 29


def test_turns_of_a_server(tmp_path: Path) -> None:
    """A server that is watched says its turns; what was noted before can be forgotten."""
    server = ServerProcess(tmp_path)
    turns = Turns(server, over_ms=0)
    assert turns.longest() == NOTHING
    server.start()
    try:
        assert len(turns.noted()) > 1
        assert turns.longest().what != NOTHING.what
        turns.forget()
        note = into(turns.file)
        note(Turn(10_000.0, 2.0, "a long one"))
        assert turns.longest() == Turn(10_000.0, 2.0, "a long one")
    finally:
        server.stop()
