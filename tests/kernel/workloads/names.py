"""Names, links, special files, open files that lose their name, extended attributes. Runs in the guest."""

import errno
import os
import socket
import stat

_open: dict[str, int] = {}


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Make a file with this text."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def read(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def status(path: str) -> dict[str, int]:
    """Return lstat()'s numbers."""
    found = os.lstat(path)
    return {
        "ino": found.st_ino,
        "nlink": found.st_nlink,
        "size": found.st_size,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mode": stat.S_IMODE(found.st_mode),
        "kind": stat.S_IFMT(found.st_mode),
        "rdev": found.st_rdev,
        "blocks": found.st_blocks,
    }


def attempt(function: str, *arguments: object) -> str:
    """Call a function of the os module; return "ok", or the name of the error."""
    try:
        make(function, *arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def attempt_open(path: str, flags: int, mode: int = 0o644) -> str:
    """Open and close a file; return "ok", or the name of the error."""
    try:
        os.close(os.open(path, flags, mode))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def make(function: str, *arguments: object) -> None:
    """Call a function of the os module that has nothing to return."""
    getattr(os, function)(*(tuple(value) if isinstance(value, list) else value for value in arguments))


def readlink(path: str) -> str:
    """Return where a symbolic link points."""
    return os.readlink(path)


def listdir(path: str) -> list[str]:
    """Return a directory's names, sorted."""
    return sorted(os.listdir(path))


def hold(path: str, flags: int = os.O_RDWR) -> int:
    """Open a file and keep it; return its inode number."""
    _open[path] = os.open(path, flags)
    return os.fstat(_open[path]).st_ino


def held_read(path: str) -> str:
    """Read the kept file from its start, from the server rather than from the cache."""
    os.fsync(_open[path])
    os.posix_fadvise(_open[path], 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(_open[path], 1 << 20, 0).decode()


def held_write(path: str, text: str) -> None:
    """Overwrite the kept file's start and have it on the server."""
    os.pwrite(_open[path], text.encode(), 0)
    os.fsync(_open[path])


def held_links(path: str) -> int:
    """Return how many names the kept file has."""
    return os.fstat(_open[path]).st_nlink


def release(path: str) -> None:
    """Close the kept file."""
    os.close(_open.pop(path))


def claim_names(directory: str, names: list[str], author: str) -> list[str]:
    """Try to create each file exclusively and to sign it; return the names that were won."""
    won = []
    for name in names:
        try:
            fd = os.open(f"{directory}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            continue
        os.write(fd, author.encode())
        os.close(fd)
        won.append(name)
    return won


def create_unwritable(path: str, text: str) -> None:
    """Create a file that its own mode forbids to write, and write it through that descriptor."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
    os.write(fd, text.encode())
    os.close(fd)


def bind_socket(path: str) -> None:
    """Make a socket file."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.close()


def through_fifo(path: str, text: str) -> str:
    """Send a text through a FIFO to another process and return what came out."""
    child = os.fork()
    if child == 0:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, text.encode())
        os._exit(0)
    fd = os.open(path, os.O_RDONLY)
    received = b""
    while data := os.read(fd, 4096):
        received += data
    os.close(fd)
    os.waitpid(child, 0)
    return received.decode()


def statvfs(path: str) -> dict[str, int]:
    """Return statvfs()'s numbers in bytes and inodes."""
    found = os.statvfs(path)
    return {
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bfree * found.f_frsize,
        "available": found.f_bavail * found.f_frsize,
        "inodes": found.f_files,
        "inodes_free": found.f_ffree,
        "name_max": found.f_namemax,
    }


def set_attribute(path: str, name: str, value: str, flags: int = 0) -> str:
    """Set an extended attribute; return "ok", or the name of the error."""
    try:
        os.setxattr(path, name, value.encode(), flags)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def get_attribute(path: str, name: str) -> str | None:
    """Return an extended attribute's value, or None."""
    try:
        return os.getxattr(path, name).decode()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def list_attributes(path: str) -> list[str]:
    """Return the names of a file's user attributes, sorted."""
    return sorted(name for name in os.listxattr(path) if name.startswith("user."))
