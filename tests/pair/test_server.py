"""One server after another in one process: what the second takes over besides the clients' state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nfsd.config import load_config
from nfsd.server import Server


def served(directory: Path, work: Callable[[Server], None]) -> Server:
    """Start a server on the directory, do something while it serves, stop it."""
    values = {"state": ("--state", str(directory / "state")), "listen": ("--listen", "127.0.0.1:0")}
    config = load_config(options=values, exports=[f"{directory}=/a"])

    async def main() -> Server:
        server = Server(config)
        server.prepare()
        try:
            await server.start()
            await asyncio.to_thread(work, server)
            await asyncio.sleep(0)
        finally:
            await server.stop()
        return server

    return asyncio.run(main())


def test_write_verifier_over_takeover(tmp_path: Path) -> None:
    """It stays when only the process has died, and what has changed it once is not forgotten by the next one."""
    first = served(tmp_path, lambda _server: None).write_verifier
    assert served(tmp_path, lambda _server: None).write_verifier == first
    changed = served(tmp_path, Server.writes_lost).write_verifier
    assert changed != first
    assert served(tmp_path, lambda _server: None).write_verifier == changed


def test_status_before_the_state_is_loaded(tmp_path: Path) -> None:
    """Every key is there; what is not known yet is None."""
    values = {"state": ("--state", str(tmp_path / "state"))}
    server = Server(load_config(options=values, exports=[f"{tmp_path}=/a"]))
    early = server.status()
    assert early["role"] == "resuming" and early["opens"] is None
    later: dict[str, object] = {}
    served(tmp_path, lambda serving: later.update(serving.status()))
    assert set(later) == set(early) and later["role"] == "active"
