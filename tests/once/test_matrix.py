"""A crash at every boundary of every changing request: the retry's reply is that of a run without a crash, and the
effect is there exactly once (RFC 8881 2.10.6.5, RFC 7530 9.1.7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.once.harness import Boundaries, Crash, World, decoded, meaning, patched
from tests.once.scenarios import SCENARIOS, Client, Scenario
from tests.wire import operations as ops
from xdr.generated import nfs4

CASES = [
    pytest.param(scenario, minor, id=f"{scenario.name}-4.{minor}")
    for scenario in SCENARIOS
    for minor in scenario.minors
]
SAFE = Path("/dev/shm")


@pytest.fixture(scope="module")
def boundaries() -> Iterator[Boundaries]:
    """The boundaries around everything that a server of this file does."""
    found = Boundaries()
    with patched(found):
        yield found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the worlds are: in memory if possible, for the sake of speed."""
    return SAFE if SAFE.is_dir() else tmp_path


class Run:
    """One world in which one request is under way."""

    def __init__(self, boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int) -> None:
        self.boundaries = boundaries
        self.world = World(boundaries, directory)
        self.client = Client(self.world, minor)
        scenario.prepare(self.client)
        self.before = self.world.tree()
        self.record = self.client.record(*scenario.request(self.client))

    def send(self, deadly: int = 0) -> bytes:
        """Send the request; die at a boundary."""
        self.boundaries.arm(deadly)
        return self.world.send(self.record)

    def restart(self, deadly: int = 0) -> bool:
        """Die and start again; whether the start was survived."""
        self.world.die()
        self.boundaries.arm(deadly)
        try:
            self.world.start()
        except Crash:
            return False
        finally:
            self.boundaries.armed = False
        return True


class Reference:
    """What a run without a crash does."""

    def __init__(self, boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int) -> None:
        run = Run(boundaries, directory, scenario, minor)
        self.body = run.send()
        boundaries.armed = False
        self.points = boundaries.passed
        self.before, self.after = run.before, run.world.tree()
        self.reply = meaning(decoded(self.body))
        assert decoded(self.body).status == scenario.expect, nfs4.nfsstat4_names[decoded(self.body).status]
        # A reply that was lost after the commit.
        assert run.world.send(run.record) == self.body
        assert run.restart()
        if decoded(self.body).status == nfs4.NFS4_OK or minor:
            assert run.world.send(run.record) == self.body
        assert run.world.tree() == self.after
        run.world.close()


def check_retry(run: Run, reference: Reference, minor: int) -> None:
    """The retry is answered as a run without a crash, a second one by the same bytes; the effect is there once."""
    body = run.world.send(run.record)
    assert meaning(decoded(body)) == reference.reply
    assert run.world.tree() == reference.after
    if minor or decoded(body).status == nfs4.NFS4_OK:
        assert run.world.send(run.record) == body
        assert run.world.tree() == reference.after
    intents = [name for name in _kinds(run.world) if name == "INTENT"]
    assert not intents


def _kinds(world: World) -> list[str]:
    from statestore import kind_name

    world.server.store.flush()
    return [kind_name(kind) for kind, _key, _value in world.server.store.load()]


@pytest.mark.parametrize(("scenario", "minor"), CASES)
def test_crash(boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int, record_property: Any) -> None:
    """Every boundary x {retry, no retry, a second crash at every boundary of the recovery}."""
    reference = Reference(boundaries, directory, scenario, minor)
    cells = 0
    for deadly in range(1, len(reference.points) + 1):
        cells += _crash_at(boundaries, directory, scenario, minor, reference, deadly)
    record_property("cells", cells)
    record_property("points", len(reference.points))


def _crash_at(
    boundaries: Boundaries, directory: Path, scenario: Scenario, minor: int, reference: Reference, deadly: int
) -> int:
    """Crash at one boundary; the number of ways that were tried from there."""
    second = cells = 0
    while True:
        run = Run(boundaries, directory, scenario, minor)
        try:
            with pytest.raises(Crash):
                run.send(deadly)
            survived = run.restart(second)
            recovery = len(boundaries.passed)
            if not survived:
                assert run.restart()
            if not second:
                # Without a retry: done as a whole, or not begun.
                assert run.world.tree() in (reference.before, reference.after)
                cells += 1
            check_retry(run, reference, minor)
            cells += 1
            run.client.ok(ops.putfh(run.client.root))
        finally:
            run.world.close()
        second += 1
        if survived and second > 1 or second > recovery:
            return cells
