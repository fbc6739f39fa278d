"""Data that a server has been sent and need not have on its disk yet (UNSTABLE writes). Runs in the guest."""

import ctypes
import os
import random
from pathlib import Path

BLOCK_SIZE = 1 << 16
_WAIT = 4  # sync_file_range(2): SYNC_FILE_RANGE_WAIT_AFTER
_libc = ctypes.CDLL(None, use_errno=True)
_files: dict[str, int] = {}


def content(seed: int, size: int) -> bytes:
    """What write() writes."""
    return random.Random(seed).randbytes(size)


def write(path: str, seed: int, size: int) -> None:
    """Write a file and see that the server has all of it, without asking it to keep it (no COMMIT).

    The mount has to have write=eager: otherwise the kernel commits whatever it has written. The kernel is told not to
    write or commit anything by itself from now on.
    """
    Path("/proc/sys/vm/dirty_writeback_centisecs").write_text("0\n")
    fd = _files[path] = os.open(path, os.O_RDWR)
    # A new mount's share of the memory for what is not committed is next to nothing.
    device = os.fstat(fd).st_dev
    Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/min_ratio").write_text("50\n")
    data = content(seed, size)
    for offset in range(0, size, BLOCK_SIZE):
        os.pwrite(fd, data[offset : offset + BLOCK_SIZE], offset)
    if _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _WAIT):
        raise OSError(ctypes.get_errno(), "sync_file_range")


def commit(path: str) -> None:
    """Have it be on the server's disk."""
    fd = _files.pop(path)
    os.fsync(fd)
    os.close(fd)
    Path("/proc/sys/vm/dirty_writeback_centisecs").write_text("500\n")
