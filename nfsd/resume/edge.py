"""The edge: clocks and randomness, which the core is given and never fetches itself.

Owns the list of them.  A simulation gives its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CLOCK_REALTIME_COARSE: Final = 5  # linux/time.h; the time module does not name it
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What one process gets from the machine that it runs on.

    `boot_id` is other bytes after each start of the machine.
    """

    now: Callable[[], float]
    """Seconds of a clock that never jumps and goes on while the machine sleeps."""
    file_ns: Callable[[], int]
    """Nanoseconds since 1970 of the clock that files' times are taken from, which advances by ticks."""
    wall_ns: Callable[[], int]
    """Nanoseconds since 1970."""
    random_bytes: Callable[[int], bytes]
    """That many bytes, which nobody can guess."""
    boot_id: bytes


def of_this_machine() -> Edge:
    """The clocks and the randomness of this machine."""
    return Edge(
        now=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        file_ns=lambda: time.clock_gettime_ns(_CLOCK_REALTIME_COARSE),
        wall_ns=time.time_ns,
        random_bytes=os.urandom,
        boot_id=_BOOT_ID.read_bytes(),
    )
