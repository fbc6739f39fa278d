"""Servers to flood, one for each level of durability, which end with their tests; and whether FUSE is there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hostile.mounted import complaint
from tests.hostile.run import judge_end
from tests.hostile.server import TargetServer

ENTRIES = 4_000


class Targets:
    """A server of each level of durability, started when it is first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._servers: dict[str, TargetServer] = {}

    def of(self, durability: str) -> TargetServer:
        """The server of a level."""
        if durability not in self._servers:
            server = TargetServer(self._factory.mktemp(durability), durability)
            server.furnish(ENTRIES)
            server.start()
            self._servers[durability] = server
        return self._servers[durability]

    def give_up(self, durability: str) -> None:
        """Leave a server that a flood has harmed to nobody else: the next one begins with nothing."""
        self._servers.pop(durability).close()

    def end(self) -> list[str]:
        """Stop them all; what is wrong with their ends, their logs and their stores."""
        return [problem for server in self._servers.values() for problem in judge_end(server)]

    def close(self) -> None:
        """End what still runs."""
        for server in self._servers.values():
            server.close()


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    """Servers to flood; those that lived through it are judged at last."""
    targets = Targets(tmp_path_factory)
    try:
        yield targets
        problems = targets.end()
    finally:
        targets.close()
    assert not problems


@pytest.fixture(scope="session")
def fuse() -> None:
    """Skip what this machine cannot mount, saying what it lacks; in CI that is a failure."""
    if (reason := complaint()) is not None:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
