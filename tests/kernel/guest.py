"""A User Mode Linux guest: a real Linux NFS client that calls test functions inside itself.

Owns one guest's life and the host's end of the line protocol that guest_agent.py speaks. A call names a
function of the workloads package; it runs in a process of the guest, under any user, and its result or its
exception comes back. It must not know what is tested.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Child, tail

from .lab import Lab
from .namespace import LabError

CODE = Path(__file__).resolve().parent
MEMORY_MIB = 384
BOOT_TIMEOUT_S = 60.0
HALT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
# How much longer than the guest's own limit the host waits before it gives the guest up.
GRACE_S = 20.0


class GuestError(Exception):
    """A function in the guest raised; type is the exception's name, errno an OSError's number."""

    def __init__(self, kind: str, errno: int | None, text: str) -> None:
        super().__init__(f"in the guest: {text}")
        self.kind = kind
        self.errno = errno


class GuestTimeout(Exception):
    """A function in the guest did not return in time; its process was killed, or the guest hangs."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process of the guest runs as."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


ROOT = User()


class Pending:
    """A call under way."""

    def __init__(self, guest: "Guest", key: tuple[int, int], name: str, timeout_s: float) -> None:
        self._guest = guest
        self._key = key
        self._name = name
        self._deadline = time.monotonic() + timeout_s + GRACE_S

    def done(self) -> bool:
        """Whether the result is there."""
        return self._guest.receive(self._key, time.monotonic()) is not None

    def result(self) -> Any:
        """Return what the function returned.

        Raises:
            GuestError: it raised.
            GuestTimeout: it took too long.
        """
        reply = self._guest.receive(self._key, self._deadline)
        if reply is None or "timeout" in reply:
            self._guest.show_blocked(answering=reply is not None)
            raise GuestTimeout(f"{self._name} in guest {self._guest.name}")
        self._guest.replies.pop(self._key)
        if "error" in reply:
            error = reply["error"]
            raise GuestError(error["type"], error["errno"], error["text"])
        return reply["value"]


