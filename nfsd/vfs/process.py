"""What the process needs before it serves files: no umask, and room for descriptors.

Owns these two settings of the process. It must not know what the descriptors are for.
"""

from __future__ import annotations

import os
import resource
from typing import Final

DESCRIPTORS_WANTED: Final = 1 << 18
"""Enough for every cached node's path descriptor; the kernel's own limit (fs.nr_open) is 2**20 by default."""


def prepare_process() -> int:
    """Set the umask to 0 (clients send whole modes), raise RLIMIT_NOFILE; return the descriptors allowed."""
    os.umask(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted_hard in (max(hard, DESCRIPTORS_WANTED), hard):
        if hard == resource.RLIM_INFINITY:
            wanted_hard = hard
        wanted = DESCRIPTORS_WANTED if wanted_hard == resource.RLIM_INFINITY else wanted_hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted_hard))
        except (ValueError, OSError):
            continue
        return wanted
    return soft
