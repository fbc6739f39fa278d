"""Processes that a test started, known by their ids: whether they run, how they end, what they left in files.

Must not know what the processes do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

STOP_TIMEOUT_S = 10.0


def tail(path: Path, size_max: int = 6000) -> str:
    """The last part of a text file, or an empty string if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - size_max))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gone(pid: int) -> bool:
    """Whether nothing runs any more under this id; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


class Child:
    """A process of ours, its output in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name = name
        self.process = process
        self.output = output

    @property
    def pid(self) -> int:
        """The process id on the host."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self.process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send every process of its group a signal, if any lives; it must lead a group of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end; its exit code (negative: the signal).

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        code = self.process.wait(timeout_s)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End it politely, then by force; its exit code (negative: the signal)."""
        if self.alive():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(timeout_s)
            return self.kill()
        return self.wait(timeout_s)

    def kill(self) -> int:
        """End it at once; its exit code."""
        if self.alive():
            self.process.kill()
        return self.wait()
