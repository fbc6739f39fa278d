#!/usr/bin/env python3
"""The work of one client while the server fails over: many small things, each noted when it was done. Runs there.

    load.py work OUT DIRECTORY INTERVAL_S LIMIT_S KIND...     # until OUT/stop is there, at most LIMIT_S
    load.py stats MOUNT_POINT                                 # the mount's counters, as JSON
    load.py regions FILE                                      # the number of each whole region in a file of `unstable`

OUT is on the client's own disk: KIND.log has a line `SECONDS NUMBER` (wall clock) for each step, errors.log what
failed, KIND.done what was found when the work ended. Standard library only, no import of this package: it runs where
nothing else of it is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

Step = Callable[[int], None]
Work = Iterator[dict[str, object] | None]

BLOCK_SIZE = 4096
LOCK_OFFSET, LOCK_SIZE = 4096, 100
# More than one WRITE each: a single one would be asked for FILE_SYNC instead of UNSTABLE. So many places, and so long
# between two of them, that what is lost is not written over by something new before anybody could see it.
REGION_SIZE, PLACES, REGION_INTERVALS = 3 << 19, 64, 30
SYNC_FILE_RANGE_WAIT = 1  # for what is under way already
SYS_STATX, AT_FDCWD, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS = 332, -100, 0x2000, 0x7FF
libc = ctypes.CDLL(None, use_errno=True)


def region(number: int) -> bytes:
    """What a region holds."""
    return (b"%015d\n" % number) * (REGION_SIZE // 16)


def newest(count: int) -> list[int]:
    """The numbers in all places after so many regions were written, one place after the other, round and round."""
    return [count - 1 - (count - 1 - place) % PLACES for place in range(min(count, PLACES))]


def append(directory: str) -> Work:
    """Lines with fsync: each is stable when it is noted."""
    fd = os.open(f"{directory}/appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    count = 0
    while (yield None) is None:
        line = b"%07d\n" % count
        if os.write(fd, line) != len(line):
            raise OSError(errno.EIO, "a line was written in part")
        os.fsync(fd)
        count += 1
    os.close(fd)
    lines = Path(f"{directory}/appended").read_bytes()
    yield {"right": lines == b"".join(b"%07d\n" % number for number in range(count)), "count": count}


def read(directory: str) -> Work:
    """Reads from the server, not from the cache."""
    path = f"{directory}/read"
    with open(path, "wb") as file:
        file.write(b"r" * BLOCK_SIZE)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, BLOCK_SIZE)
    while (yield None) is None:
        if os.preadv(fd, [page], 0) != BLOCK_SIZE or page[:] != b"r" * BLOCK_SIZE:
            raise OSError(errno.EIO, "something else was read")
    yield {"right": True}


def create(directory: str) -> Work:
    """New files: each exactly once."""
    os.makedirs(f"{directory}/created", exist_ok=True)
    count = 0
    while (yield None) is None:
        os.close(os.open(f"{directory}/created/{count}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        count += 1
    there = set(os.listdir(f"{directory}/created"))
    yield {"right": there == {str(number) for number in range(count)}, "count": count}


def lock(directory: str) -> Work:
    """A byte range, locked and unlocked."""
    fd = os.open(f"{directory}/locked", os.O_RDWR | os.O_CREAT, 0o644)
    while (yield None) is None:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCK_SIZE, LOCK_OFFSET)
        fcntl.lockf(fd, fcntl.LOCK_UN, LOCK_SIZE, LOCK_OFFSET)
    yield {"right": True}


def stat(directory: str) -> Work:
    """Attributes, asked of the server each time."""
    path = f"{directory}/asked".encode()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    answer = ctypes.create_string_buffer(256)
    while (yield None) is None:
        if libc.syscall(SYS_STATX, AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, answer):
            raise OSError(ctypes.get_errno(), "statx")
    yield {"right": True}


def hold(directory: str) -> Work:
    """A lock that is held from beginning to end, and used for writing under it."""
    fd = os.open(f"{directory}/held", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    while (yield None) is None:
        os.pwrite(fd, b"held", 0)
        os.fsync(fd)
    yield {"right": True}


def denied(directory: str) -> Work:
    """Another client's tries to get that lock."""
    fd = os.open(f"{directory}/held", os.O_RDWR | os.O_CREAT, 0o644)
    while (yield None) is None:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                continue
            raise
        raise AssertionError("a lock was granted that somebody else holds")
    yield {"right": True}


