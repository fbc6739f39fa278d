"""Two nodes of one service group, each in a network namespace of its own, and a client beside them.

Owns the nodes' configuration, processes and logs. Must not know the protocol, nor what is done to the nodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nfsd.admin.control import ControlError, ask
from tests.pair.process import ROOT, until
from tests.wire.client import Connection

from .network import Network

ADDRESS, PREFIX, PORT = "10.77.0.10", 24, 2049
COMMAND = (sys.executable, "-c", "from nfsd.cli import main; main()")
TIMEOUT_S = 20.0
CONFIG = """
[server]
listen = "{address}:{port}"
state = "{state}"
control = "{place}/control"
node = "{name}"
log_file = "{place}/log"
durability = "{durability}"
[cluster]
fence = "{fence}"
{hooks}
[[export]]
path = "{export}"
pseudo = "/export"
options = "rw,insecure,no_root_squash"
"""
ADDRESS_HOOKS = f"""
address_up = "ip address add {ADDRESS}/{PREFIX} dev eth0"
address_down = "ip address del {ADDRESS}/{PREFIX} dev eth0"
"""


class GroupNode:
    """One node: its directory, and its daemon in its namespace."""

    def __init__(self, group: Group, name: str) -> None:
        self.group = group
        self.name = name
        self.place = group.directory / name
        self.place.mkdir()
        self.config = self.place / "group.toml"
        self.state = group.state
        self.log = self.place / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.program: Sequence[str] = COMMAND
        self.configure()

    def configure(self, *, fence: str = "host", hooks: str = "", durability: str = "process") -> None:
        """Write its file; `hooks` are more lines of [cluster]."""
        self.config.write_text(CONFIG.format(
            address=ADDRESS, port=PORT, state=self.state, place=self.place, name=self.name, fence=fence,
            hooks=ADDRESS_HOOKS + hooks, durability=durability, export=self.group.export,
        ))  # fmt: skip

    def launch(self, **environment: str) -> None:
        """Start the daemon in a session of its own, without waiting."""
        self.process = self.group.network.nodes[self.name].call(
            subprocess.Popen, [*self.program, "standby", "--config", str(self.config)], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip

    def start(self, **environment: str) -> None:
        """Start the daemon, and wait until it stands by."""
        self.launch(**environment)
        self.wait("standby")

    def ask(self, command: str, timeout_s: float = TIMEOUT_S, **arguments: Any) -> Any:
        """One command over the control socket.  Raises ControlError."""
        return ask(self.place / "control", command, timeout_s=timeout_s, **arguments)

    def role(self) -> str:
        """What it is now, or "nobody"."""
        try:
            return str(self.ask("status", 5.0)["role"])
        except ControlError:
            return "nobody"

    def wait(self, role: str) -> None:
        """Until it is that."""
        until(lambda: self.role() == role, f"node {self.name} is {role}:\n{self.tail()}")

    def promote(self, **arguments: Any) -> None:
        """Have it serve."""
        self.ask("promote", **arguments)

    def let_go(self, command: str = "handover") -> None:
        """Have it stand by again."""
        self.ask(command)
        self.wait("standby")

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the daemon, if any lives."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL to all of it; what the manager of a cluster would do with the address is done as well."""
        self.signal_all(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(TIMEOUT_S)
            self.process = None
        self.drop_address()

    def drop_address(self) -> None:
        """Take the service address from it, if it has it."""
        node = self.group.network.nodes[self.name]
        command = ["ip", "address", "del", f"{ADDRESS}/{PREFIX}", "dev", "eth0"]
        node.call(subprocess.run, command, capture_output=True, timeout=TIMEOUT_S)

    def stop(self) -> int:
        """SIGTERM to the supervisor, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(TIMEOUT_S)
        self.process = None
        return code

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines with this event name, oldest first."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line)
        return [line for line in lines if line["event"] == name]

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text()[-4000:] if self.log.exists() else "no log"


class Group:
    """Nodes a and b and what they share; `client` is in a third namespace. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self.directory = directory
        self.export = directory / "export"
        self.export.mkdir(mode=0o777)
        self.export.chmod(0o777)
        self.state = directory / "state"
        self.network = Network(a=("10.77.0.1/24",), b=("10.77.0.2/24",), client=("10.77.0.3/24",))
        self.a: GroupNode
        self.b: GroupNode

    def __enter__(self) -> Self:
        self.network.__enter__()
        self.a, self.b = GroupNode(self, "a"), GroupNode(self, "b")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in (self.a, self.b):
            node.signal_all(signal.SIGKILL)
            if node.process is not None:
                node.process.wait(TIMEOUT_S)
        self.network.__exit__(kind, error, trace)

    def connect(self) -> Connection:
        """A connection from the client to whoever has the service address."""
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self.network.nodes["client"].call(Connection, PORT, address=ADDRESS)
            except OSError:
                if time.monotonic() >= end_s:
                    raise
            time.sleep(0.02)
