"""One server after another in one process: what the second takes over besides the clients' state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nfsd.config import load_config
from nfsd.server import Server
from nfsd.services import Services


def served(directory: Path, work: Callable[[Server], None]) -> None:
    """Start a server on the directory, do something while it serves, stop it."""
    values = {"state": ("--state", str(directory / "state")), "listen": ("--listen", "127.0.0.1:0")}
    (directory / "data").mkdir(exist_ok=True)
    config = load_config(options=values, exports=[f"{directory}/data=/a"])

    async def main() -> None:
        server = Server(config)
        server.prepare()
        try:
            await server.start()
            await asyncio.to_thread(work, server)
            await asyncio.sleep(0)
        finally:
            await server.stop()

    asyncio.run(main())


def services_of(server: Server) -> Services:
    """What its operations ask."""
    assert server._taken is not None
    return server._taken.engine.services


def test_write_verifier_over_takeover(tmp_path: Path) -> None:
    """The write verifier stays when only the process has died; what has changed it once is not forgotten."""
    found: list[bytes] = []

    def note(server: Server) -> None:
        found.append(services_of(server).verifier.value)

    def lose(server: Server) -> None:
        services_of(server).writes_lost()
        note(server)

    for work in (note, note, lose, note):
        served(tmp_path, work)
    first, again, changed, later = found
    assert first == again != changed == later


def test_status_before_the_state_is_loaded(tmp_path: Path) -> None:
    """Every key is there; what is not known yet is None."""
    values = {"state": ("--state", str(tmp_path / "state"))}
    (tmp_path / "data").mkdir()
    server = Server(load_config(options=values, exports=[f"{tmp_path}/data=/a"]))
    early = server.target.status()
    assert early["role"] == "resuming" and early["opens"] is None
    later: dict[str, object] = {}
    served(tmp_path, lambda serving: later.update(serving.target.status()))
    assert set(later) == set(early) and later["role"] == "active"
