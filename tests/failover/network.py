"""A small network for one test: namespaces joined by a bridge, each with a thread that lives in it.

Owns the namespaces. They end with their threads, and so with the test run, however that ends. Must not know
what is tried in them.
"""

import ctypes
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

CLONE_NEWNET = 0x40000000
COMMAND_TIMEOUT_S = 10.0
JOB_TIMEOUT_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class Node:
    """A network namespace. What `call` runs, the sockets that it opens and its children belong to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._live, name=f"node-{name}", daemon=True)
        self._thread.start()
        self.thread_id = self._ready.result(JOB_TIMEOUT_S)
        self.run("ip link set lo up")

    def _live(self) -> None:
        """Leave the machine's namespace for a new one; then do what is asked until the end."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            code = ctypes.get_errno()
            self._ready.set_exception(OSError(code, f"no network namespace: {os.strerror(code)}"))
            return
        self._ready.set_result(threading.get_native_id())
        while (job := self._jobs.get()) is not None:
            future, work = job
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the namespace and return what it returns."""
        future: Future[T] = Future()
        self._jobs.put((future, lambda: function(*args, **kwargs)))
        return future.result(JOB_TIMEOUT_S)

    def run(self, command: str) -> str:
        """Run a short command in the namespace and return its output."""
        done = self.call(subprocess.run, command.split(), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr}"
        return str(done.stdout)

    def close(self) -> None:
        """Leave the namespace; it ends when its sockets are closed."""
        self._jobs.put(None)
        self._thread.join(JOB_TIMEOUT_S)


class Network:
    """Nodes on one bridge, by name: each has an interface `eth0`, and the bridge `port-NAME`."""

    def __init__(self, **addresses: tuple[str, ...]) -> None:
        self.bridge = Node("bridge")
        self.nodes: dict[str, Node] = {}
        self._addresses = addresses

    def __enter__(self) -> Self:
        self.bridge.run("ip link add br0 type bridge forward_delay 0 stp_state 0")
        self.bridge.run("ip link set br0 up")
        for name, addresses in self._addresses.items():
            node = self.nodes[name] = Node(name)
            self.bridge.run(f"ip link add name port-{name} type veth peer name eth0 netns {node.thread_id}")
            self.bridge.run(f"ip link set port-{name} master br0 up")
            node.run("ip link set eth0 up")
            for address in addresses:
                self.add_address(name, address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            node.close()
        self.bridge.close()

    def add_address(self, name: str, address: str) -> None:
        """Give a node an address, ADDRESS/PREFIX, in use at once."""
        self.nodes[name].run(f"ip address add {address} dev eth0{' nodad' if ':' in address else ''}")

    def cut(self, name: str) -> None:
        """Cut a node's cable: nothing leaves it or reaches it, and the node's own link looks as before."""
        self.bridge.run(f"ip link set port-{name} nomaster")

    def mend(self, name: str) -> None:
        """Plug a node's cable in again."""
        self.bridge.run(f"ip link set port-{name} master br0")

    def mac(self, name: str) -> str:
        """The link-layer address of a node."""
        return self.nodes[name].run("ip -br link show eth0").split()[2]
