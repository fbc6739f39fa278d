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

from tests.support.processes import Child

from .namespace import LabError, Namespace, search_environment

SERVER_ADDRESS = "10.199.0.1"
BRIDGE = "br0"
BRIDGE_MAC = "02:00:0a:c7:00:fe"


class Lab:
    """The namespace and its processes. Use it as a context manager, in the main thread.

    The main thread matters twice: only there can SIGTERM be handled, and a parent-death signal is sent when
    the thread that started the child ends.
    """

    def __init__(self, directory: Path | None = None) -> None:
        parent = directory or os.environ.get("UNDERSTUDY_LAB_DIR")
        self.directory = Path(tempfile.mkdtemp(prefix="understudy-kernel-", dir=parent)).resolve()
        self.directory.chmod(0o755)
        self.environment = search_environment()
        self.children: list[Child] = []
        self._namespace: Namespace | None = None
        self._others: list[Namespace] = []
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
        """Make the namespace with the bridge."""
        self._namespace = Namespace()
        # Left to itself, a bridge takes another address whenever a tap comes or goes, and guests know the old one.
        bridge = [BRIDGE, "address", BRIDGE_MAC, "type", "bridge", "forward_delay", "0", "stp_state", "0"]
        self.run(["ip", "link", "add", *bridge])
        self.run(["ip", "address", "add", f"{SERVER_ADDRESS}/24", "dev", BRIDGE])
        self.run(["ip", "link", "set", BRIDGE, "up"])

    @property
    def namespace(self) -> Namespace:
        """The namespace with the bridge."""
        if self._namespace is None:
            raise LabError("the lab is not open")
        return self._namespace

    def add_namespace(self) -> Namespace:
        """Make a further namespace, which goes with the lab."""
        self._others.append(Namespace())
        return self._others[-1]

    def run(self, command: Sequence[str]) -> str:
        """Run a short command in the namespace with the bridge and return its output; see Namespace.run."""
        return self.namespace.run(command)

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        own_processes: bool = False,
        namespace: Namespace | None = None,
    ) -> Child:
        """Start a long-lived process in a namespace (the bridge's), its output in NAME.out of the lab's directory.

        own_processes gives it a process namespace too, so that killing it takes its helpers along.
        """
        wrapper = ["setpriv", "--pdeathsig", "KILL"]
        inner = ["unshare", "--pid", "--fork", "--kill-child"] if own_processes else []
        output = self.directory / f"{name}.out"
        with output.open("ab") as file:
            process = subprocess.Popen(
                [*wrapper, *(namespace or self.namespace).inside([*inner, *command])],
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

    def add_cable(self, name: str, other: Namespace, interface: str) -> None:
        """Add a pair of virtual interfaces: NAME on the bridge, the other end under another name in its namespace."""
        peer = ["peer", "name", interface, "netns", str(other.holder_pid)]
        self.run(["ip", "link", "add", name, "type", "veth", *peer])
        self.plug_in(name)
        other.run(["ip", "link", "set", interface, "up"])

    def pull_out(self, name: str) -> None:
        """Take a cable's end out of the bridge: nothing passes any more, and its node has no way to see that."""
        self.run(["ip", "link", "set", name, "nomaster"])

    def plug_in(self, name: str) -> None:
        """Put a cable's end into the bridge."""
        self.run(["ip", "link", "set", name, "master", BRIDGE, "up"])

    def remove_tap(self, name: str) -> None:
        """Remove a tap device, even while a killed guest is still on its way out."""
        self.run(["ip", "link", "delete", name])

    def close(self) -> None:
        """Stop everything, the last started first, and remove the directory. May be called twice."""
        while self.children:
            self.children.pop().kill()
        while self._others:
            self._others.pop().close()
        if self._namespace is not None:
            namespace, self._namespace = self._namespace, None
            namespace.close()
        if not os.environ.get("UNDERSTUDY_KEEP_LAB"):
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None
