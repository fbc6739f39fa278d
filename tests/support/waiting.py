"""Waiting for something to come about: the one place in the tests where a poll sleeps.

What happens in another process cannot wake us: it shows in a log, a file, a table of the kernel. So it is looked at
again and again, with a deadline, and a test goes on at once when it is there. Where there is something to wait for (a
socket, a process, a thread), that is waited for instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
TIMEOUT_S = 20.0
POLL_S = 0.01


class NeverCame(AssertionError):
    """What a test waited for did not come about in time."""


def until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    timeout_s: float = TIMEOUT_S,
    poll_s: float = POLL_S,
    error: type[Exception] = NeverCame,
) -> T:
    """What `condition` gives as soon as that is true.

    `what` completes "it never came about that"; a function is asked for it only then, so that it can tell of the end.

    Raises:
        NeverCame: or another `error`, if it was not true within `timeout_s` seconds.
    """
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() >= end_s:
            raise error(f"it never came about that {what if isinstance(what, str) else what()}")
        # Nothing can be awaited here: see above.
        time.sleep(poll_s)
    return found


def watch(look: Callable[[], T], done: Callable[[T], bool], timeout_s: float, poll_s: float = POLL_S) -> T:
    """What `look` gives once `done` is true of it, or what it gives when the time is over: the caller judges that."""
    end_s = time.monotonic() + timeout_s
    while not done(found := look()) and time.monotonic() < end_s:
        # Nothing can be awaited here either.
        time.sleep(poll_s)
    return found


def let_pass(seconds: float, why: str) -> None:
    """Let time go by where time itself is what is tested: a quiet time, the distance between kills, that nothing comes.

    Never to wait for something: that is `until`'s. `why` completes "time passes, because"; it is for the reader.
    """
    if not why:
        raise ValueError("time passes for a reason")
    time.sleep(max(0.0, seconds))
