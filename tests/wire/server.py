"""A real server process for the tests, on a free loopback port, that can die and come back.

Owns the process, its directories and its log.  Must not know the protocol.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nfsd.admin.control import ask

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
_READY = re.compile(rb" on 127\.0\.0\.1:(\d+);")
_FAULTS = ("server.fault", "store.failed", "record.left_out", "record.damaged", "server.failed", "fold.differs")


class ServerProcess:
    """`understudy serve --no-pair` on `directory`/export and `directory`/state; exports maps pseudo path to options."""

    program: Sequence[str] = (sys.executable, "-c", "from nfsd.cli import main; main()")

    def __init__(
        self,
        directory: Path,
        *,
        exports: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        clients: Mapping[str, list[tuple[str, str]]] | None = None,
        lease_time_s: int = 90,
        durability: str = "process",
        settings: Mapping[str, object] | None = None,
        client_blackouts: Mapping[str, int] | None = None,
    ) -> None:
        self.directory = directory
        self.export = directory / "export"
        self.state = directory / "state"
        self.log = directory / "server.log"
        self.port = 0
        self._settings = {"lease_time_s": lease_time_s, "durability": durability, **(settings or {})}
        self._limits = dict(limits or {})
        self._exports = dict(exports or {"/export": "rw,insecure,no_root_squash"})
        self._clients = dict(clients or {})
        self._client_blackouts = dict(client_blackouts or {})
        self.exit_code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        directory.chmod(0o755)
        self.export.mkdir(mode=0o777, exist_ok=True)
        self.export.chmod(0o777)
        self.state.mkdir(mode=0o700, exist_ok=True)

    def _configuration(self) -> str:
        quoted = json.dumps
        lines = ["[server]", f"state = {quoted(str(self.state))}", f"log_file = {quoted(str(self.log))}"]
        lines += [f"listen = {quoted(f'127.0.0.1:{self.port}')}"]
        lines += [f"{name} = {quoted(value)}" for name, value in self._settings.items()]
        lines += ["[limits]", *(f"{name} = {value}" for name, value in self._limits.items())]
        for pseudo, options in self._exports.items():
            lines += ["[[export]]", f"path = {quoted(str(self.export))}", f"pseudo = {quoted(pseudo)}"]
            lines += [f"options = {quoted(options)}"]
            entries = (
                f"{{match = {quoted(match)}, options = {quoted(text)}}}"
                for match, text in self._clients.get(pseudo, [])
            )
            lines += [f"clients = [{', '.join(entries)}]"]
        for match, seconds in self._client_blackouts.items():
            lines += ["[[client]]", f"match = {quoted(match)}", f"blackout_s = {seconds}"]
        return "\n".join(lines) + "\n"

    def command(self) -> list[str]:
        """What is started, but for its configuration."""
        return [*self.program, "serve", "--no-pair"]

    def start(self) -> None:
        """Start, and wait until it says that it serves; a later start takes the same port again."""
        file = self.directory / "understudy.toml"
        file.write_text(self._configuration())
        self._process = subprocess.Popen(
            [*self.command(), "--config", str(file)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        said = b""
        deadline = time.monotonic() + START_TIMEOUT_S
        descriptor = self._process.stdout.fileno()
        while not (ready := _READY.search(said)):
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(descriptor, 4096) if readable else b""
            if not more:
                self.stop()
                raise RuntimeError(f"the server did not start: {said!r}\n{self.log.read_text()[-4000:]}")
            said += more
        self.port = int(ready.group(1))

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._end(self._process)

    def stop(self) -> None:
        """SIGTERM, and wait for the end; SIGKILL where that takes too long."""
        if self._process is None:
            return
        process = self._process
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self.exit_code = process.wait(STOP_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()
        self._process = None

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_S)
        self._end(self._process)
        assert self.exit_code is not None
        return self.exit_code

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer of the control socket."""
        return ask(self.state / "control", command, **arguments)

    def restart(self) -> None:
        """kill -9, and a new process on the same directories and port."""
        self.kill()
        self.start()

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines with this event name, oldest first."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line)
        return [line for line in lines if line["event"] == name]

    def faults(self) -> list[str]:
        """What the log says of the server's own mistakes."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if any(f'"{event}"' in line for event in _FAULTS)]
