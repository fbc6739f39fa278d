"""What the process needs before it serves files, and nothing more: no umask, room for descriptors, few privileges.

Owns these settings of the process. It must not know what the descriptors are for.
"""

from __future__ import annotations

import os
import resource
from enum import IntEnum
from typing import Final

from nfsd.vfs import syscalls

DESCRIPTORS_WANTED: Final = 1 << 18
"""Enough for every cached node's path descriptor; the kernel's own limit (fs.nr_open) is 2**20 by default."""


class Capability(IntEnum):
    """The capabilities that a serving process keeps, by their numbers in linux/capability.h, and what for."""

    CHOWN = 0
    """SETATTR of owner and group, by root on a client."""
    DAC_OVERRIDE = 1
    """Root on a client; data of a file that was opened before its mode changed; the server's own files."""
    DAC_READ_SEARCH = 2
    """open_by_handle_at: finding what a file handle names."""
    FOWNER = 3
    """SETATTR of mode and times by root on a client; sticky directories."""
    FSETID = 4
    """Set-group-id bits that root on a client sets."""
    SETGID = 6
    """setfsgid, setgroups: acting as a caller."""
    SETUID = 7
    """setfsuid: acting as a caller."""
    NET_BIND_SERVICE = 10
    """Listening below port 1024."""
    MKNOD = 27
    """CREATE of devices, by root on a client."""


_SETPCAP: Final = 8


def confine() -> None:
    """Give up all privileges but `Capability`'s, for good; nothing that this process starts gets any other.

    CAP_SYS_RESOURCE above all: with it in effect no caller's quota holds, and anybody may use the blocks that a file
    system keeps for root. MUST be called while the process has one thread: a capability is a thread's. Comes after
    `prepare_process`, which may raise limits by it. Without CAP_SETPCAP, as under a service manager that has bounded
    them, the bounding set stays; no new privileges come out of it either way. Raises OSError.
    """
    prepare_process()
    kept = sum(1 << capability for capability in Capability)
    effective, permitted = syscalls.capabilities()
    syscalls.forbid_new_privileges()
    if effective >> _SETPCAP & 1:
        syscalls.bound_capabilities(kept)
    syscalls.set_capabilities(effective & kept, permitted & kept)


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
