"""Byte-range and whole-file locks, and what they are for. Runs in the guest.

A process keeps the files it opened here, by path, from one call to the next.
"""

import errno
import fcntl
import os
import random
import struct
import time

FLOCK = "flock"
FCNTL = "fcntl"
DENIED = (errno.EAGAIN, errno.EACCES)
_files: dict[str, int] = {}


def _file(path: str) -> int:
    """Return the process's descriptor of a file, opened once."""
    if path not in _files:
        _files[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    return _files[path]


def lock(path: str, kind: str, exclusive: bool, wait: bool, start: int = 0, length: int = 0) -> bool:
    """Lock a file or a range (length 0: to the end, wherever that is); False if that was denied."""
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        if kind == FLOCK:
            fcntl.flock(_file(path), operation)
        else:
            fcntl.lockf(_file(path), operation, length, start)
    except OSError as error:
        if error.errno in DENIED:
            return False
        raise
    return True


def unlock(path: str, kind: str, start: int = 0, length: int = 0) -> None:
    """Unlock a file or a range."""
    if kind == FLOCK:
        fcntl.flock(_file(path), fcntl.LOCK_UN)
    else:
        fcntl.lockf(_file(path), fcntl.LOCK_UN, length, start)


def close(path: str) -> None:
    """Close the process's descriptor, which ends its locks."""
    os.close(_files.pop(path))


def holder(path: str, start: int, length: int) -> str:
    """Ask who would deny an exclusive lock (F_GETLK): "none", "shared" or "exclusive"."""
    layout = "hhqqi4x"
    answer = fcntl.fcntl(_file(path), fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    names = {fcntl.F_UNLCK: "none", fcntl.F_RDLCK: "shared", fcntl.F_WRLCK: "exclusive"}
    return names[struct.unpack(layout, answer)[0]]


def _acquire(path: str, kind: str) -> None:
    """Lock exclusively by trying again soon: the client's own waiting backs off by seconds."""
    while not lock(path, kind, True, False):
        time.sleep(random.uniform(0.001, 0.01))


def count_up(path: str, kind: str, times: int) -> int:
    """Add one to the number in a file, many times, each time under an exclusive lock.

    Returns how often another's number was found instead of the caller's last one.
    """
    met = 0
    last = None
    for _ in range(times):
        _acquire(path, kind)
        fd = _file(path)
        number = int(os.pread(fd, 32, 0) or b"0")
        met += last is not None and number != last
        last = number + 1
        os.pwrite(fd, b"%d" % last, 0)
        unlock(path, kind)
    close(path)
    return met


def append_lines(path: str, author: str, count: int, locked: bool) -> None:
    """Append numbered lines of 100 bytes with O_APPEND, each in one write."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in range(count):
        if locked:
            while True:
                try:
                    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in DENIED:
                        raise
                    time.sleep(random.uniform(0.001, 0.01))
        line = f"{author} {number:06} ".encode().ljust(99, b".") + b"\n"
        if os.write(fd, line) != len(line):
            raise OSError(errno.EIO, "a line was written in part")
        if locked:
            fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)