def unstable(directory: str) -> Work:
    """Data that the server has acknowledged and not made stable; committed only at the end.

    The mount has to have write=eager: then write(2) sends, and only fsync(2) commits. Otherwise Linux keeps the data to
    itself, and commits whatever it sends at once.
    """
    fd = os.open(f"{directory}/unstable", os.O_RDWR | os.O_CREAT, 0o644)
    count = 0
    while (yield None) is None:
        place = count % PLACES * REGION_SIZE
        os.pwrite(fd, region(count), place)
        # Until the server has answered.
        if libc.sync_file_range(fd, ctypes.c_long(place), ctypes.c_long(REGION_SIZE), SYNC_FILE_RANGE_WAIT):
            raise OSError(ctypes.get_errno(), "sync_file_range")
        count += 1
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    found = regions(f"{directory}/unstable")
    os.ftruncate(fd, 0)
    yield {"right": found == newest(count), "count": count, "size": count * REGION_SIZE}


KINDS: dict[str, Callable[[str], Work]] = {
    "append": append, "read": read, "create": create, "lock": lock, "stat": stat, "hold": hold, "denied": denied,
    "unstable": unstable,
}  # fmt: skip


def work(out: Path, directory: str, kind: str, interval_s: float, limit_s: float) -> None:
    """Do one kind of thing until the end is asked for, then say what is there."""
    steps = KINDS[kind](directory)
    interval_s *= REGION_INTERVALS if kind == "unstable" else 1
    end, due, number = time.monotonic() + limit_s, time.monotonic(), 0
    next(steps)
    with (out / f"{kind}.log").open("a", buffering=1) as log:
        while time.monotonic() < end and not (out / "stop").exists():
            next(steps)
            log.write(f"{time.time():.6f} {number}\n")
            number += 1
            due = max(due + interval_s, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    finder = getattr(steps, "send")  # noqa: B009  (an Iterator to the type checker)
    (out / f"{kind}.done").write_text(json.dumps(finder(True)) + "\n")


def start(out: Path, directory: str, interval_s: float, limit_s: float, kinds: list[str]) -> int:
    """A process for each kind; the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    children = []
    for kind in kinds:
        child = os.fork()
        if not child:
            try:
                work(out, directory, kind, interval_s, limit_s)
            except BaseException:
                with (out / "errors.log").open("a") as log:
                    log.write(f"{time.time():.6f} {kind}: {traceback.format_exc().strip()!r}\n")
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    (out / "ended").write_text(f"{time.time():.6f}\n")
    return int(any(codes))


def stats(text: str, mounted_on: str) -> dict[str, list[int]]:
    """The counters of an NFS mount by operation: requests, transmissions, time-outs, bytes sent, ...

    `text` is /proc/self/mountstats.
    """
    found: dict[str, list[int]] = {}
    inside = False
    for line in text.splitlines():
        words = line.split()
        if line.startswith("device "):
            inside = len(words) > 4 and words[4] == mounted_on
        elif inside and len(words) > 8 and words[0].endswith(":") and words[0][:-1].isupper():
            found[words[0][:-1]] = [int(word) for word in words[1:]]
    return found


def regions(path: str) -> list[int]:
    """What is in each place of a file: a region's number, or -1 if a part of it was never written.

    Where one region is just being written over another, it is the older one's.
    """
    found = []
    with open(path, "rb") as file:
        while data := file.read(REGION_SIZE):
            lines = {data[start : start + 16] for start in range(0, len(data), 16)}
            numbers = [int(line) if line[:15].isdigit() else -1 for line in lines]
            found.append(min(numbers) if len(data) == REGION_SIZE else -1)
    return found


def main(words: list[str]) -> int:
    """As the module's docstring says."""
    if words[0] == "stats":
        print(json.dumps(stats(Path("/proc/self/mountstats").read_text(), words[1])))
        return 0
    if words[0] == "regions":
        print(json.dumps(regions(words[1])))
        return 0
    return start(Path(words[1]), words[2], float(words[3]), float(words[4]), words[5:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
