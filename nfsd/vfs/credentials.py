"""Who the calling thread is for the kernel's permission checks.

Owns the thread's file system user, group and supplementary groups, and the record of them, so that nothing is
switched that is right already. It must not know squashing: what it gets is whom to become.

Only setfsuid, setfsgid and the raw setgroups are used: they change one thread, not the process. Becoming an
ordinary user drops the file system capabilities of this thread; becoming user 0 again brings them back.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Final

from nfsd.vfs import syscalls
from nfsd.vfs.interface import Credentials

_INVALID_ID: Final = 0xFFFF_FFFF
_CAP_SETGID: Final = 6
_CAP_SETUID: Final = 7


class _Identity(threading.local):
    """What this thread was made to be last; unknown at first, as a new thread inherits its maker's."""

    cred: Credentials | None = None
    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] | None = None


class _Process:
    """What the process is able to do; see `configure`."""

    switching: bool = False
    verifying: bool = True


identity: Final = _Identity()
_process: Final = _Process()


def configure() -> bool:
    """Find out whether this process can act as its callers, and remember it. Returns the answer.

    It can as root with CAP_SETUID and CAP_SETGID, in a user namespace that has more than one user. Otherwise
    every operation runs as the server's own user.
    """
    ids = _mapped_ids()
    _process.switching = os.geteuid() == 0 and _has_capabilities() and ids > 1 and syscalls.setgroups_number is not None
    # Where ids are mapped, an id without a mapping is refused in silence: there every switch is read back.
    _process.verifying = ids < _INVALID_ID
    identity.cred = None
    identity.uid = identity.gid = -1
    identity.groups = None
    return _process.switching


def switching() -> bool:
    """Return whether operations run as their callers."""
    return _process.switching


def become(cred: Credentials) -> None:
    """Make this thread the caller. Raises PermissionError for an id that this system does not have."""
    if identity.cred is cred or not _process.switching:
        return
    if cred.uid == _INVALID_ID or cred.gid == _INVALID_ID:
        raise PermissionError(errno.EPERM, "user or group id 4294967295 is nobody's")
    own = identity
    own.cred = None
    if own.groups != cred.groups:
        own.groups = None
        syscalls.set_groups(cred.groups)
        own.groups = cred.groups
    if own.gid != cred.gid:
        own.gid = -1
        syscalls.setfsgid(cred.gid)
        _verify(syscalls.setfsgid, cred.gid)
        own.gid = cred.gid
    if own.uid != cred.uid:
        own.uid = -1
        syscalls.setfsuid(cred.uid)
        _verify(syscalls.setfsuid, cred.uid)
        own.uid = cred.uid
    own.cred = cred


def as_server() -> None:
    """Make this thread user 0 with its capabilities again; group ids may stay the last caller's.

    To be called before the server opens files of its own in a thread that served callers.
    """
    own = identity
    if own.uid != 0 and _process.switching:
        own.cred = None
        own.uid = -1
        syscalls.setfsuid(0)
        own.uid = 0


def _verify(call: object, wanted: int) -> None:
    """Read an identity back. Raises PermissionError when the switch was refused: the call cannot say so."""
    if _process.verifying and call(-1) & _INVALID_ID != wanted:  # type: ignore[operator]
        raise PermissionError(errno.EPERM, f"the id {wanted} does not exist in this user namespace")


def _has_capabilities() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
                return bool(effective >> _CAP_SETUID & 1 and effective >> _CAP_SETGID & 1)
    return False


def _mapped_ids() -> int:
    """Return how many user ids this user namespace has; all of them outside any container."""
    with open("/proc/self/uid_map", encoding="ascii") as uid_map:
        return sum(int(line.split()[2]) for line in uid_map)
