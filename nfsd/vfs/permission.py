"""Who may do what: Linux's rules of owner, group and other, as functions of numbers alone.

Owns these rules for trees that no kernel watches over. It must not know where an object is kept or how it is
changed: it gets mode, owner and group, and whoever asks. User 0 has every capability that such rules know.
"""

from __future__ import annotations

import stat as stat_bits
from typing import Final, Protocol

from nfsd.vfs.interface import Credentials

READ: Final = 4
WRITE: Final = 2
EXECUTE: Final = 1
_ANY_EXECUTE: Final = 0o111
_RUNS_AS_GROUP: Final = stat_bits.S_ISGID | stat_bits.S_IXGRP


class Owned(Protocol):
    """What the rules look at."""

    kind: int
    mode: int
    uid: int
    gid: int


def in_group(gid: int, cred: Credentials) -> bool:
    """Return whether a group is one of the caller's."""
    return gid == cred.gid or gid in cred.groups


def granted(what: Owned, cred: Credentials) -> int:
    """Return the permissions (READ, WRITE, EXECUTE) that the caller has on an object.

    The first class that fits decides, also where another would give more. User 0 may all but execute a file that
    nobody may execute.
    """
    if what.kind == stat_bits.S_IFLNK:
        return READ | WRITE | EXECUTE
    if cred.uid == 0:
        executes = what.kind == stat_bits.S_IFDIR or what.mode & _ANY_EXECUTE
        return READ | WRITE | EXECUTE if executes else READ | WRITE
    if cred.uid == what.uid:
        return what.mode >> 6 & 7
    return what.mode >> 3 & 7 if in_group(what.gid, cred) else what.mode & 7


def is_owner(what: Owned, cred: Credentials) -> bool:
    """Return whether the caller may do what is the owner's: change the mode and the times."""
    return cred.uid in (0, what.uid)


def sticky_forbids(directory: Owned, what: Owned, cred: Credentials) -> bool:
    """Return whether a directory's sticky bit keeps the caller from removing an object or moving it."""
    return bool(directory.mode & stat_bits.S_ISVTX) and cred.uid not in (0, what.uid, directory.uid)


def may_link(what: Owned, cred: Credentials) -> bool:
    """Return whether the caller may give an object one more name, by the rule of fs.protected_hardlinks (proc(5)).

    Who does not own it must be able to read and write it, and it must be a file that nobody runs as somebody else.
    """
    if is_owner(what, cred):
        return True
    runs_as_other = what.mode & stat_bits.S_ISUID or what.mode & _RUNS_AS_GROUP == _RUNS_AS_GROUP
    is_plain = what.kind == stat_bits.S_IFREG and not runs_as_other
    return is_plain and granted(what, cred) & (READ | WRITE) == READ | WRITE


def may_change_owner(what: Owned, cred: Credentials, uid: int, gid: int) -> bool:
    """Return whether the caller may make an object a user's and a group's.

    An owner may give it to a group of the caller's own; user 0 may do everything.
    """
    if cred.uid == 0:
        return True
    return cred.uid == what.uid == uid and (gid == what.gid or in_group(gid, cred))


def new_group_and_mode(directory: Owned, cred: Credentials, kind: int, mode: int) -> tuple[int, int]:
    """Return (group, mode) of a new object: a set-group-id directory hands its group down, and to directories the bit.

    A program's set-group-id bit is lost where the group that it would get is not one of the maker's.
    """
    if not directory.mode & stat_bits.S_ISGID:
        return cred.gid, mode
    if kind == stat_bits.S_IFDIR:
        mode |= stat_bits.S_ISGID
    elif mode & _RUNS_AS_GROUP == _RUNS_AS_GROUP and cred.uid and not in_group(directory.gid, cred):
        mode &= ~stat_bits.S_ISGID
    return directory.gid, mode


def allowed_mode(what: Owned, cred: Credentials, mode: int) -> int:
    """Return the mode that chmod(2) sets: without set-group-id for a group that is not the caller's."""
    if cred.uid and not in_group(what.gid, cred):
        return mode & ~stat_bits.S_ISGID
    return mode


def without_setid(mode: int) -> int:
    """Return a file's mode after its data was changed: nobody runs it as somebody else any more.

    Set-group-id without the group's execute bit means something else (mandatory locking) and stays.
    """
    mode &= ~stat_bits.S_ISUID
    return mode & ~stat_bits.S_ISGID if mode & stat_bits.S_IXGRP else mode


def changed_mode(mode: int, gid: int, cred: Credentials) -> int:
    """Return the mode of a file after the caller changed its data; strangers to its group leave no set-id bit.

    User 0 leaves all of them.
    """
    if cred.uid == 0:
        return mode
    mode = without_setid(mode)
    return mode if in_group(gid, cred) else mode & ~stat_bits.S_ISGID


def given_mode(what: Owned, cred: Credentials) -> int:
    """Return a file's mode after the caller changed its owner or group, which takes set-id bits away for user 0 too."""
    return changed_mode(without_setid(what.mode), what.gid, cred)
