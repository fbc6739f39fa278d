"""A file system whose machine loses power: what was changed and not synced since is undone, up to a point of choice.

Owns the changes that are not on the disk yet, each with the objects whose fsync would bring it there, and how to undo
it with the same inodes as before: a name that goes is moved to a hidden place, and really goes once that is safe.
Must not know the server.  The changes that survive a loss are the first ones, as a journal keeps them.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
MAKING = frozenset({"mkdir", "symlink", "mknod", "link", "open"})


def nothing() -> None:
    """What there is to do where the change needs no more."""


@dataclass
class Change:
    """One change: which inodes' syncs it waits for, how it is undone, and what is left to do when it is not."""

    name: str
    waits_for: set[int]
    undo: Work
    settle: Work = nothing


class Stat:
    """A stat_result with fewer links."""

    def __init__(self, real: os.stat_result, links: int) -> None:
        self._real = real
        self.st_nlink = links

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Disk:
    """The changes of one world that a loss of power would undo."""

    def __init__(self, hidden: Path) -> None:
        hidden.mkdir()
        self._hidden = hidden
        self._links: Counter[int] = Counter()
        self._numbers = count()
        self._descriptors: list[int] = []
        self.pending: list[Change] = []

    def close(self) -> None:
        """Forget everything."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _hold(self, descriptor: int) -> int:
        """A descriptor of one's own: the server's is closed when it dies."""
        self._descriptors.append(os.dup(descriptor))
        return self._descriptors[-1]

    # -- while the machine runs -----------------------------------------------------------------------------

    def stat(self, real: Callable[..., os.stat_result], *given: Any, **named: Any) -> Any:
        """stat or fstat without the hidden names."""
        found = real(*given, **named)
        hidden = self._links[found.st_ino]
        if not hidden:
            return found
        return Stat(found, 0 if stat.S_ISDIR(found.st_mode) else found.st_nlink - hidden)

    def fsync(self, descriptor: int) -> None:
        """fsync: what waited for this object only is on the disk."""
        inode = os.fstat(descriptor).st_ino
        for change in self.pending:
            change.waits_for.discard(inode)
        for change in [change for change in self.pending if not change.waits_for]:
            change.settle()
            self.pending.remove(change)

    def change(self, name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A system call that changes the file system."""
        if name in MAKING:
            return self._make(name, real, given, named)
        if name in ("unlink", "rmdir"):
            return self._unname(name, real, given, named["dir_fd"])
        if name == "rename":
            return self._rename(real, given, named["src_dir_fd"], named["dst_dir_fd"])
        return self._set(name, real, given, named)

    def _make(self, name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        path = given[1] if name in ("symlink", "link") else given[0]
        parent = named["dst_dir_fd"] if name == "link" else named.get("dir_fd")
        if parent is None or name == "open" and _exists(path, parent):
            return real(*given, **named)
        made = real(*given, **named)
        directory = self._hold(parent)

        def undo() -> None:
            found = f"/proc/self/fd/{directory}/{os.fsdecode(path)}"
            if os.path.isdir(found) and not os.path.islink(found):
                shutil.rmtree(found)
            else:
                os.unlink(path, dir_fd=directory)

        self.pending.append(Change(name, {_inode(parent)}, undo))
        return made

    def _unname(self, name: str, real: Callable[..., Any], given: tuple[Any, ...], parent: int) -> None:
        path = given[0]
        if not _can_go(name, path, parent):
            real(*given, dir_fd=parent)  # raises
            raise AssertionError("a name went that should not")
        put_back, forget = self._hide(path, self._hold(parent))
        self.pending.append(Change(name, {_inode(parent)}, put_back, forget))

    def _rename(self, real: Callable[..., Any], given: tuple[Any, ...], source: int, target: int) -> None:
        old, new = given
        put_back, forget = nothing, nothing
        if _exists(new, target) and _ino(old, source) != _ino(new, target):
            put_back, forget = self._hide(new, self._hold(target))
        old_fd, new_fd = self._hold(source), self._hold(target)
        try:
            real(old, new, src_dir_fd=source, dst_dir_fd=target)
        except OSError:
            put_back()
            raise

        def undo() -> None:
            os.rename(new, old, src_dir_fd=new_fd, dst_dir_fd=old_fd)
            put_back()

        self.pending.append(Change("rename", {_inode(source), _inode(target)}, undo, forget))

    def _set(self, name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        target = given[0]
        descriptor = os.open(f"/proc/self/fd/{target}" if isinstance(target, int) else target, os.O_PATH)
        self._descriptors.append(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        before = os.stat(path)
        regular = stat.S_ISREG(before.st_mode)
        content = Path(path).read_bytes() if regular else b""
        values = {key: os.getxattr(path, key) for key in os.listxattr(path)}
        result = real(*given, **named)

        def undo() -> None:
            if regular:
                Path(path).write_bytes(content)
            for key in set(os.listxattr(path)) - set(values):
                os.removexattr(path, key)
            for key, value in values.items():
                os.setxattr(path, key, value)
            os.chown(path, before.st_uid, before.st_gid)
            os.chmod(path, stat.S_IMODE(before.st_mode))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        self.pending.append(Change(name, {before.st_ino}, undo))
        return result

    def _hide(self, path: bytes, parent: int) -> tuple[Work, Work]:
        """Move a name out of sight; how to bring it back, and how to let it go."""
        inode = _ino(path, parent)
        place = self._hidden / str(next(self._numbers))
        os.rename(path, place, src_dir_fd=parent)
        self._links[inode] += 1

        def put_back() -> None:
            self._links[inode] -= 1
            os.rename(place, path, dst_dir_fd=parent)

        def forget() -> None:
            self._links[inode] -= 1
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            else:
                place.unlink()

        return put_back, forget

    # -- when it stops --------------------------------------------------------------------------------------

    def lose(self, kept: int) -> None:
        """The power goes: of what was not on the disk only the first `kept` changes are."""
        for change in reversed(self.pending[kept:]):
            change.undo()
        del self.pending[kept:]
        self.settle()

    def settle(self) -> None:
        """Everything comes to the disk."""
        for change in self.pending:
            change.settle()
        self.pending.clear()


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


def _ino(path: Any, parent: int) -> int:
    return os.stat(path, dir_fd=parent, follow_symlinks=False).st_ino


def _exists(path: Any, parent: int) -> bool:
    try:
        _ino(path, parent)
    except FileNotFoundError:
        return False
    return True


def _can_go(name: str, path: Any, parent: int) -> bool:
    """Whether unlink or rmdir would succeed."""
    if not _exists(path, parent):
        return False
    mode = os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode
    if name == "unlink" or not stat.S_ISDIR(mode):
        return name == "unlink" and not stat.S_ISDIR(mode)
    descriptor = os.open(path, os.O_RDONLY, dir_fd=parent)
    try:
        return not os.listdir(descriptor)
    finally:
        os.close(descriptor)
