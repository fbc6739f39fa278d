"""Who the calling thread is for the kernel's permission checks.

Owns the thread's file system user, group and supplementary groups, and the record of them, so that nothing is
switched that is right already. It must not know squashing: what it gets is whom to become.

Only setfsuid, setfsgid and the raw setgroups are used: they change one thread, not the process. Becoming an
ordinary user drops the file system capabilities of this thread; becoming user 0 again brings them back.

A thread is a caller only while it evaluates requests. Whoever has it do so MUST call `leave` when the evaluation
ends or waits: the event loop's thread after what one connection has read, a thread of the pool after each work. So
whatever else runs in them (signals, timers, commands, the store) runs as the server, and a stream of one caller's
requests costs two switches for each read. Group ids stay the last caller's until somebody needs the server's own:
they are of no account while files are opened as user 0, only for whose new files and processes are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import Final

from nfsd import log as logging_
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
    # This module is imported before any thread becomes somebody.
    gid: int = os.getegid()
    groups: tuple[int, ...] = tuple(os.getgroups())


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
    # A line may be logged in the middle of a request, and its file be opened anew for it.
    logging_.open_within(itself)
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

    To be called within a request before what the server does by its own right: opening what a handle names, tombs.
    """
    own = identity
    if own.uid != 0 and _process.switching:
        own.cred = None
        own.uid = -1
        syscalls.setfsuid(0)
        own.uid = 0


def leave() -> None:
    """End what this thread did as a caller; MUST follow each evaluation of requests, and each work in a thread."""
    if identity.uid:
        as_server()


def as_itself() -> None:
    """Make this thread the server in every respect: user, group, supplementary groups.

    To be called before the server makes files of its own.
    """
    as_server()
    own = identity
    if not _process.switching:
        return
    if own.gid != _process.gid:
        own.gid = -1
        syscalls.setfsgid(_process.gid)
        own.gid = _process.gid
    if own.groups != _process.groups:
        own.groups = None
        syscalls.set_groups(_process.groups)
        own.groups = _process.groups


@contextlib.contextmanager
def itself() -> Iterator[None]:
    """Be the server for a moment, in the middle of a request too; then be again whom this thread was.

    Raises OSError where it cannot be: then it is the server.
    """
    caller = identity.cred
    as_itself()
    try:
        yield
    finally:
        if caller is not None:
            become(caller)


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
