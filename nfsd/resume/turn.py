"""A process's turn to serve: what it is told when it begins, and how long each phase of beginning takes.

Owns these two records. Must not know who tells, nor what the phases do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Turn:
    """What the supervisor says when it is a worker's turn to serve; `warm_pid` changes while it lasts.

    `noticed` is when the end of the worker before it was noticed (monotonic clock, seconds); None at the first
    start. `takeovers` counts this turn.
    """

    first: bool
    noticed: float | None
    delay_s: float
    takeovers: int
    supervisor_pid: int
    beat_s: float | None = None
    warm_pid: int | None = None
    phases: Phases | None = None
    """What has been counted already of a takeover from another node."""


class Phases:
    """Seconds of each phase of a start, in their order, and of all together, counted from `noticed`."""

    def __init__(self, noticed: float | None) -> None:
        self._last = time.monotonic()
        self._processor_s = time.process_time()
        self._began = self._last if noticed is None else noticed
        self._phases: dict[str, float] = {}
        if noticed is not None:
            self._phases["detect"] = self._last - noticed

    def end(self, phase: str) -> None:
        """A phase has ended, and the next one begins."""
        now = time.monotonic()
        self._phases[phase] = now - self._last
        self._last = now

    def processor_s(self) -> float:
        """Processor time of the phases, without waiting for others on a busy machine."""
        return round(time.process_time() - self._processor_s, 6)

    def all(self) -> dict[str, float]:
        """Every phase, and `total`; to the microsecond."""
        phases = {**self._phases, "total": self._last - self._began}
        return {phase: round(seconds, 6) for phase, seconds in phases.items()}
