"""What stops the process: memory that may be ahead of the disk, or in a state that nobody knows.

Owns the decision and the line in the log.  Nothing more is answered; the next process resumes from what is durable.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, NoReturn

from nfsd.log import get_logger, limiter
from statestore import StoreFenced

log = get_logger()

EXIT_FAULT: Final = 70  # sysexits.h: EX_SOFTWARE
EXIT_FENCED: Final = 77
"""Another node may have taken over: whoever started this process must not start another in its place."""

EXIT_LATE: Final = 78
"""What ran could not be finished in time, and may run until the process has ended."""


class Faults:
    """The process's ways to end itself, by `stop(exit code)`, which does not return."""

    def __init__(self, stop: Callable[[int], NoReturn] = os._exit) -> None:
        self._stop = stop

    def store_failed(self, error: BaseException) -> None:
        """Memory is ahead of the disk and nobody knows how far: stop, answer nothing more."""
        if isinstance(error, StoreFenced):
            self.fenced(str(error))
        log.critical("store.failed", reason=str(error))
        self._stop(EXIT_FAULT)

    def fenced(self, reason: str) -> NoReturn:
        """Another may serve now: write nothing, answer nothing, stop."""
        log.critical("fenced", reason=reason)
        self._stop(EXIT_FENCED)

    def sync_failed(self, error: BaseException) -> NoReturn:
        """A change of a file system that was made may not be on the disk, and nobody can tell: stop."""
        log.critical("sync.failed", reason=f"{error}; make room or repair the disk, start again")
        self._stop(EXIT_FAULT)

    def keeper_lost(self, reason: str) -> NoReturn:
        """What a tree's keeper was doing may be done or not, and only the next start asks: stop."""
        log.critical("keeper.lost", reason=reason)
        self._stop(EXIT_FAULT)

    def fault(self, operation: str, peer: str, error: BaseException, *, harmless: bool) -> None:
        """A fault of ours in an operation.  In the middle of a change nobody knows what memory holds: stop.

        A `harmless` one came before anything was changed: it is logged, and its caller answers SERVERFAULT.
        """
        log.critical("server.fault", operation=operation, peer=peer, reason=repr(error), exc_info=error)
        if not harmless:
            self._stop(EXIT_FAULT)

    def loop_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: of a connection's peer, or a fault of ours, which stops the process."""
        error = context.get("exception")
        if isinstance(error, OSError):
            limiter.write("warning", "connection.error", about="", reason=str(error))
            return
        log.critical("server.fault", operation="loop", reason=context.get("message", ""), exc_info=error)
        self._stop(EXIT_FAULT)
