"""The namespace lab of tests/kernel as a place: nodes are network namespaces of this machine, clients are small guests.

Owns only how the test's words are said there. Nodes share this machine's kernel: no power is lost there, and with it no
data; what the clients do about it is the same.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.kernel import clients as kernel_clients
from tests.kernel import cluster as kernel_cluster
from tests.kernel import nodes as kernel_nodes
from tests.kernel.guest import Pending
from tests.kernel.lab import Lab
from tests.kernel.server import WORK
from tests.kernel.workloads import system
from tests.support.waiting import watch

from . import load, places
from .places import Client, Node, Patience, Place

LOAD = Path(load.__file__).resolve()
VERSION = "4.2"
# For write=eager see `unstable` in load.py.
EAGER = "/run/nfs/eager"
POLL_S = 0.02
ENDING_S = 60.0


class NamespaceNode(Node):
    """A node of the lab, for its one service group."""

    def __init__(self, node: kernel_nodes.Node, group: kernel_nodes.Group) -> None:
        self.name = node.name
        self._node = node
        self._group = group

    def role(self) -> str:
        return self._node.role(self._group)

    def suffer(self, harm: str) -> float:
        if harm == places.KILL_DAEMON:
            return self._kill_daemon()
        if harm == places.KILL_WORKER:
            return self._node.kill_active(self._group)
        if harm == places.HANDOVER:
            return self._node.handover(self._group)
        node = self._node
        return {places.POWER_OFF: node.power_off, places.CUT: node.cut, places.FREEZE: node.pause}[harm]()

    def _kill_daemon(self) -> float:
        """No service manager is there to tell keepalived of it, as its unit does: it is told here."""
        pid = int(self._node.status(self._group)["supervisor_pid"])
        moment = time.time()
        os.kill(pid, 9)
        self._node.instance(self._group).fault_file.write_text("1\n")
        return moment

    def restore(self) -> None:
        self._node.resume()
        self._node.mend()

    def log(self) -> list[dict[str, Any]]:
        return [dict(json.loads(line)) for line in self._node.log(self._group).read_text().splitlines()]

    def boot(self) -> str:
        return str(self._node.status(self._group).get("supervisor_pid", ""))

    def regions(self, path: str) -> list[int]:
        return load.regions(str(self._group.exports[WORK] / path))


class NamespaceClient(Client):
    """A guest of the lab."""

    def __init__(self, client: kernel_clients.Client, pair: kernel_clients.Clients, mount_point: str) -> None:
        self.name = client.guest.name
        self.mount_point = mount_point
        self._client = client
        self._pair = pair
        self._out = client.guest.results
        self._working: Pending | None = None

    def start(self, directory: str, kinds: Sequence[str], interval_s: float, limit_s: float) -> None:
        path, out = f"{self.mount_point}/{directory}", f"/run/results/{directory}"
        self._out = self._client.guest.results / directory
        python = shlex.join([os.path.realpath(sys.executable), "-I", "-S", str(LOAD)])
        command = f"mkdir -p {path}; exec {python} work {out} {path}"
        words = f"{command} {interval_s} {limit_s} {' '.join(kinds)}"
        self._working = self._client.process().start(system.shell, words, "/", timeout_s=limit_s + ENDING_S)

    def first_step(self, kind: str) -> bool:
        log = self._out / f"{kind}.log"
        return log.exists() and log.stat().st_size > 0

    def stop(self, limit_s: float) -> dict[str, str]:
        (self._out / "stop").touch()
        watch((self._out / "ended").exists, bool, limit_s, POLL_S)
        if self._working is not None and (self._out / "ended").exists():
            self._working.result()
        return {path.name: path.read_text() for path in self._out.iterdir()}

    def stats(self) -> dict[str, list[int]]:
        return load.stats(str(self._client.call(system.mountstats)), self.mount_point)

    def complaints(self) -> list[str]:
        return self._pair.alarms()

    def ahead(self) -> float:
        """How far the guest's clock is ahead of ours."""
        found = []
        for _ in range(5):
            before = time.time()
            there = float(self._client.shell("date +%s.%N", "/"))
            after = time.time()
            found.append((after - before, there - (before + after) / 2))
        return min(found)[1]


class NamespacePlace(Place):
    """A lab of its own, made for the test and gone with it. Needs root, and what `make kernel-setup` installs."""

    name = "network namespaces"
    harms = places.HARMS
    clients: tuple[NamespaceClient, NamespaceClient]
    # keepalived needs a second there; the rest is what shows on any machine, however busy.
    patience = Patience(
        interval_s=0.01, quiet_s=2.0, settle_s=2.0, role_s=30.0, load_s=30.0,
        stall_s={places.KILL_WORKER: 2.0, places.HANDOVER: 2.0}, stall_other_s=3.0,
    )  # fmt: skip

    def __init__(self) -> None:
        with ExitStack() as stack:
            lab = stack.enter_context(Lab())
            group = kernel_cluster.make_group(lab.directory, "one", 1)
            self._cluster = kernel_cluster.Cluster(lab, kernel_nodes.Plan((group,)))
            stack.callback(self._cluster.power_off)
            self._cluster.start()
            pair = kernel_clients.Clients(lab, self._cluster.services[group.name], VERSION)
            stack.callback(pair.close)
            first, second = pair.ready()
            first.mount_at(WORK, EAGER, ",write=eager")
            self.clients = (NamespaceClient(first, pair, EAGER), NamespaceClient(second, pair, second.work))
            nodes = [NamespaceNode(node, group) for node in self._cluster.nodes]
            self.nodes = (nodes[0], nodes[1])
            self._stack = stack.pop_all()

    def fences(self) -> list[tuple[float, str]]:
        return [(float(line["ts"]), str(line["node"])) for line in self._cluster.fences(0.0)]

    def ahead(self, who: str) -> float:
        return next((client.ahead() for client in self.clients if client.name == who), 0.0)

    def close(self) -> None:
        self._stack.close()
