"""Two nodes of one service group, each in a network namespace of its own, and a client beside them.

Owns the nodes' configuration, processes and logs. Must not know the protocol, nor what is done to the nodes.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.client import Connection
from tests.support.launcher import Launched
from tests.support.waiting import until

from .network import Network

ADDRESS, PREFIX, PORT = "10.77.0.10", 24, 2049
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


class GroupNode(Launched):
    """One node: its directory, and its daemon in its namespace."""

    says_ready = False

    def __init__(self, group: Group, name: str) -> None:
        super().__init__(group.directory / name)
        self.group = group
        self.name = name
        self.directory.mkdir()
        self.config = self.directory / "group.toml"
        self.state = group.state
        self.control = self.directory / "control"
        self.log = self.directory / "log"
        self.configure()

    def configure(self, *, fence: str = "host", hooks: str = "", durability: str = "process") -> None:
        """Write its file; `hooks` are more lines of [cluster]."""
        self.config.write_text(CONFIG.format(
            address=ADDRESS, port=PORT, state=self.state, place=self.directory, name=self.name, fence=fence,
            hooks=ADDRESS_HOOKS + hooks, durability=durability, export=self.group.export,
        ))  # fmt: skip

    def words(self) -> list[str]:
        """Stand by for the group."""
        return ["standby", "--config", str(self.config)]

    def popen(self, command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start it in the node's namespace."""
        return self.group.network.nodes[self.name].call(super().popen, command, **how)

    def wait_ready(self) -> None:
        """Wait until it stands by."""
        self.wait("standby")

    def wait(self, role: str) -> None:
        """Until it is that."""
        until(lambda: self.role() == role, lambda: f"node {self.name} is {role}:\n{self.report()}")

    def promote(self, **arguments: Any) -> None:
        """Have it serve."""
        self.ask("promote", **arguments)

    def let_go(self, command: str = "handover") -> None:
        """Have it stand by again."""
        self.ask(command)
        self.wait("standby")

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the daemon, if any lives."""
        if self.child is not None:
            self.child.signal_group(number)

    def kill(self) -> None:
        """SIGKILL to all of it; what the manager of a cluster would do with the address is done as well."""
        self.signal_all(signal.SIGKILL)
        super().kill()
        self.drop_address()

    def drop_address(self) -> None:
        """Take the service address from it, if it has it."""
        node = self.group.network.nodes[self.name]
        command = ["ip", "address", "del", f"{ADDRESS}/{PREFIX}", "dev", "eth0"]
        node.call(subprocess.run, command, capture_output=True, timeout=TIMEOUT_S)


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
            if node.child is not None:
                node.child.wait(TIMEOUT_S)
        self.network.__exit__(kind, error, trace)

    def connect(self) -> Connection:
        """A connection from the client to whoever has the service address."""
        client = self.network.nodes["client"]

        def reached() -> Connection | None:
            with contextlib.suppress(OSError):
                found: Connection = client.call(Connection, PORT, address=ADDRESS)
                return found
            return None

        connection = until(reached, "somebody serves at the service address")
        assert connection is not None
        return connection
