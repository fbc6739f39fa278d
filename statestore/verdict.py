"""The filter's answer to a request that is not free.

Owns what a verdict says. It must not know what a service makes of it: a status, a log line, the end of a holder.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Generic

from statestore.blackout import Blackout
from statestore.model import HolderT, OpenT
from statestore.ranges import Range


class Answer(Enum):
    """What a request comes to."""

    REFUSED = "refused"
    """What is in the way stands."""
    WAIT = "wait"
    """What is in the way may go or be settled by `until`: ask again."""


class Why(Enum):
    """What is in the way."""

    SHARE = "share"
    """An open: `open`."""
    RANGE = "range"
    """A range that another party holds: `range`."""
    CLAIM = "claim"
    """Opens of before, which their holders may still claim."""
    BLACKOUT = "blackout"
    """A blackout that somebody has set: `blackout`, whose subject says of what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Generic[HolderT, OpenT]):
    """Why a request on `object` is not free.

    `until` is when the blackout ends that has a part in it, by the service's clock, whatever the answer is; 0.0 where
    none has: only then nothing was counted. `holder` is who is in the way, if there is one that is known; `waits_for`
    has the keys of the holders that may still come back.
    """

    answer: Answer
    why: Why
    object: bytes
    until: float = 0.0
    open: OpenT | None = None
    range: Range | None = None
    holder: HolderT | None = None
    blackout: Blackout | None = None
    waits_for: tuple[bytes, ...] = ()
