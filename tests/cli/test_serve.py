"""`understudy serve`: the order of starting and stopping, signals, and a start that fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfsd.admin.control import ControlError, ask
from nfsd.config import Config, load_config
from nfsd.failover.worker import run
from tests.cli.fake import FakeServer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings for a server in a directory of its own."""
    (tmp_path / "data").mkdir()
    values = {"state": ("--state", str(tmp_path / "state")), "metrics": ("--metrics", "127.0.0.1:0")}
    (tmp_path / "state").mkdir(mode=0o700)
    return load_config(options=values, exports=[f"{tmp_path}/data=/a"])


def serve(config: Config, server: FakeServer, work: Callable[[], Any]) -> Any:
    """Run the server, do `work` in a thread once it answers, and wait for its end."""

    async def main() -> Any:
        served = asyncio.create_task(run(config, server))
        while not config.control.exists() and not served.done():
            await asyncio.sleep(0)
        result = await asyncio.to_thread(work)
        await served
        return result

    return asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_stops_on_signal(config: Config, capsys: pytest.CaptureFixture[str], number: signal.Signals) -> None:
    """A signal stops the server in good order, and its socket is gone."""
    server = FakeServer()

    def work() -> dict[str, Any]:
        answer = ask(config.control, "status")
        os.kill(os.getpid(), number)
        return dict(answer)

    assert serve(config, server, work)["role"] == "active"
    assert server.events == ["start", "stop"]
    assert not config.control.exists()
    assert "serves /a on 127.0.0.1:7;" in capsys.readouterr().out


def test_serve_start_fails(config: Config) -> None:
    """A server that cannot start is stopped all the same, and the error is passed on."""
    server = FakeServer()
    server.start_error = OSError("address in use")
    with pytest.raises(OSError, match="address in use"):
        serve(config, server, lambda: None)
    assert server.events == ["start", "stop"]
    assert not config.control.exists()


def test_serve_control_taken(config: Config) -> None:
    """A control socket that cannot be made stops the server again."""
    config.control.write_text("no socket")
    server = FakeServer()
    with pytest.raises(ControlError, match="is no socket"):
        asyncio.run(run(config, server))
    assert server.events == ["start", "stop"]
