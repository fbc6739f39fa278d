"""Servers to flood, one for each level of durability, which end with their tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.run import judge_end
from tests.hostile.server import TargetServer

ENTRIES = 4_000
Target = Callable[[str], TargetServer]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server of a level, which is started again if a flood has ended it; its log and its store are judged at last."""
    servers: dict[str, TargetServer] = {}

    def of_level(durability: str) -> TargetServer:
        server = servers.get(durability)
        if server is None:
            server = servers[durability] = TargetServer(tmp_path_factory.mktemp(durability), durability)
            server.furnish(ENTRIES)
        if not server.alive():
            server.close()
            server.start()
        return server

    try:
        yield of_level
        problems = [problem for server in servers.values() if server.alive() for problem in judge_end(server)]
    finally:
        for server in servers.values():
            server.close()
    assert not problems
