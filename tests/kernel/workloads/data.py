"""What is in files: mapped, sparse, large, copied, allocated. Runs in the guest."""

import ctypes
import errno
import hashlib
import mmap
import os

MIB = 1 << 20
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
_mappings: dict[str, mmap.mmap] = {}


def pattern(seed: int, size: int) -> bytes:
    """Return bytes that look random and are the same for the same seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def digest(path: str, offset: int = 0, size: int = -1) -> str:
    """Return the checksum of a part of a file."""
    with open(path, "rb") as file:
        file.seek(offset)
        return hashlib.blake2b(file.read(size), digest_size=16).hexdigest()


def write_pattern(path: str, seed: int, size: int, offset: int = 0) -> None:
    """Write a pattern at an offset, leaving the rest of the file alone, and have it on the server."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    data = memoryview(pattern(seed, size))
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done
    os.fsync(fd)
    os.close(fd)


def has_pattern(path: str, seed: int, size: int, offset: int = 0) -> bool:
    """Whether a pattern stands at an offset."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size) == pattern(seed, size)


def is_zero(path: str, offset: int, size: int) -> bool:
    """Whether a whole range exists and is zero."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size) == bytes(size)


def sizes(path: str) -> list[int]:
    """Return a file's size and the bytes allocated to it."""
    status = os.stat(path)
    return [status.st_size, status.st_blocks * 512]


def truncate(path: str, size: int) -> None:
    """Set a file's size."""
    os.truncate(path, size)


def seek(path: str, offset: int, what: str) -> int | None:
    """Find data or a hole; None when there is no data after the offset."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(fd, offset, {"data": os.SEEK_DATA, "hole": os.SEEK_HOLE}[what])
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    finally:
        os.close(fd)


def map_file(path: str, size: int) -> None:
    """Map a file, shared and writable, and keep the mapping."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(fd).st_size < size:
        os.ftruncate(fd, size)
    _mappings[path] = mmap.mmap(fd, size, mmap.MAP_SHARED)
    os.close(fd)


def map_write(path: str, offset: int, seed: int, size: int) -> None:
    """Write a pattern through the mapping."""
    _mappings[path][offset : offset + size] = pattern(seed, size)


def map_has(path: str, offset: int, seed: int, size: int) -> bool:
    """Whether the mapping shows a pattern."""
    return _mappings[path][offset : offset + size] == pattern(seed, size)


def map_sync(path: str) -> None:
    """Have what was written through the mapping on the server (msync)."""
    _mappings[path].flush()


def unmap(path: str) -> None:
    """Drop the mapping."""
    _mappings.pop(path).close()


def copy_range(source: str, target: str, size: int) -> int:
    """Copy with copy_file_range() from the start of one file to the start of another; return the bytes."""
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
    copied = 0
    while copied < size:
        count = os.copy_file_range(reader, writer, size - copied, copied, copied)
        if count == 0:
            break
        copied += count
    os.close(reader)
    os.close(writer)
    return copied


def fallocate(path: str, punch: bool, offset: int, length: int) -> str:
    """Allocate a range, or punch a hole into it; return "ok", or the name of the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    mode = FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE if punch else 0
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
            return errno.errorcode[ctypes.get_errno()]
        os.fsync(fd)
        return "ok"
    finally:
        os.close(fd)
