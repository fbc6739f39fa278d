"""`understudy` with boundaries: at one of them the whole node is stopped (SIGSTOP), as a frozen machine is.

    python -m tests.failover.stage standby --config FILE

The environment's UNDERSTUDY_STAGE names a directory. A file `at` in it arms the next request: it has the number of
the boundary to stop at, counted from the one before that request, or 0 to count only. What is passed is appended to
`passed`. Owns the boundaries: before and after each request, commit, system call that changes a file system, and
writing of replies. Must not know what is asked of the server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nfsd.cli import main
from nfsd.compound.dispatch import Dispatcher
from nfsd.rpc.connection import TcpConnection
from nfsd.vfs import data
from statestore import LmdbStore
from tests.once.harness import Boundaries, patched


class Stopper(Boundaries):
    """Stops the process group at a boundary, and goes on when somebody continues it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def _pass(self, name: str) -> None:
        order = self._directory / "at"
        if not self.armed and name == "before request" and order.exists():
            self.arm(int(order.read_text()))
            order.unlink()
        if not self.armed:
            return
        self.passed.append(name)
        with (self._directory / "passed").open("a") as file:
            file.write(f"{name}\n")
        if len(self.passed) == self.deadly:
            self.armed = False
            os.kill(0, signal.SIGSTOP)


def surround(stopper: Stopper, owner: type, method: str, name: str) -> None:
    """Put boundaries around a method."""
    real: Callable[..., Any] = getattr(owner, method)

    def wrapped(self: Any, *given: Any) -> Any:
        return stopper.around(name, lambda: real(self, *given))

    setattr(owner, method, wrapped)


def run() -> None:
    """The command line, with boundaries."""
    stopper = Stopper(Path(os.environ["UNDERSTUDY_STAGE"]))
    surround(stopper, Dispatcher, "dispatch", "request")
    surround(stopper, TcpConnection, "_write", "reply")
    surround(stopper, LmdbStore, "_write", "commit")
    real_write = os.pwrite
    room = {**vars(os), "pwrite": lambda *given: stopper.around("pwrite", lambda: real_write(*given))}
    setattr(data, "os", SimpleNamespace(**room))  # noqa: B010  # A module's import cannot be assigned to otherwise.
    with patched(stopper):
        main()


if __name__ == "__main__":
    run()
