"""A supervisor with its workers, for the tests: started, asked, killed in parts and as a whole.

Owns the processes, their directories and their log. Must not know the protocol.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nfsd.admin.control import ControlError, ask

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 20.0
POLL_S = 0.01
COMMAND = [sys.executable, "-c", "from nfsd.cli import main; main()"]
# Becomes the server with the sockets and the variables that a service manager would pass.
ACTIVATE = """
import os, sys
count = int(sys.argv[1])
for index, descriptor in enumerate(map(int, sys.argv[2:2 + count])):
    os.dup2(descriptor, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="nfs:other")
os.execv(sys.executable, [sys.executable, "-c", "from nfsd.cli import main; main()", *sys.argv[2 + count:]])
"""
_READY = re.compile(rb" on [^ ]*:(\d+);")


def until(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """What `condition` gives as soon as that is true; fails if it never is."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"it never came about that {what}"
        time.sleep(POLL_S)
    return found


def gone(pid: int) -> bool:
    """Whether nothing runs any more under this id; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


class PairProcess:
    """`understudy serve` on `directory`/export and `directory`/state, in a process group of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.export = directory / "export"
        self.state = directory / "state"
        self.log = directory / "server.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        directory.chmod(0o755)
        self.export.mkdir(mode=0o777, exist_ok=True)
        self.export.chmod(0o777)

    def words(self) -> list[str]:
        """The command line after `understudy`."""
        return [
            "serve", "--export", f"{self.export}=/export,rw,insecure,no_root_squash", "--state", str(self.state),
            "--listen", f"127.0.0.1:{self.port}", "--log-file", str(self.log),
        ]  # fmt: skip

    def launch(self, *, environment: dict[str, str] | None = None, passed: list[socket.socket] | None = None) -> None:
        """Start the supervisor, without waiting."""
        command = [*COMMAND, *self.words()]
        descriptors = [sock.fileno() for sock in passed or ()]
        if passed:
            numbers = [str(len(passed)), *map(str, descriptors)]
            command = [sys.executable, "-c", ACTIVATE, *numbers, *self.words()]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})}, start_new_session=True, pass_fds=descriptors,
        )  # fmt: skip

    def start(self, **settings: Any) -> None:
        """Start, and wait until it says that it serves; a later start takes the same port again."""
        self.launch(**settings)
        assert self.process is not None and self.process.stdout is not None
        said = b""
        end_s = time.monotonic() + TIMEOUT_S
        while not (ready := _READY.search(said)):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, end_s - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            assert more, f"the server did not start: {said!r} {self.tail()}"
            said += more
        self.port = int(ready.group(1))

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text()[-4000:] if self.log.exists() else ""

    def status(self) -> dict[str, Any]:
        """What the server says of itself."""
        found: dict[str, Any] = ask(self.state / "control", "status")
        return found

    def settled(self, *, after: int = 0) -> dict[str, Any]:
        """Its status, once an active worker, another one than `after`, has a warm one beside it."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.status()
            except ControlError:
                return None
            return found if found["role"] == "active" and found["warm_pid"] and found["pid"] != after else None

        found: dict[str, Any] = until(look, f"an active worker other than {after} has a warm one:\n{self.tail()}")
        return found

    def kill_active(self) -> int:
        """SIGKILL to the worker that serves; its process id."""
        pid: int = self.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_group(self) -> None:
        """SIGKILL to all of them."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """Wait for the supervisor's end; its exit code."""
        assert self.process is not None
        code = self.process.wait(TIMEOUT_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process = None
        return code

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.end()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines with this event name, oldest first."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line)
        return [line for line in lines if line["event"] == name]
