"""What stops the process: memory that may be ahead of the disk, or in a state that nobody knows.

Owns the decision and the line in the log.  Nothing more is answered; the next process resumes from what is durable.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from nfsd.log import get_logger, limiter
from statestore import StoreFenced

if TYPE_CHECKING:
    from nfsd.compound import Compound
    from nfsd.table import Operation

log = get_logger()

EXIT_FAULT = 70  # sysexits.h: EX_SOFTWARE
EXIT_FENCED = 77
"""Another node may have taken over: whoever started this process must not start another in its place."""

EXIT_LATE = 78
"""What ran could not be finished in time, and may run until the process has ended."""


class Faults:
    """The server's ways to end itself."""

    def store_failed(self, error: BaseException) -> None:
        """Memory is ahead of the disk and nobody knows how far: stop, answer nothing more."""
        if isinstance(error, StoreFenced):
            self.fenced(str(error))
        log.critical("store.failed", reason=str(error))
        os._exit(EXIT_FAULT)

    def fenced(self, reason: str) -> None:
        """Another may serve now: write nothing, answer nothing, stop."""
        log.critical("fenced", reason=reason)
        os._exit(EXIT_FENCED)

    def sync_failed(self, error: BaseException) -> None:
        """A change of a file system that was made may not be on the disk, and nobody can tell: stop."""
        log.critical("sync.failed", reason=f"{error}; make room or repair the disk, start again")
        os._exit(EXIT_FAULT)

    def fault(self, compound: Compound, operation: Operation, error: BaseException) -> None:
        """A fault of ours.  In the middle of a change nobody knows what memory holds: the process stops.

        An operation that changes nothing can do no such harm: it is answered SERVERFAULT and logged.
        """
        log.critical(
            "server.fault",
            operation=operation.name,
            peer=compound.connection.peer,
            reason=repr(error),
            exc_info=error,
        )
        if operation.modifies or compound.changes:
            os._exit(EXIT_FAULT)

    def loop_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: of a connection's peer, or a fault of ours, which stops the process."""
        error = context.get("exception")
        if isinstance(error, OSError):
            limiter.write("warning", "connection.error", about="", reason=str(error))
            return
        log.critical("server.fault", operation="loop", reason=context.get("message", ""), exc_info=error)
        os._exit(EXIT_FAULT)
