"""A supervisor with its workers, for the tests: started, asked, killed in parts and as a whole.

Owns their directories and the sockets that they are given. Must not know the protocol.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.control import ControlError
from tests.support.launcher import COMMAND, Launched
from tests.support.waiting import until

# Becomes the server with the sockets and the variables that a service manager would pass.
ACTIVATE = f"""
import os, sys
count = int(sys.argv[1])
for index, descriptor in enumerate(map(int, sys.argv[2:2 + count])):
    os.dup2(descriptor, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="nfs:other")
os.execv(sys.executable, [*{COMMAND!r}, *sys.argv[2 + count:]])
"""


class PairProcess(Launched):
    """`understudy serve` on `directory`/export and `directory`/state, in a process group of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.export = directory / "export"
        self._passed: tuple[int, ...] = ()
        directory.chmod(0o755)
        self.export.mkdir(mode=0o777, exist_ok=True)
        self.export.chmod(0o777)

    def words(self) -> list[str]:
        """The command line after `understudy`."""
        return [
            "serve", "--export", f"{self.export}=/export,rw,insecure,no_root_squash", "--state", str(self.state),
            "--listen", f"127.0.0.1:{self.port}", "--log-file", str(self.log),
        ]  # fmt: skip

    def command(self) -> list[str]:
        """The server, or what becomes the server once it has arranged the descriptors that it was passed."""
        if not self._passed:
            return super().command()
        numbers = map(str, (len(self._passed), *self._passed))
        return [sys.executable, "-c", ACTIVATE, *numbers, *self.words()]

    def start_with(self, passed: Sequence[socket.socket], environment: Mapping[str, str] | None = None) -> None:
        """Start it with sockets as a service manager passes them, and wait until it serves."""
        self._passed = tuple(each.fileno() for each in passed)
        self.launch(environment=environment, passed=self._passed)
        self.wait_ready()
        self._passed = ()

    def settled(self, *, after: int = 0) -> dict[str, Any]:
        """What the pair says of itself, once an active worker, another one than `after`, has a warm one beside it."""

        def look() -> dict[str, Any] | None:
            try:
                found = self.status()
            except ControlError:
                return None
            return found if found["role"] == "active" and found["warm_pid"] and found["pid"] != after else None

        found = until(
            look,
            lambda: f"an active worker other than {after} has a warm one:\n{self.report()}",
            self.start_timeout_s,
        )
        assert found is not None
        return found

    def kill_active(self) -> int:
        """SIGKILL to the worker that serves; its process id."""
        pid: int = self.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid
