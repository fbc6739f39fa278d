"""Two nodes and the service groups that move between them; a group as the tests see a server.

Owns which node serves a group, what the nodes' logs and addresses say of how that changed, and that both nodes are
whole again afterwards. It must not know what clients do.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.waiting import until

from .lab import Lab
from .namespace import LabError
from .nodes import POLL_S, Group, Node, Plan
from .server import SQUASH, WORK, UnderstudyServer

NODE_NAMES = ("nfs-a", "nfs-b")
# Detection, fence, takeover and a busy machine; what it took is judged elsewhere.
ROLE_TIMEOUT_S = 30.0


def make_group(directory: Path, name: str, number: int) -> Group:
    """A service group with its exports and its state in a directory that every node sees."""
    place = directory / f"shared-{name}"
    return Group(name, number, place / "state", {WORK: place / "export-work", SQUASH: place / "export-squash"})


class Service(UnderstudyServer):
    """A service group of a cluster, for whoever wants a server: it is where its address is."""

    def __init__(self, cluster: "Cluster", group: Group) -> None:
        group.state.parent.mkdir()
        super().__init__(cluster.lab, group.state.parent, group.address)
        self.cluster = cluster
        self.group = group

    def start(self) -> None:
        self.cluster.start()

    def stop(self) -> None:
        self.cluster.stop()

    def alive(self) -> bool:
        return any(node.role(self.group) == "active" for node in self.cluster.nodes)

    def command(self) -> list[str]:
        raise LabError("a service group is served by nodes, not by one command")

    def kill(self) -> None:
        self.cluster.power_off()

    kill_all = kill

    def active_pid(self, after: int = 0) -> int:
        """Return the id of the process that serves, another one than `after`, on whichever node."""

        def serving() -> int:
            for node in self.cluster.nodes:
                status = node.status(self.group)
                if status.get("role") == "active" and status["pid"] != after:
                    return int(status["pid"])
            return 0

        return until(
            serving, lambda: f"somebody serves {self.group.name}:\n{self.report()}", ROLE_TIMEOUT_S, POLL_S, LabError
        )

    def left_over(self) -> dict[str, int]:
        status = self.cluster.active(self.group).status(self.group)
        return {name: status[name] for name in ("opens", "locks") if status[name]}

    def report(self) -> str:
        return "\n".join(node.report(self.group) for node in self.cluster.nodes)

    def _logs(self) -> list[Path]:
        places = [node.log(self.group) for node in self.cluster.nodes]
        places += [self.lab.directory / f"{node.name}-{self.group.name}.out" for node in self.cluster.nodes]
        return [path for path in places if path.exists()]


class Cluster:
    """The nodes. To be closed before the lab is, so that paused processes end too."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        self.lab = lab
        self.plan = plan
        self.services = {group.name: Service(self, group) for group in plan.groups}
        switch = lab.directory / "nodes.json"
        program = next(iter(self.services.values())).program()
        self.nodes = [Node(lab, name, number, plan, program, switch) for number, name in enumerate(NODE_NAMES, 1)]
        switch.write_text(json.dumps({node.name: node.describe() for node in self.nodes}))
        for node in self.nodes:
            node.write_files([peer for peer in self.nodes if peer is not node])

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both nodes; the first one gets every group, as it is the first to be there."""
        first, second = self.nodes
        first.start()
        for group in self.plan.groups:
            if not self.plan.manager:
                first.command(group, "promote")
            self.wait_role(first, group, "active")
        second.start()
        for group in self.plan.groups:
            self.wait_role(second, group, "standby")

    def stop(self) -> None:
        """Stop both nodes politely, the one in reserve first, so that nothing moves."""
        for node in sorted(self.nodes, key=lambda node: any(node.role(g) == "active" for g in self.plan.groups)):
            node.stop()

    def power_off(self) -> None:
        """Switch both nodes off."""
        for node in self.nodes:
            node.power_off()

    # -- who serves -----------------------------------------------------------------------------------------

    def active(self, group: Group, timeout_s: float = ROLE_TIMEOUT_S) -> Node:
        """The node that serves a group; it is waited for.

        Raises:
            LabError: there is none in time.
        """
        found = until(
            lambda: [node for node in self.nodes if node.role(group) == "active"],
            lambda: f"somebody serves {group.name}:\n{self.services[group.name].report()}",
            timeout_s,
            POLL_S,
            LabError,
        )
        return found[0]

    def other(self, node: Node) -> Node:
        """The node that this one is not."""
        return self.nodes[1 - self.nodes.index(node)]

    def wait_role(self, node: Node, group: Group, role: str, timeout_s: float = ROLE_TIMEOUT_S) -> None:
        """Wait until a node has a role for a group.

        Raises:
            LabError: it has another one still.
        """
        until(
            lambda: node.role(group) == role,
            lambda: (
                f"{node.name}, which is {node.role(group) or 'silent'}, is {role} for {group.name}:\n"
                f"{self.services[group.name].report()}"
            ),
            timeout_s,
            POLL_S,
            LabError,
        )

    def restore(self) -> None:
        """Have both nodes be there and connected, and each group served by one, the other in reserve."""
        for node in self.nodes:
            if not node.alive():
                node.power_on()
        for group in self.plan.groups:
            self.wait_role(self.other(self.active(group)), group, "standby")

    # -- what they said ---------------------------------------------------------------------------------------

    def events(self, node: Node, group: Group, since: float) -> list[dict[str, Any]]:
        """What a node's daemon has logged since a moment (wall clock, s); `at` is when."""
        found = []
        for line in node.log(group).read_text(errors="replace").splitlines():
            event = json.loads(line)
            event["at"] = datetime.fromisoformat(event["ts"]).timestamp()
            if event["at"] >= since:
                found.append(event)
        return found

    def address_moves(self, node: Node, group: Group, since: float) -> list[tuple[float, bool]]:
        """When a group's address came to a node (True) or left it, as the node's kernel has it."""
        found = []
        for line in (self.lab.directory / f"addresses-{node.name}.out").read_text().splitlines():
            stamp, _, rest = line.partition("] ")
            if f" {group.address}/" in rest:
                at = datetime.fromisoformat(stamp.lstrip("[")).timestamp()
                found.append((at, not rest.startswith("Deleted")))
        return [(at, came) for at, came in found if at >= since]

    def fences(self, since: float) -> list[dict[str, Any]]:
        """What the power switch has done at the daemons' request since a moment."""
        path = self.lab.directory / "nodes.log"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["ts"] >= since and line["asked_by"]]
