"""A crash at every boundary of every changing request: the retry's reply is that of a run without a crash, and the
effect is there exactly once (RFC 8881 2.10.6.5, RFC 7530 9.1.7)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from statestore import kind_name
from tests.once.harness import Boundaries, Crash, World, decoded, meaning
from tests.once.scenarios import SCENARIOS, Client, Scenario
from tests.support import operations as ops
from xdr.generated import nfs4

KINDS_OF_HANDLES = ("kernel", "table")
LONG = pytest.mark.long
# Of what is tried at `power`, what is tried every day.
EVERYDAY = ("rename over an open file",)


def cases(everyday: tuple[str, ...] | None = None) -> list[Any]:
    """Every request, minor version and kind of handles; all are long but those tried every day (None: all of them)."""
    return [
        pytest.param(
            scenario, minor, handles, id=f"{scenario.name}-4.{minor}-{handles}",
            marks=() if everyday is None or scenario.name in everyday and minor and handles == "kernel" else LONG,
        )
        for handles in KINDS_OF_HANDLES
        for scenario in SCENARIOS
        for minor in scenario.minors
    ]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request in one world, again and again."""

    boundaries: Boundaries
    directory: Path
    scenario: Scenario
    minor: int
    handles: str
    durability: str = "process"
    loses: bool = False


class Run:
    """One world in which the request is under way."""

    def __init__(self, case: Case) -> None:
        self.boundaries = case.boundaries
        self.minor = case.minor
        self.world = World(case.boundaries, case.directory, case.handles, durability=case.durability, loses=case.loses)
        self.client = Client(self.world, case.minor)
        case.scenario.prepare(self.client)
        self.before = self.world.tree()
        self.record = self.client.record(*case.scenario.request(self.client))

    def send(self, deadly: int = 0) -> bytes:
        """Send the request; die at a boundary."""
        self.boundaries.arm(deadly)
        return self.world.send(self.record)

    def restart(self, deadly: int = 0, kept: int | None = None) -> bool:
        """Die, with the power if `kept` says so, and start again; whether the start was survived."""
        self.world.die(kept)
        self.boundaries.arm(deadly)
        try:
            self.world.start()
        except Crash:
            return False
        finally:
            self.boundaries.armed = False
        return True

    def is_kept(self, body: bytes) -> bool:
        """Whether the reply is kept: NFSv4.0's only where something changed."""
        return self.minor > 0 or decoded(body).status == nfs4.NFS4_OK


class Reference:
    """What a run without a crash does, a reply that was lost after the commit included."""

    def __init__(self, case: Case) -> None:
        run = Run(case)
        body = run.send()
        case.boundaries.armed = False
        self.points = case.boundaries.passed
        self.before, self.after = run.before, run.world.tree()
        self.reply = meaning(decoded(body))
        status = decoded(body).status
        assert status == case.scenario.expect, nfs4.nfsstat4_names[status]
        assert not run.is_kept(body) or run.world.send(run.record) == body
        assert run.restart()
        assert not run.is_kept(body) or run.world.send(run.record) == body
        if case.handles == "kernel":
            assert run.world.tree() == self.after
        run.world.close()


def check_retry(run: Run, reference: Reference) -> None:
    """The retry is answered as in a run without a crash, a second one by the same bytes; the effect is there once."""
    body = run.world.send(run.record)
    assert meaning(decoded(body)) == reference.reply
    assert run.world.tree() == reference.after
    if run.is_kept(body):
        assert run.world.send(run.record) == body
        assert run.world.tree() == reference.after
    run.world.life.outbox.store.flush()
    assert "INTENT" not in {kind_name(kind) for kind, _key, _value in run.world.life.outbox.store.load()}
    assert not run.world.life.engine.counters.recovered["undecidable"]
    run.client.ok(ops.putfh(run.client.root))


@pytest.mark.parametrize(("scenario", "minor", "handles"), cases())
def test_crash(
    boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int, handles: str, cells: dict[str, list[int]]
) -> None:
    """Every boundary x {retry, no retry, a second crash at every boundary of the recovery}."""
    crash(Case(boundaries, directory, scenario, minor, handles), cells)


@pytest.mark.parametrize(("scenario", "minor", "handles"), cases(EVERYDAY))
def test_crash_power(
    boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int, handles: str, cells: dict[str, list[int]]
) -> None:
    """Every boundary, where everything is synced."""
    crash(Case(boundaries, directory, scenario, minor, handles, "power"), cells)


def crash(case: Case, cells: dict[str, list[int]]) -> None:
    """Crash at each boundary of a run."""
    reference = Reference(case)
    tried = [crash_at(case, reference, deadly) for deadly in range(1, len(reference.points) + 1)]
    name = f"{case.scenario.name}, 4.{case.minor}, {case.handles}, {case.durability}"
    cells[name] = [len(tried), sum(tried)]


def crash_at(case: Case, reference: Reference, deadly: int) -> int:
    """Crash at one boundary, and in the recovery at none and at each; how many ways were tried."""
    second = tried = 0
    while True:
        run = Run(case)
        try:
            with pytest.raises(Crash):
                run.send(deadly)
            survived = run.restart(second)
            if second and survived:
                return tried  # The recovery has no such boundary.
            if not survived:
                assert run.restart()
            # If no retry came, that would be it: not begun, or done.
            assert run.world.tree() in (reference.before, reference.after)
            check_retry(run, reference)
        finally:
            run.world.close()
        second += 1
        tried += 1
        if case.handles != "kernel":
            return tried  # The recovery is the same.


# -- the power goes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "minor", "handles"), cases(EVERYDAY))
def test_power_loss(
    boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int, handles: str, cells: dict[str, list[int]]
) -> None:
    """Every boundary x {each number of the changes that were not synced is kept} x {another loss in the recovery}."""
    case = Case(boundaries, directory, scenario, minor, handles, "power", loses=True)
    reference = Reference(case)
    tried = [lose_at(case, reference, deadly) for deadly in range(1, len(reference.points) + 1)]
    cells[f"{scenario.name}, 4.{minor}, {handles}, power lost"] = [len(tried), sum(tried)]


def lose_at(case: Case, reference: Reference, deadly: int) -> int:
    """Lose power at one boundary, and again at each of the recovery; how many ways were tried."""
    tried = kept = second = 0
    while True:
        run = Run(case)
        try:
            with pytest.raises(Crash):
                run.send(deadly)
            disk = case.boundaries.disk
            assert disk is not None
            if kept and kept > len(disk.pending):
                return tried
            survived = run.restart(second, kept)
            if not survived:
                assert run.restart(0, 0)
            assert run.world.tree() in (reference.before, reference.after)
            check_retry(run, reference)
        finally:
            run.world.close()
        tried += 1
        if second and survived or case.handles != "kernel":
            kept, second = kept + 1, 0
        else:
            second += 1
