"""A network of its own for one test run: a namespace with a bridge, taps for guests, and what runs in it.

Owns the namespace, the run's directory and every process started in it; takes all of it down at the end, on
failure and on SIGTERM, and, should the test run itself be killed, lets the kernel do so (parent-death
signals, the namespace's holder reading a pipe that ends). It must not know NFS, servers or guests.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from .packages import SEARCH_PATH

SERVER_ADDRESS = "10.199.0.1"
BRIDGE = "br0"
BRIDGE_MAC = "02:00:0a:c7:00:fe"
COMMAND_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


class LabError(RuntimeError):
    """The lab itself, not what is tested in it, failed."""


def tail(path: Path, size_max: int = 6000) -> str:
    """Return the last part of a text file, or an empty string if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - size_max))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


class Child:
    """A process of the lab, known by its id, with its output in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name = name
        self.process = process
        self.output = output

    @property
    def pid(self) -> int:
        """The process id on the host."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End it politely, then by force; return its exit code (negative: the signal)."""
        if self.alive():
            self.process.terminate()
            try:
                return self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self.process.wait()

    def kill(self) -> int:
        """End it at once; return its exit code."""
        if self.alive():
            self.process.kill()
        return self.process.wait(STOP_TIMEOUT_S)


class Lab:
    """The namespace and its processes. Use it as a context manager, in the main thread.

    The main thread matters twice: only there can SIGTERM be handled, and a parent-death signal is sent when
    the thread that started the child ends.
    """

    def __init__(self, directory: Path | None = None) -> None:
        parent = directory or os.environ.get("UNDERSTUDY_LAB_DIR")
        self.directory = Path(tempfile.mkdtemp(prefix="understudy-kernel-", dir=parent)).resolve()
        self.directory.chmod(0o755)
        self.environment = dict(os.environ, PATH=f"{SEARCH_PATH}:{os.environ.get('PATH', '')}")
        self.children: list[Child] = []
        self._holder: subprocess.Popen[bytes] | None = None
        self._previous_handler: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise LabError("a lab must be opened in the main thread")
        self._previous_handler = signal.signal(signal.SIGTERM, self._terminated)
        try:
            self._open_namespace()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _terminated(number: int, frame: FrameType | None) -> None:
        """Turn SIGTERM into the interrupt on which pytest runs its finalizers."""
        raise KeyboardInterrupt("SIGTERM")

    def _open_namespace(self) -> None:
        """Make the namespace: a shell waits in it for a pipe that ends with this process."""
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo up; exec cat"]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            raise LabError("no network namespace can be made here (unshare --net failed)")
        self.run(["ip", "link", "set", "lo", "up"])
        # Left to itself, a bridge takes another address whenever a tap comes or goes, and guests know the old one.
        bridge = [BRIDGE, "address", BRIDGE_MAC, "type", "bridge", "forward_delay", "0", "stp_state", "0"]
        self.run(["ip", "link", "add", *bridge])
        self.run(["ip", "address", "add", f"{SERVER_ADDRESS}/24", "dev", BRIDGE])
        self.run(["ip", "link", "set", BRIDGE, "up"])

    @property
    def holder_pid(self) -> int:
        """The id of the process whose /proc/PID/ns/net is the namespace."""
        if self._holder is None:
            raise LabError("the lab is not open")
        return self._holder.pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command in the namespace, under the same process id."""
        return ["nsenter", f"--net=/proc/{self.holder_pid}/ns/net", "--", *command]

    def run(self, command: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a short command in the namespace and return its output.

        Raises:
            LabError: it failed or took longer than timeout_s.
        """
        try:
            done = subprocess.run(
                self.inside(command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"{' '.join(command)}: no end after {timeout_s} s") from late
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def spawn(self, name: str, command: Sequence[str], *, pass_fds: Sequence[int] = (),
              own_processes: bool = False) -> Child:
        """Start a long-lived process in the namespace, its output in NAME.out of the lab's directory.

        own_processes gives it a process namespace too, so that killing it takes its helpers along.
        """
        wrapper = ["setpriv", "--pdeathsig", "KILL"]
        inner = ["unshare", "--pid", "--fork", "--kill-child"] if own_processes else []
        output = self.directory / f"{name}.out"
        with output.open("ab") as file:
            process = subprocess.Popen(
                [*wrapper, *self.inside([*inner, *command])],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                cwd=self.directory,
                start_new_session=True,
            )
        child = Child(name, process, output)
        self.children.append(child)
        return child

    def add_tap(self, name: str) -> None:
        """Add a tap device to the bridge."""
        self.run(["ip", "tuntap", "add", name, "mode", "tap"])
        self.run(["ip", "link", "set", name, "master", BRIDGE, "up"])

    def remove_tap(self, name: str) -> None:
        """Remove a tap device, even while a killed guest is still on its way out."""
        self.run(["ip", "link", "delete", name])

    def close(self) -> None:
        """Stop everything, the last started first, and remove the directory. May be called twice."""
        while self.children:
            self.children.pop().kill()
        if self._holder is not None:
            holder, self._holder = self._holder, None
            holder.kill()
            holder.communicate(timeout=STOP_TIMEOUT_S)
        if not os.environ.get("UNDERSTUDY_KEEP_LAB"):
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None
