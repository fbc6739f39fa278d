"""A disk that fails under a real server: the kernel itself refuses a system call from the n-th commit on.

Owns the ways to fail.  As a program (`python -c "from tests.wire.faults import main; main()"`) it is
`understudy` whose process gets a seccomp filter right before a commit; FAULT names the way and the commit, as in
`sync:5`.  Must not be used but in tests: nothing in the server knows of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from typing import Any

from statestore.lmdbstore import LmdbStore
from tests.wire.server import ServerProcess

# (pwrite64, writev, pwritev, fsync, fdatasync, seccomp), linux/unistd.h.
_NUMBERS = {"x86_64": (18, 20, 296, 74, 75, 317), "aarch64": (68, 66, 70, 82, 83, 277)}
SUPPORTED = platform.machine() in _NUMBERS and sys.platform == "linux"
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _TSYNC = 1, 1
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16

Instruction = tuple[int, int, int, int]


def refuse(numbers: list[int], error: int, descriptors: list[int]) -> list[Instruction]:
    """A filter that answers some system calls with an error, on some descriptors only if these are given."""
    code = _unless(_NUMBER_AT, numbers)
    if descriptors:
        code += _unless(_FIRST_ARGUMENT_AT, descriptors)
    return [*code, (_RETURN, 0, 0, _RET_ERRNO | error)]


def _unless(offset: int, values: list[int]) -> list[Instruction]:
    """Allow the call unless a word of it has one of the values: then go on behind this."""
    checks = [(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [(_LOAD, 0, 0, offset), *checks, (_RETURN, 0, 0, _RET_ALLOW)]


def install(code: list[Instruction]) -> None:
    """Put a filter on every thread of this process, for good.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
    header = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(code), ctypes.addressof(program)))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.syscall(_NUMBERS[platform.machine()][5], _SET_MODE_FILTER, _TSYNC, header):
        raise OSError(ctypes.get_errno(), "seccomp")


def descriptors_of(name: str, *, synchronous: bool | None = None) -> list[int]:
    """The descriptors of this process of a file with that name, or those of them that are (not) opened O_DSYNC."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
            with open(f"/proc/self/fdinfo/{entry}", encoding="ascii") as lines:
                flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        except OSError:
            continue  # The descriptor of the listing itself.
        if os.path.basename(target) == name and synchronous in (None, bool(flags & os.O_DSYNC)):
            found.append(int(entry))
    return found


def fail(how: str) -> None:
    """Have the disk fail from now on."""
    pwrite, writev, pwritev, fsync, fdatasync, _seccomp = _NUMBERS[platform.machine()]
    if how == "sync":
        install(refuse([fdatasync], errno.EIO, []))
    elif how == "sync-full":
        install(refuse([fdatasync], errno.ENOSPC, []))
    elif how == "file-sync":
        install(refuse([fsync], errno.EIO, []))
    elif how == "write":
        install(refuse([pwrite, writev, pwritev], errno.ENOSPC, descriptors_of("data.mdb")))
    elif how == "meta":
        install(refuse([pwrite, writev, pwritev], errno.EIO, descriptors_of("data.mdb", synchronous=True)))
    else:
        raise ValueError(f"{how!r} is no way to fail")


def main() -> None:
    """Be `understudy`, with FAULT."""
    how, _colon, count = os.environ["FAULT"].partition(":")
    left = int(count)
    write = LmdbStore._write

    def write_or_fail(store: LmdbStore, entries: Any) -> None:
        nonlocal left
        left -= bool(entries)
        if left == 0 and entries:
            fail(how)
        write(store, entries)

    setattr(LmdbStore, "_write", write_or_fail)  # noqa: B010  # A method cannot be assigned to otherwise.
    from nfsd.cli import main as understudy

    understudy()


class FaultyServer(ServerProcess):
    """A server whose disk fails at the n-th commit after the start, if `fault` says so ("sync:5")."""

    fault = ""
    pair = False
    prefix: Sequence[str] = ()

    def command(self) -> list[str]:
        """The program above, or the server itself, behind a prefix such as nsenter."""
        command = super().command()
        if self.pair:
            command.remove("--no-pair")
        if self.fault:
            command[2] = f"import os; os.environ['FAULT'] = {self.fault!r}; from tests.wire.faults import main; main()"
        return [*self.prefix, *command]
