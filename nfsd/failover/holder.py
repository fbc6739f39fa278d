"""Who holds a state directory, in a file beside the store, for the next who wants it.

Owns that file (`holder`), and the end of a holder that runs on this very machine. Must not know the store.
The file is a help, no lock: it says whether the last holder let go by itself, and how its processes are found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nfsd.log import get_logger
from nfsd.vfs.credentials import as_itself

FILE_NAME = "holder"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TIME_FIELD = 19  # proc(5), starttime: the 22nd field, counted from the third

log = get_logger()


class HolderLives(Exception):
    """The holder could not be ended; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A node that holds, or held, a state directory. All its processes end with `pid`, its supervisor.

    `started` is the process's start in clock ticks since `boot_id`'s boot: with it an id that was used again is
    told from the process that is meant.
    """

    node: str
    pid: int
    started: int
    boot_id: str
    released: bool

    @classmethod
    def this_node(cls, node: str, pid: int) -> Holder:
        """The holder that `pid` of this machine is.  Raises ProcessLookupError."""
        return cls(node=node, pid=pid, started=_started(pid), boot_id=_boot_id(), released=False)


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _started(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError as error:
        raise ProcessLookupError(f"there is no process {pid}") from error
    return int(text.rpartition(")")[2].split()[_START_TIME_FIELD])


def read_holder(directory: Path) -> Holder | None:
    """Who held the directory last; None if that cannot be read, as on a disk that is not mounted yet."""
    try:
        fields = json.loads((directory / FILE_NAME).read_text())
        return Holder(**{field.name: fields[field.name] for field in dataclasses.fields(Holder)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("holder.unreadable", directory=str(directory), reason=repr(error))
        return None


def write_holder(directory: Path, holder: Holder) -> None:
    """Say durably who holds the directory, or that nobody does any more.  Raises OSError."""
    as_itself()
    made = directory / f"{FILE_NAME}.new"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(dataclasses.asdict(holder)).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(made, directory / FILE_NAME)
    about = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(about)
    finally:
        os.close(about)


def end_holder(holder: Holder, lock: Path, limit_s: float) -> None:
    """Kill a holder on this machine, stopped or not, and wait for its end; blocks.

    Its workers die with it; but one that is stopped before it could arrange that would go on one day. So whoever
    still has the file `lock` locked is killed as well. Returns at once if nobody lives, or the machine has started
    anew since.  Raises HolderLives.
    """
    if holder.boot_id != _boot_id():
        return
    _kill(holder.pid, holder.started, holder.node, limit_s)
    for pid in _locking(lock):
        _kill(pid, None, holder.node, limit_s)


def _locking(lock: Path) -> Iterator[int]:
    """The processes that have a flock on a file, however they got it."""
    try:
        about = lock.stat()
    except FileNotFoundError:
        return
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and _locks(process, about):
            yield int(process.name)


def _locks(process: Path, file: os.stat_result) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                # Only what is locked is looked at: another process's file may lie on a file system that hangs.
                if "FLOCK" in (process / "fdinfo" / descriptor.name).read_text():
                    there = descriptor.stat()
                    if (there.st_dev, there.st_ino) == (file.st_dev, file.st_ino):
                        return True
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It has ended, or it is somebody else's: then it could not have opened the file.
        return False
    return False


def _kill(pid: int, started: int | None, node: str, limit_s: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError as error:
        raise HolderLives(f"process {pid} of {node} cannot be reached: {error.strerror}") from error
    try:
        if started is not None and _started(pid) != started:
            return
        log.warning("holder.killed", holder=node, holder_pid=pid)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(limit_s * 1000):
            raise HolderLives(f"process {pid} of {node} still lives {limit_s:g} s after SIGKILL")
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise HolderLives(f"process {pid} of {node} may not be killed by this user") from error
    finally:
        os.close(descriptor)
