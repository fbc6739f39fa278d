"""What a supervisor tells the worker that is its node's standby.

Owns this plain record. Must not know who acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """What the supervisor says to the worker that is its node's standby.

    `clear`: there may be something left over of a process or daemon that died with its part.
    `delay_s` is how long to wait first, because others died quickly. `promote` is in whose name it
    shall try to take over, `after_s` from now; `fenced` is why this node may not serve until somebody says that it
    may, or empty.
    """

    clear: bool
    delay_s: float
    promote: str | None
    after_s: float
    fenced: str
    takeovers: int
    supervisor_pid: int
    beat_s: float | None
