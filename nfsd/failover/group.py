"""The supervisor of a node that is one of several: it stands by, goes on stage, and leaves it again.

Owns what outlives a worker there: the stage the node has reached, the lock of the state directory while this node
holds it, and the decision that this node may not go on by itself. Must not know hooks, addresses or managers: its
workers deal with them (`nfsd.failover.part`).

    stage       a worker says, or it ends                      then
    OFF         entering: it has been told to take over        ENTERING
    ENTERING    serving                                        ON
    ENTERING    ends                                           OFF: the next one tries again if a manager wishes it
    ON          ends                                           ON: the warm one goes on, without asking anybody
    ON          ends with EXIT_FENCED, or we stood still       FENCED
    ON          released: the store is closed                  OFF
    FENCED      entering, or cleared                           ENTERING, OFF
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from nfsd.durable.faults import EXIT_FENCED, EXIT_LATE
from nfsd.failover.service import Notifier
from nfsd.failover.supervisor import EXIT_FAILED, Supervisor, Worker, delay_after
from nfsd.log import get_logger

QUICK_DEATHS_MAX = 5
"""Quick deaths of workers in a row after which the other node shall try."""
RETRY_S = 1.0
"""How long after a failure to take over the next try is made."""

log = get_logger()


class Stage(Enum):
    """How far this node has come."""

    OFF = "off"
    ENTERING = "entering"
    ON = "on"
    FENCED = "fenced"


class StandbySupervisor(Supervisor):
    """Runs the workers of one node of a service group.

    `renew_sockets` closes the listening sockets, with the connections that wait on them for a server that has moved
    away, and opens them again. A node that serves and stands still for longer than `pause_max_s` fences itself.
    """

    def __init__(
        self,
        work: Callable[[socket.socket, int], int],
        *,
        renew_sockets: Callable[[], None],
        pause_max_s: float,
        notifier: Notifier,
        watchdog_s: float | None = None,
    ) -> None:
        super().__init__(work, notifier=notifier, watchdog_s=watchdog_s)
        self._renew_sockets = renew_sockets
        self._pause_max_s = pause_max_s
        self._stage = Stage.OFF
        self._wish: str | None = None
        self._reason = ""
        self._hook = 0
        self._has_stood = False
        self._untidy = True
        self._stood_still_s = 0.0
        self._until = float("inf")

    def _begin(self) -> None:
        self._stand()

    def _stand(self, *, promote: str | None = None, fenced: str = "") -> None:
        """A worker that waits for its node's turn; `promote`: in whose name it shall try at once."""
        worker = self._spawn()
        self._active, self._warm_at = worker, None
        worker.say(
            stand={
                "clear": self._untidy,
                "delay_s": delay_after(self._quick_deaths),
                "promote": promote,
                "after_s": RETRY_S if promote else 0.0,
                "fenced": fenced,
                "takeovers": self._takeovers,
                "supervisor_pid": os.getpid(),
                "beat_s": None if self._watchdog_s is None else self._watchdog_s / 4,
            }
        )

    # -- what workers say -----------------------------------------------------------------------------------

    def _take(self, worker: Worker, message: dict[str, Any], descriptors: list[int]) -> None:
        if worker is self._active:
            if "standing" in message:
                self._stands(worker, str(message["standing"]))
            if "entering" in message:
                self._stage, self._wish, self._untidy = Stage.ENTERING, message["entering"], True
                self._takeovers += 1
            if "hook" in message:
                self._hook = message["hook"]
            if "lock" in message and descriptors:
                self._drop_lock()
                self._lock = descriptors.pop()
            if "serving" in message:
                self._stage = Stage.ON
            if "released" in message:
                self._release(worker)
            if "left" in message:
                self._wish, self._untidy = message["left"], False
            if "cleared" in message:
                self._stage = Stage.OFF
        super()._take(worker, message, descriptors)

    def _stands(self, worker: Worker, role: str) -> None:
        self._has_stood, self._untidy = True, False
        status = f"STATUS={role}, process {worker.pid}"
        self._notifier.tell("READY=1", status)
        if worker.served_since is None:
            # From now on the watchdog may be told that it lives.
            worker.served_since = time.monotonic()

    def _release(self, worker: Worker) -> None:
        self._end_warm()
        self._drop_lock()
        self._stage, self._wish, self._until = Stage.OFF, None, float("inf")
        worker.say(let_go=True)

    def _drop_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- who comes next -------------------------------------------------------------------------------------

    def _replace(self, worker: Worker, code: int | None, noticed: float) -> None:
        """What a worker's end comes to, by the stage: the table in this file's docstring."""
        if self._hook:
            # What its worker ran must not go on: a mount, for instance, while another node takes over.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._hook, signal.SIGKILL)
            self._hook = 0
        if self._stage is Stage.ON:
            self._count_death(worker)
            if self._stood_still_s:
                self._fence(f"this node stood still for about {self._stood_still_s:.2f} s")
            elif code == EXIT_FENCED:
                self._fence("the process that served found that another node may have taken over")
            elif code == EXIT_LATE:
                self._fence("what ran was not finished in time when this node was to let go")
            elif self._quick_deaths > QUICK_DEATHS_MAX:
                self._fence(f"{self._quick_deaths} processes in a row died as soon as they served")
            else:
                self._takeovers += 1
                self._promote(noticed)
            return
        entering = self._stage is Stage.ENTERING
        wish, self._wish = self._wish, None
        if code == EXIT_FENCED and entering:
            self._fence("another node took over while this one tried to")
            return
        if entering:
            self._end_warm()
            self._drop_lock()
            self._stage = Stage.OFF
        elif not self._has_stood:
            # It has said why; what is wrong at the first start does not mend by itself.
            self._exit_code = code or EXIT_FAILED
            return
        else:
            self._count_death(worker)
        if self._stage is Stage.OFF:
            self._renew_sockets()
        self._stand(promote=wish, fenced=self._reason if self._stage is Stage.FENCED else "")

    def _fence(self, reason: str) -> None:
        """Keep this node from serving until it is told to again."""
        self._reason = reason
        log.critical("fenced", reason=reason)
        self._notifier.tell(f"STATUS=fenced: {reason}")
        self._end_warm()
        self._drop_lock()
        self._stage, self._wish, self._stood_still_s, self._until = Stage.FENCED, None, 0.0, float("inf")
        self._renew_sockets()
        self._stand(fenced=reason)

    # -- standing still -------------------------------------------------------------------------------------

    def _patience_s(self) -> float | None:
        patience_s = super()._patience_s()
        if self._stage is not Stage.ON:
            return patience_s
        beat_s = self._pause_max_s / 4
        return beat_s if patience_s is None else min(patience_s, beat_s)

    def _woken(self) -> None:
        """The clock goes on while the machine sleeps."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._stage is Stage.ON and now > self._until and self._active is not None:
            self._stood_still_s = now - self._until + self._pause_max_s
            signal.pidfd_send_signal(self._active.pidfd, signal.SIGKILL)
        self._until = now + self._pause_max_s if self._stage is Stage.ON else float("inf")
