"""A server that serves nothing: it answers what the control socket and the figures ask.

Owns the answers only. Must not know sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nfsd.admin.control import ControlError
from nfsd.admin.metrics import Snapshot


class FakeServer:
    """The real server's outside, with two clients and many opens."""

    def __init__(self) -> None:
        self.role = "active"
        self.events: list[str] = []
        self.expired: list[int] = []
        self.start_error: Exception | None = None
        self.target = self

    async def start(self) -> None:
        """Note it, and fail if the test wants that."""
        self.events.append("start")
        if self.start_error is not None:
            raise self.start_error

    async def stop(self) -> None:
        """Note it."""
        self.events.append("stop")

    def status(self) -> dict[str, Any]:
        """What `status` promises."""
        return {
            "role": self.role,
            "node": "n1",
            "epoch": 3,
            "pid": 1,
            "supervisor_pid": None,
            "clients": 2,
            "opens": 1000,
            "locks": 0,
            "listen": "127.0.0.1:7",
            "delegations": 0,
            "recovery": {"load": 0.25},
        }

    def clients(self) -> list[dict[str, Any]]:
        """One with a name that would clear a terminal."""
        return [
            {"clientid": "0x1e5", "name": "a\x1b[2J", "confirmed": True},
            {"clientid": "0x2", "name": "b", "confirmed": False},
        ]

    def opens(self) -> Iterator[dict[str, Any]]:
        """More than one piece of the reply, made row by row."""
        return ({"file": f"f{number}", "access": ["read"]} for number in range(1000))

    def locks(self) -> list[dict[str, Any]]:
        """None."""
        return []

    def delegations(self) -> list[dict[str, Any]]:
        """None."""
        return []

    def expire(self, clientid: int) -> bool:
        """Only client 2 exists."""
        self.expired.append(clientid)
        return clientid == 2

    def blackout(self, action: str, arguments: dict[str, Any]) -> Any:
        """Only /export/file is there."""
        self.events.append(f"blackout {action}")
        if action == "list":
            return []
        if arguments.get("file") == "/export/none":
            raise ControlError("there is no file /export/none")
        return arguments if action == "set" else arguments.get("file") == "/export/file"

    def metrics(self) -> Snapshot:
        """A counter, a gauge, one with a label, and a name nobody described."""
        operations = {"OPEN": 2, "CLOSE": 1}
        return {"opens": 4, "requests_total": 9, "operations_total": operations, "odd": {"x": 1.5}}
