"""A real server process for the tests, on a free loopback port, that can die and come back.

Owns its directories and its configuration.  Must not know the protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.launcher import Launched, export_options


class ServerProcess(Launched):
    """`understudy serve --no-pair` on `directory`/export and `directory`/state; exports maps pseudo path to options."""

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
        super().__init__(directory)
        self.export = directory / "export"
        self._settings = {"lease_time_s": lease_time_s, "durability": durability, **(settings or {})}
        self.limits = dict(limits or {})
        self._exports = dict(exports or {"/export": "rw,insecure,no_root_squash"})
        self._clients = dict(clients or {})
        self._client_blackouts = dict(client_blackouts or {})
        directory.chmod(0o755)
        self.export.mkdir(mode=0o777, exist_ok=True)
        self.export.chmod(0o777)
        self.state.mkdir(mode=0o700, exist_ok=True)

    def _configuration(self) -> str:
        quoted = json.dumps
        lines = ["[server]", f"state = {quoted(str(self.state))}", f"log_file = {quoted(str(self.log))}"]
        lines += [f"listen = {quoted(f'127.0.0.1:{self.port}')}"]
        lines += [f"{name} = {quoted(value)}" for name, value in self._settings.items()]
        lines += ["[limits]", *(f"{name} = {value}" for name, value in self.limits.items())]
        for pseudo, options in self._exports.items():
            lines += ["[[export]]", f"path = {quoted(str(self.export))}", f"pseudo = {quoted(pseudo)}"]
            lines += [f"options = {quoted(export_options(options))}"]
            entries = (
                f"{{match = {quoted(match)}, options = {quoted(text)}}}"
                for match, text in self._clients.get(pseudo, [])
            )
            lines += [f"clients = [{', '.join(entries)}]"]
        for match, seconds in self._client_blackouts.items():
            lines += ["[[client]]", f"match = {quoted(match)}", f"blackout_s = {seconds}"]
        return "\n".join(lines) + "\n"

    def words(self) -> list[str]:
        """Serve by the configuration, which is written anew for each start."""
        file = self.directory / "understudy.toml"
        file.write_text(self._configuration())
        return ["serve", "--no-pair", "--config", str(file)]
