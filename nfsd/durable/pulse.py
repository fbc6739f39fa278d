"""A process that notices that it stood still, and stops before it does anything more.

Owns one deadline, put off several times a second while the event loop turns. A process that was stopped for longer
(a frozen virtual machine, SIGSTOP, a disk that hung) finds it passed at its next check: another node may have taken
over meanwhile. That is a hint, no fence: a pause after a check, and before what it allowed, is not noticed.
Must not know what is checked before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BEATS = 5
"""How often the deadline is put off within the longest pause allowed."""


class Pulse:
    """`stop(reason)` is called, and must not return, when this process stood still for more than `pause_max_s`."""

    __slots__ = ("_pause_max_s", "_stop", "_until", "_later")

    def __init__(self, pause_max_s: float, stop: Callable[[str], None]) -> None:
        self._pause_max_s = pause_max_s
        self._stop = stop
        self._until = float("inf")
        self._later: Callable[..., object]

    def begin(self, later: Callable[..., object]) -> None:
        """Beat from now on, by `later(seconds, function)`, the event loop's call_later."""
        self._later = later
        self._beat()

    def check(self) -> None:
        """Stop if the deadline has passed.  The clock goes on while the machine sleeps."""
        late_s = time.clock_gettime(time.CLOCK_BOOTTIME) - self._until
        if late_s > 0:
            paused_s = self._pause_max_s + late_s
            self._stop(f"this process stood still for about {paused_s:.2f} s: another node may have taken over")

    def _beat(self) -> None:
        self.check()
        self._until = time.clock_gettime(time.CLOCK_BOOTTIME) + self._pause_max_s
        self._later(self._pause_max_s / BEATS, self._beat)
