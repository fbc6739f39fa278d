"""The state directory: its lock, its secret, and making directory entries durable.

Owns the names of the files beside the engine's own, their modes and the exclusive lock. It must not know what
the engine keeps, and never opens the engine's data file: closing it would drop the engine's own locks.

    data.mdb, lock.mdb   the engine's
    lock                 held with flock by the one process that may write; its text is that process's id
    secret               32 random bytes, the same on every node of a cluster; mode 0600
"""

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from statestore.errors import StoreDamaged, StoreError, StoreLocked, StoreMissing

DATA_NAME: Final = "data.mdb"
LOCK_NAME: Final = "lock"
SECRET_NAME: Final = "secret"
SECRET_SIZE: Final = 32


def fsync_directory(directory: Path) -> None:
    """Make the directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create the state directory with mode 0700 if it is missing. Raises StoreError."""
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            fsync_directory(directory.parent)
    except OSError as error:
        raise StoreError(
            f"cannot create the state directory {directory}: {error.strerror}; create it, or name another"
        ) from error
    if not directory.is_dir():
        raise StoreError(f"{directory} is no directory; name a directory for the state")


def check_rights(directory: Path) -> None:
    """Make sure that nobody but the server's user and root can change the directory, or read or change its secret.

    What is not there yet is made so. Raises StoreError, with the remedy.
    """
    secret = directory / SECRET_NAME
    for path, others, harm in ((directory, 0o022, "put other state in its place"), (secret, 0o077, "use the secret")):
        try:
            about = path.stat()
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            raise StoreError(f"cannot look at {path}: {error.strerror}; see to the disk") from error
        mode = stat.S_IMODE(about.st_mode)
        if about.st_uid not in (0, os.geteuid()):
            raise StoreError(f"{path} belongs to user {about.st_uid}, who could {harm}: chown it to the server's user")
        if mode & others:
            raise StoreError(f"{path} has mode {mode:04o}, by which others can {harm}: chmod {mode & ~0o077:o} {path}")


def take_lock(directory: Path) -> int:
    """Lock the directory for this opener and return the descriptor that holds the lock.

    The lock goes with the descriptor, so with the process, however that ends. Raises StoreLocked, StoreError.
    """
    path = directory / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open {path}: {error.strerror}; the directory must belong to the server's user"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(
            f"the state directory {directory} is in use by process {holder}; stop that one, or name another directory"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"cannot lock {path}: {error.strerror}; it must lie on a local file system") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def lock_directory(directory: Path) -> int:
    """Lock the state directory, made if it is missing, for this process and those that it forks.

    The lock lasts until every one of them has closed the descriptor or ended. Raises StoreLocked, StoreError.
    """
    make_directory(directory)
    return take_lock(directory)


def check_lock(directory: Path, descriptor: int) -> None:
    """Make sure that a descriptor from `lock_directory` holds this directory. Raises StoreError."""
    path = directory / LOCK_NAME
    try:
        held, there = os.fstat(descriptor), path.stat()
    except OSError as error:
        raise StoreError(f"the lock {path} is gone: {error.strerror}; stop every server, start again") from error
    if (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino):
        raise StoreError(f"{path} was replaced while it was locked; stop every server, start again")


def touch(directory: Path) -> None:
    """Have the kernel read the data file into its cache, if it is not there. Raises StoreMissing, StoreError.

    Leaves the engine alone: it may be open here, and must not be opened twice.
    """
    path = directory / DATA_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StoreMissing(f"there is no state in {directory}") from error
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; it must belong to the server's user") from error
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


def read_secret(directory: Path) -> bytes:
    """Return the cluster's secret, 32 bytes. Raises StoreMissing, StoreDamaged, StoreError."""
    path = directory / SECRET_NAME
    try:
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreMissing(f"{path} is missing; copy it from the cluster's other node or a backup") from error
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; it must belong to the server's user") from error
    if len(secret) != SECRET_SIZE:
        raise StoreDamaged(
            f"{path} has {len(secret)} bytes, not {SECRET_SIZE}; copy it from the cluster's other node or a backup"
        )
    return secret


def make_secret(directory: Path, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return the cluster's secret, making it durably at the first start. The caller holds the lock."""
    path = directory / SECRET_NAME
    if not path.exists():
        write_secret(path, random_bytes(SECRET_SIZE))
    return read_secret(directory)


def write_secret(path: Path, secret: bytes) -> None:
    """Write a secret file with mode 0600, whole or not at all, and durably."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secret)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, path)
    fsync_directory(path.parent)
