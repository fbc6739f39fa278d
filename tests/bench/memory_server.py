"""The server with its state in memory only: what it would be without durability, for `tests.bench.durability`.

`python -m tests.bench.memory_server EXPORT STATE PORT`; ends with SIGTERM. Nothing survives it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from nfsd.config import load_config
from nfsd.server import Server
from statestore import MemoryStore


class ForgetfulStore(MemoryStore):
    """A store that takes everything and keeps it in a dict."""

    secret = bytes(32)


def open_store(_directory: Path, *, on_durable: Any, on_failure: Any, **_settings: Any) -> ForgetfulStore:
    """What `Server` calls in place of `LmdbStore.open`."""
    return ForgetfulStore(on_durable=on_durable, on_failure=on_failure)


async def serve(export: str, state: str, port: str) -> None:
    """Serve until SIGTERM."""
    listen = f"127.0.0.1:{port}"
    config = load_config(
        options={"state": (state, state), "listen": (listen, listen), "log_level": ("warning", "warning")},
        exports=[f"{export}=/,insecure,no_root_squash"],
    )
    server = Server(config, open_store=open_store)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
