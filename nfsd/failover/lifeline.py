"""A process that dies at once when the one that made it dies, whatever it is doing.

Owns the two ways in which the kernel is asked for that. Must not know why.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal

_PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int, life: int) -> None:
    """Have this process killed with SIGKILL as soon as its parent dies.

    `life` is the reading end of a pipe, of this process alone, whose writing end only the parent has; nothing
    is ever written to it. The kernel forgets PR_SET_PDEATHSIG (prctl(2)) when a process changes its fsuid, as
    the server does for every caller; the signal of the pipe's end (F_SETSIG, fcntl(2)) stays.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    # The parent may have died before any of this.
    poll = select.poll()
    poll.register(life, select.POLLIN)
    if poll.poll(0) or os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
