"""The system calls that Python's os module does not offer, as fast as ctypes allows.

Owns the C library's entry points, the per-thread buffers they fill and the translation of errno to OSError.
It must not know nodes, exports or who the caller is. Entry points have no argtypes: plain ints and bytes are
converted faster that way, and every caller here passes ints that fit a C int and bytes without NUL.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from typing import Final

from nfsd.vfs.interface import StaleHandle

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
AT_EACCESS: Final = 0x200
HANDLE_BYTES_MAX: Final = 128
"""MAX_HANDLE_SZ of the kernel."""

UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2

FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2

_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_STATX_BTIME: Final = 0x800
_STATX_MNT_ID: Final = 0x1000
_SETGROUPS_NUMBERS: Final = {
    "x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "ppc64le": 81, "s390x": 206,
    "i686": 206, "armv7l": 206,
}  # fmt: skip

_libc: Final = ctypes.CDLL(None, use_errno=True)
# Calls that can never block keep the interpreter's lock: handing it over costs more than they do.
_libc_quick: Final = ctypes.PyDLL(None, use_errno=True)

faccessat = _libc.faccessat
name_to_handle_at = _libc.name_to_handle_at
# Offsets have 64 bits whatever a C int has. The C library's posix_fallocate writes zeros where a file system cannot
# allocate, which races with other writers; this one says so instead.
_fallocate = _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
setfsuid = _libc_quick.setfsuid
setfsgid = _libc_quick.setfsgid
setgroups_number: Final = _SETGROUPS_NUMBERS.get(platform.machine())

_LOW_BYTE: Final = 0 if sys.byteorder == "little" else 3
_timespecs: Final = struct.Struct("=qqqq") if ctypes.sizeof(ctypes.c_long) == 8 else struct.Struct("=llll")


class _Buffers(threading.local):
    """One thread's struct file_handle and mount id, with the argument objects made once."""

    def __init__(self) -> None:
        self.raw = bytearray(8 + HANDLE_BYTES_MAX)
        self.handle_ref = (ctypes.c_char * len(self.raw)).from_buffer(self.raw)
        self.mount = ctypes.c_int()
        self.mount_ref = ctypes.byref(self.mount)


buffers: Final = _Buffers()


def failure() -> OSError:
    """Return the error of the call that this thread made last."""
    number = ctypes.get_errno()
    if number == errno.ESTALE:
        return StaleHandle()
    return OSError(number, os.strerror(number))


def handle_at(dirfd: int, name: bytes, flags: int = 0) -> tuple[bytes, int]:
    """Return (kernel handle, mount id) of a name without following it, of `dirfd` itself with AT_EMPTY_PATH.

    The handle is the kernel's handle_type (native int) followed by its opaque bytes.
    Raises OSError: EOPNOTSUPP where the file system has no handles, EOVERFLOW where they are too long.
    """
    own = buffers
    raw = own.raw
    raw[:4] = b"\0\0\0\0"
    raw[_LOW_BYTE] = HANDLE_BYTES_MAX
    if name_to_handle_at(dirfd, name, own.handle_ref, own.mount_ref, flags):
        raise failure()
    return bytes(raw[4 : 8 + raw[_LOW_BYTE]]), own.mount.value


def open_handle(mount_fd: int, key: bytes, flags: int) -> int:
    """Open the object of a kernel handle on the file system of `mount_fd`. Needs CAP_DAC_READ_SEARCH."""
    fd: int = _libc.open_by_handle_at(mount_fd, struct.pack("=I", len(key) - 4) + key, flags | os.O_CLOEXEC)
    if fd < 0:
        raise failure()
    return fd


def set_groups(groups: tuple[int, ...]) -> None:
    """Set the supplementary groups of this thread alone; the C library's own call sets every thread's."""
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if _libc_quick.syscall(setgroups_number, len(groups), array):
        raise failure()


def change_owner(fd: int, uid: int, gid: int) -> None:
    """chown of the object of a path descriptor, symbolic links included; -1 leaves a value as it is."""
    if _libc.fchownat(fd, b"", uid, gid, AT_EMPTY_PATH):
        raise failure()


def change_times(fd: int, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat of a path descriptor's object; pairs of seconds and ns, UTIME_NOW or UTIME_OMIT as ns."""
    if _libc.utimensat(fd, b"", _timespecs.pack(*atime, *mtime), AT_EMPTY_PATH):
        raise failure()


def sync_file_system(fd: int) -> None:
    """syncfs: bring everything of the file system that a descriptor lies on to the disk."""
    if _libc.syncfs(fd):
        raise failure()


def change_space(fd: int, mode: int, offset: int, size: int) -> None:
    """fallocate: take the space of a range, or give it back; `mode` has FALLOC_FL_ bits."""
    if _fallocate(fd, mode, offset, size):
        raise failure()


def read_directory(fd: int, buffer: ctypes.Array[ctypes.c_char]) -> bytes:
    """Return the next struct linux_dirent64s of an open directory, b"" at its end."""
    size: int = _libc.getdents64(fd, buffer, len(buffer))
    if size < 0:
        raise failure()
    return ctypes.string_at(buffer, size)


def birth_and_mount(fd: int) -> tuple[int | None, int | None]:
    """Return (time of birth in ns, mount id) of the object of a descriptor, None for what is not kept."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statx(fd, b"", AT_EMPTY_PATH, _STATX_BTIME | _STATX_MNT_ID, buffer):
        raise failure()
    (mask,) = struct.unpack_from("=I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    (mount_id,) = struct.unpack_from("=Q", buffer, 144)
    birth = seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else None
    return birth, mount_id if mask & _STATX_MNT_ID else None


# -- privileges -------------------------------------------------------------------------------------------------


def capabilities() -> tuple[int, int]:
    """Return this thread's effective and permitted capabilities, a bit for each (capget(2))."""
    data = (ctypes.c_uint32 * 6)()
    if _libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data):
        raise failure()
    effective, permitted, _, more_effective, more_permitted, _ = data
    return effective | more_effective << 32, permitted | more_permitted << 32


def set_capabilities(effective: int, permitted: int) -> None:
    """Set this thread's capabilities; what it may pass on to other programs, inheritable and ambient, is none.

    Raises OSError EPERM for permitted ones that it does not have.
    """
    low = 0xFFFF_FFFF
    halves = (effective & low, permitted & low, 0, effective >> 32, permitted >> 32, 0)
    if _libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", *halves)):
        raise failure()
    _control(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def bound_capabilities(kept: int) -> None:
    """Leave no others in this thread's bounding set than `kept`: no program that it starts can have them.

    Needs CAP_SETPCAP. Raises OSError.
    """
    number = 0
    # The kernel refuses the number after its last one.
    while (there := _prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if there and not kept >> number & 1:
            _control(_PR_CAPBSET_DROP, number)
        number += 1


def forbid_new_privileges() -> None:
    """See to it that no execve gives this thread's descendants more than they have (prctl(2))."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def _control(option: int, argument: int) -> None:
    if _prctl(option, argument, 0, 0, 0):
        raise failure()
