"""The launcher's reading of a log, and the end of what it started. Without a server."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launcher import Launched, log_events
from tests.support.processes import Child, gone, tail
from tests.support.waiting import NeverCame, until

LINES = '{"event":"a","n":1}\n{"event":"ab","n":2}\n{"event":"b","n":3}\n{"event":"a","n":4}\n{"event":"a","n'


class Program(Launched):
    """A Python program in place of a server."""

    program = (sys.executable, "-c")
    text = ""

    def words(self) -> list[str]:
        """The program's text."""
        return [self.text]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program that is not started yet."""
    return Program(tmp_path)


def test_log_events(tmp_path: Path) -> None:
    """Only whole lines count, by the whole name of the event, in the order of the log."""
    log = tmp_path / "log"
    assert list(log_events(log, "a")) == []
    log.write_text(LINES)
    assert [event["n"] for event in log_events(log, "a")] == [1, 4]
    assert [event["n"] for event in log_events(log, "b", "a")] == [1, 3, 4]
    assert [event["n"] for event in log_events(log)] == [1, 2, 3, 4]


def test_start_ready(program: Program) -> None:
    """The port is the one that the first line of its output names; a stop is by SIGTERM."""
    program.text = "import signal; print('x serves on 127.0.0.1:4711; more', flush=True); signal.pause()"
    program.start()
    assert program.port == 4711 and program.alive() and program.poll() is None
    assert program.stop() == program.exit_code == -signal.SIGTERM
    assert not program.alive() and program.stop() == 0


def test_start_fails(program: Program) -> None:
    """A program that ends is told with its own words, and with its own exit code."""
    program.text = "import sys; print('not today', file=sys.stderr); sys.exit(3)"
    with pytest.raises(RuntimeError, match="not today"):
        program.start()
    assert program.exit_code == 3 and not program.alive()


def test_start_silent(program: Program) -> None:
    """A program that says nothing is ended when its time is over."""
    program.text = "import signal; signal.pause()"
    program.start_timeout_s = 0.0
    with pytest.raises(RuntimeError, match="did not start"):
        program.start()
    assert program.exit_code == -signal.SIGKILL


def test_child_stop_by_force(tmp_path: Path) -> None:
    """What does not end by SIGTERM is killed."""
    text = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"deaf\n"
    child = Child("deaf", process, tmp_path / "none")
    assert child.stop(0.05) == -signal.SIGKILL
    assert gone(child.pid) and not child.alive()


def test_tail(tmp_path: Path) -> None:
    """The end of a file, whatever there is of it."""
    file = tmp_path / "file"
    assert tail(file) == ""
    file.write_text("0123456789")
    assert tail(file, 4) == "6789" and tail(file, 100) == "0123456789"


def test_until() -> None:
    """What a condition gives is returned at once; one that stays false is told with its reason, made at the end."""
    values = iter([0, "", "there"])
    assert until(lambda: next(values), "it is there", poll_s=0.0) == "there"
    with pytest.raises(NeverCame, match="that it is there: late"):
        until(lambda: False, lambda: "it is there: late", 0.0)
    with pytest.raises(ValueError, match="never"):
        until(lambda: False, "it is there", 0.0, error=ValueError)
