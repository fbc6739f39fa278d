"""The fence agent of the virtual machines: off means off, and one node at most gets its way."""

from __future__ import annotations

import pytest

from vagrant.failover.machines import OFF, PAUSED, RUNNING, Hypervisor, MachineError
from vagrant.fence_agent import answer

TOKEN = "word"


class FakeHypervisor(Hypervisor):
    """Two machines that obey, unless told not to."""

    provider = "fake"

    def __init__(self, **states: str) -> None:
        self.states = {name.replace("_", "-"): state for name, state in states.items()}
        self.broken = False

    def _id(self, name: str) -> str | None:
        return name if name in self.states else None

    def _state(self, machine: str) -> str:
        if self.broken:
            raise MachineError("no answer")
        return self.states[machine]

    def _pull(self, machine: str) -> None:
        self.states[machine] = OFF

    def power_on(self, name: str) -> None:
        self.states[name] = RUNNING

    def pause(self, name: str) -> None:
        self.states[name] = PAUSED

    def resume(self, name: str) -> None:
        self.states[name] = RUNNING


@pytest.mark.parametrize("state", [RUNNING, PAUSED, OFF])
def test_off(state: str) -> None:
    """Running, standing still or off already: it is off when the answer says so."""
    machines = FakeHypervisor(nfs_a=state, nfs_b=RUNNING)
    assert answer(machines, TOKEN, "word off nfs-a by nfs-b") == "off nfs-a"
    assert machines.states["nfs-a"] == OFF


def test_never_made() -> None:
    """A machine that was never made cannot hold anything."""
    assert answer(FakeHypervisor(nfs_b=RUNNING), TOKEN, "word off nfs-a by nfs-b") == "off nfs-a"


def test_both_ask() -> None:
    """Of two nodes that want each other off, the second is off itself when its turn comes."""
    machines = FakeHypervisor(nfs_a=RUNNING, nfs_b=RUNNING)
    assert answer(machines, TOKEN, "word off nfs-a by nfs-b") == "off nfs-a"
    assert answer(machines, TOKEN, "word off nfs-b by nfs-a") == "no: nfs-a is off itself"
    assert machines.states["nfs-b"] == RUNNING


@pytest.mark.parametrize("line", [
    "", "guess off nfs-a by nfs-b", "word on nfs-a by nfs-b", "word off client by nfs-b", "word off nfs-b by nfs-b",
    "word off nfs-a", "word off nfs-a by stranger", "word off nfs-a by nfs-b twice",
])  # fmt: skip
def test_refused(line: str) -> None:
    """Whoever lacks the token, or asks for anything else, gets nothing done."""
    machines = FakeHypervisor(nfs_a=RUNNING, nfs_b=RUNNING)
    assert answer(machines, TOKEN, line).startswith("no: ")
    assert machines.states == {"nfs-a": RUNNING, "nfs-b": RUNNING}


def test_unknown_is_no() -> None:
    """A hypervisor that does not answer is no confirmation."""
    machines = FakeHypervisor(nfs_a=RUNNING, nfs_b=RUNNING)
    machines.broken = True
    assert answer(machines, TOKEN, "word off nfs-a by nfs-b") == "no: no answer"
