"""What is being brought to the disk, at `power`: from a change of a file system until its result is stored.

Owns which directories and objects that concerns, and the requests that wait for them.  Until its result is stored a
change is in doubt, and a crash leaves its intent to be judged by what the file system shows: nobody may change the
same directory or object meanwhile.  Must not know operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nfsd.vfs.interface import Node


class InDoubt:
    """The nodes of all requests whose changes are being brought to the disk, each with their number."""

    def __init__(self) -> None:
        self.nodes: dict[Node, int] = {}
        self._parked: list[Callable[[], None]] = []
        self._closed = False

    def parks(self, current: Node | None, saved: Node | None, go_on: Callable[[], None]) -> bool:
        """Whether a request that is about to change these has to wait; then `go_on` is called in time."""
        if current not in self.nodes and saved not in self.nodes:
            return False
        self._parked.append(go_on)
        return True

    def begin(self, nodes: Iterable[Node]) -> None:
        """Take note that these nodes are being brought to the disk."""
        for node in nodes:
            node.busy += 1
            self.nodes[node] = self.nodes.get(node, 0) + 1

    def end(self, nodes: Iterable[Node]) -> None:
        """The result of the change is on its way to the store, ahead of whatever comes next."""
        for node in nodes:
            node.busy -= 1
            self.nodes[node] -= 1
            if not self.nodes[node]:
                del self.nodes[node]
        parked, self._parked = self._parked, []
        if not self._closed:
            for go_on in parked:
                go_on()

    def close(self) -> None:
        """The server stops: who waits has changed nothing, and will ask the next one."""
        self._closed = True