class GuestProcess:
    """A process of the guest that keeps its open files from one call to the next."""

    def __init__(self, guest: "Guest", number: int, user: User) -> None:
        self._guest = guest
        self._number = number
        self._user = user
        self._calls = 0

    def start(self, function: Callable[..., Any], *arguments: Any, timeout_s: float = CALL_TIMEOUT_S) -> Pending:
        """Begin a call of a workloads function; its arguments and result must be JSON."""
        self._calls += 1
        self._guest.send(
            {
                "process": self._number,
                "call": self._calls,
                "user": [self._user.uid, self._user.gid, list(self._user.groups)],
                "module": function.__module__.rpartition(".")[2],
                "function": function.__name__,
                "args": [str(value) if isinstance(value, Path) else value for value in arguments],
                "timeout": timeout_s,
            }
        )
        return Pending(self._guest, (self._number, self._calls), function.__name__, timeout_s)

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Call a workloads function and return its result."""
        return self.start(function, *arguments, timeout_s=timeout_s).result()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._guest.send({"process": self._number, "kill": True})


class Guest:
    """One guest. The constructor only starts it, so that several boot at once; wait_ready() waits."""

    def __init__(self, lab: Lab, name: str, index: int) -> None:
        self.lab = lab
        self.name = name
        self.healthy = True
        self.results = lab.directory / f"results-{name}"
        self.replies: dict[tuple[int, int], dict[str, Any]] = {}
        self._tap = f"tap{index}"
        self._rest = b""
        self._processes = 0
        self._callers: dict[User, GuestProcess] = {}
        self._extra: list[GuestProcess] = []
        self.results.mkdir(exist_ok=True)
        lab.add_tap(self._tap)
        guest_read, self._write = os.pipe()
        self._read, guest_write = os.pipe()
        try:
            self._child = self._boot(index, guest_read, guest_write)
        finally:
            os.close(guest_read)
            os.close(guest_write)

    def _boot(self, index: int, read: int, write: int) -> Child:
        """Start the kernel; its console is the child's output, its second terminal the line to the agent."""
        # A name that no killed predecessor has left in use.
        umid = f"{self.name}-{time.monotonic_ns()}"
        kernel = [
            "linux.uml",
            f"mem={MEMORY_MIB}M",
            f"uml_dir={self.lab.directory}",
            f"umid={umid}",
            # The host's files are the guest's root, read-only: nothing in a guest can damage the host.
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={CODE}/guest_init.sh",
            f"LAB_CODE={CODE}",
            f"LAB_RESULTS={self.results}",
            f"LAB_NAME={self.name}",
            f"LAB_MAC=02:00:0a:c7:00:{index:02x}",
            f"LAB_ADDRESS=10.199.0.{10 + index}/24",
            f"LAB_PYTHON={os.path.realpath(sys.executable)}",
            f"vec0:transport=tap,ifname={self._tap},depth=128,gro=1",
            "con=null",
            "con0=fd:0,fd:1",
            f"con1=fd:{read},fd:{write}",
        ]
        return self.lab.spawn(f"guest-{self.name}", kernel, pass_fds=(read, write), own_processes=True)

    def wait_ready(self) -> None:
        """Wait until the guest serves calls.

        Raises:
            LabError: it did not boot.
        """
        if self.receive((0, 0), time.monotonic() + BOOT_TIMEOUT_S) is None:
            raise LabError(f"guest {self.name} did not boot:\n{tail(self._child.output)}")

    @property
    def console(self) -> Path:
        """The file with the kernel's messages."""
        return self._child.output

    @property
    def pid(self) -> int:
        """The host's id of the process that holds the guest."""
        return self._child.pid

    def alive(self) -> bool:
        """Whether the kernel runs."""
        return self._child.alive()

    def process(self, user: User = ROOT) -> GuestProcess:
        """Return a new process of the guest; it starts with its first call and ends with end_processes()."""
        process = self._new_process(user)
        self._extra.append(process)
        return process

    def _new_process(self, user: User) -> GuestProcess:
        """Return a process with the next number."""
        self._processes += 1
        return GuestProcess(self, self._processes, user)

    def end_processes(self) -> None:
        """Kill what process() returned."""
        while self._extra:
            self._extra.pop().kill()

    def call(
        self, function: Callable[..., Any], *arguments: Any, user: User = ROOT, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Call a workloads function and return its result; one process for each user serves such calls."""
        process = self._callers.get(user) or self._new_process(user)
        self._callers[user] = process
        try:
            return process.call(function, *arguments, timeout_s=timeout_s)
        except GuestTimeout:
            self._callers.pop(user)
            raise

    def send(self, message: dict[str, Any]) -> None:
        """Send one request to the agent."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._write, data) :]
        except BrokenPipeError as gone:
            raise LabError(f"guest {self.name} is gone:\n{tail(self.console)}") from gone

    def receive(self, key: tuple[int, int], deadline: float) -> dict[str, Any] | None:
        """Return the reply to a call, waiting until a monotonic time; None if it has not come by then."""
        ready = select.poll()
        ready.register(self._read, select.POLLIN)
        while key not in self.replies:
            patience_s = max(0.0, deadline - time.monotonic())
            if not ready.poll(patience_s * 1000):
                return None
            data = os.read(self._read, 1 << 16)
            if not data:
                raise LabError(f"guest {self.name} stopped:\n{tail(self.console)}")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                self.replies[message.get("process", 0), message.get("call", 0)] = message
        return self.replies[key]

    def show_blocked(self, answering: bool) -> None:
        """Have the kernel print its blocked tasks, for the report; the guest is not to be used again."""
        self.healthy = False
        if answering:
            from .workloads import system

            pending = self.process().start(system.show_blocked, timeout_s=5)
            self.receive(pending._key, time.monotonic() + 5)

    def close(self) -> None:
        """Switch the guest off, by force if need be."""
        if self.alive() and self.healthy:
            self.send({"halt": True})
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(HALT_TIMEOUT_S)
        self._child.kill()
        for fd in (self._read, self._write):
            os.close(fd)
        self.lab.children.remove(self._child)
        self.lab.remove_tap(self._tap)
