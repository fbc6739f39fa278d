"""Begins a program as a unit of docs/examples would, as far as that can be done without its service manager.

    python -m tests.failover.filtered UNIT COMMAND...

Owns what is read from the unit: capabilities, system calls, memory that may be written or executed but not both, no
new privileges. The kernel's /proc hides what ProtectProc= hides; it is in a mount namespace of the program. Needs root
and libseccomp, which the service manager itself needs. Must not know what the command does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from nfsd.vfs import syscalls

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PROT_WRITE, PROT_EXEC = 2, 4
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_MASKED_EQUAL = 7
CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "FOWNER": 3, "FSETID": 4, "SETGID": 6, "SETUID": 7,
                "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_ADMIN": 21, "MKNOD": 27}  # fmt: skip


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """A system-call filter (seccomp(2)): everything that has no rule is answered by `default`."""

    def __init__(self, default: int) -> None:
        library = self._library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = (ctypes.c_uint32,)
        library.seccomp_rule_add_array.argtypes = (
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
        )  # fmt: skip
        library.seccomp_load.argtypes = (ctypes.c_void_p,)
        self._context = library.seccomp_init(default)
        assert self._context

    def add(self, action: int, name: str, **masks: int) -> None:
        """Answer a call otherwise; `arg2=MASK` asks for all bits of the mask in that argument."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        # Names of other architectures and of other kernels are negative.
        if number < 0:
            return
        pairs = [_Comparison(int(argument[3:]), _MASKED_EQUAL, mask, mask) for argument, mask in masks.items()]
        code = self._library.seccomp_rule_add_array(
            self._context, action, number, len(pairs), (_Comparison * len(pairs))(*pairs)
        )
        assert not code, f"{name}: {os.strerror(-code)}"

    def load(self) -> None:
        """From now on it holds for this thread and all that it starts."""
        code = self._library.seccomp_load(self._context)
        assert not code, os.strerror(-code)


def settings(unit: Path) -> Iterator[tuple[str, str]]:
    """The unit's lines: name and value."""
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield name, value


def expanded(name: str) -> set[str]:
    """The system calls that a name of SystemCallFilter= stands for."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[1:]
    words = [line.strip() for line in listed]
    return {call for word in words if word and not word.startswith("#") for call in expanded(word)}


def allowed(unit: Path) -> set[str]:
    """The system calls that the unit allows."""
    calls: set[str] = expanded("@default")
    for name, value in settings(unit):
        if name == "SystemCallFilter":
            named = {call for word in value.removeprefix("~").split() for call in expanded(word)}
            calls = calls - named if value.startswith("~") else calls | named
    return calls


def hide_processes() -> None:
    """As ProtectProc=invisible: a /proc of this process's own that shows no other user's processes."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        or libc.mount(b"proc", b"/proc", b"proc", 0, b"hidepid=invisible")
    )
    assert not done, os.strerror(ctypes.get_errno())


def confine(unit: Path) -> None:
    """Take from this process what the unit takes."""
    said = dict(settings(unit))
    calls = allowed(unit)
    if said.get("ProtectProc") == "invisible":
        hide_processes()
    kept = sum(1 << CAPABILITIES[name.removeprefix("CAP_")] for name in said["CapabilityBoundingSet"].split())
    assert said["NoNewPrivileges"] == said["MemoryDenyWriteExecute"] == "yes"
    syscalls.bound_capabilities(kept)
    effective, permitted = syscalls.capabilities()
    syscalls.forbid_new_privileges()
    calling = Filter(_REFUSE)
    for name in sorted(calls):
        calling.add(_ALLOW, name)
    memory = Filter(_ALLOW)
    memory.add(_REFUSE, "mmap", arg2=PROT_WRITE | PROT_EXEC)
    memory.add(_REFUSE, "mprotect", arg2=PROT_EXEC)
    memory.add(_REFUSE, "pkey_mprotect", arg2=PROT_EXEC)
    syscalls.set_capabilities(effective & kept, permitted & kept)
    memory.load()
    calling.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
