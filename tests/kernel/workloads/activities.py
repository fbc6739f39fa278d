"""What goes on while a server is killed: one thing every 10 ms, and when each was done. Runs in the guest."""

import ctypes
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Callable

INTERVAL_S = 0.01
BLOCK_SIZE = 4096
LOCK_OFFSET, LOCK_SIZE = 4096, 100
_SYS_STATX = 332
_AT_FDCWD = -100
_AT_STATX_FORCE_SYNC = 0x2000
_STATX_BASIC_STATS = 0x7FF
_libc = ctypes.CDLL(None, use_errno=True)


def clock() -> float:
    """The guest's clock, in seconds."""
    return time.monotonic()


def repeat(kind: str, directory: str, seconds: float, stop: str) -> list[float]:
    """Do one thing every 10 ms for that long, or until a file appears; the moments at which each was done."""
    step = KINDS[kind](directory)
    done = []
    end = time.monotonic() + seconds
    due = time.monotonic()
    while time.monotonic() < end and not os.path.exists(stop):
        step()
        now = time.monotonic()
        done.append(now)
        due = max(due + INTERVAL_S, now)
        time.sleep(max(0.0, due - now))
    return done


def _append(directory: str) -> Callable[[], None]:
    fd = os.open(f"{directory}/appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    count = 0

    def step() -> None:
        nonlocal count
        line = b"%07d\n" % count
        if os.write(fd, line) != len(line):
            raise OSError(errno.EIO, "a line was written in part")
        os.fsync(fd)
        count += 1

    return step


def _read(directory: str) -> Callable[[], None]:
    path = f"{directory}/read"
    with open(path, "wb") as file:
        file.write(b"r" * BLOCK_SIZE)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, BLOCK_SIZE)

    def step() -> None:
        if os.preadv(fd, [page], 0) != BLOCK_SIZE or page[:] != b"r" * BLOCK_SIZE:
            raise OSError(errno.EIO, "something else was read")

    return step


def _create(directory: str) -> Callable[[], None]:
    os.makedirs(f"{directory}/created", exist_ok=True)
    count = len(os.listdir(f"{directory}/created"))

    def step() -> None:
        nonlocal count
        os.close(os.open(f"{directory}/created/{count}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        count += 1

    return step


def _lock(directory: str) -> Callable[[], None]:
    fd = os.open(f"{directory}/locked", os.O_RDWR | os.O_CREAT, 0o644)

    def step() -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCK_SIZE, LOCK_OFFSET)
        fcntl.lockf(fd, fcntl.LOCK_UN, LOCK_SIZE, LOCK_OFFSET)

    return step


def _stat(directory: str) -> Callable[[], None]:
    path = f"{directory}/asked".encode()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    answer = ctypes.create_string_buffer(256)

    def step() -> None:
        # The client would answer from its cache, were it not forced.
        if _libc.syscall(_SYS_STATX, _AT_FDCWD, path, _AT_STATX_FORCE_SYNC, _STATX_BASIC_STATS, answer):
            raise OSError(ctypes.get_errno(), "statx")

    return step


def _denied(directory: str) -> Callable[[], None]:
    """Another client's try of a range that is held all the time."""
    fd = os.open(f"{directory}/held", os.O_RDWR | os.O_CREAT, 0o644)

    def step() -> None:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return
            raise
        raise AssertionError("a lock was granted that somebody else holds")

    return step


KINDS: dict[str, Callable[[str], Callable[[], None]]] = {
    "append": _append,
    "read": _read,
    "create": _create,
    "lock": _lock,
    "stat": _stat,
    "denied": _denied,
}
