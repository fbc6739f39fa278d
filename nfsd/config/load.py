"""Reading the settings: a TOML file, then the command line over it, every error collected.

Owns the file's shape ([server], [limits], [cluster], [[export]], [[client]]) and the words of its errors.
Must not know what an export option means, nor start anything.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nfsd.config import places
from nfsd.config.locate import Locator
from nfsd.config.model import (
    BLACKOUT_RESPONSES,
    CLIENT_MOVES,
    DURABILITIES,
    HANDLES,
    LEVELS,
    RECOVERIES,
    Address,
    ClientRule,
    ClientSpec,
    Cluster,
    Config,
    ConfigError,
    ExportSpec,
    Limits,
    Problem,
)
from statestore import StoreError, check_rights

_EXPORT_KEYS = ("path", "pseudo", "options", "blackout_s", "clients")
_CLIENT_KEYS = ("match", "options")
_RULE_KEYS = ("match", "blackout_s")
_NODE = re.compile(r"[A-Za-z0-9._-]{1,64}")

Parser = Callable[[Any, Path], Any]


def parse_address(text: str) -> Address:
    """`HOST:PORT` or `[HOST]:PORT` as an Address.

    Raises: ValueError, with what is allowed.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is no address: write HOST:PORT or [IPv6]:PORT, e.g. 0.0.0.0:2049")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{port!r} is no TCP port: it must be a number from 0 to 65535")
    return Address(host, int(port))


def parse_export(text: str, where: str = "--export") -> ExportSpec:
    """`PATH[=PSEUDO][,OPTION...]` as an ExportSpec; the option text is kept as it is.

    A path with a comma or an equals sign in it needs the configuration file.
    Raises: ValueError, with what is allowed.
    """
    place, _, options = text.partition(",")
    path, equals, pseudo = place.partition("=")
    if not path:
        raise ValueError(f"{text!r} names no directory: write PATH[=PSEUDO][,OPTION...]")
    if equals and not pseudo:
        raise ValueError(f"{text!r} has an empty PSEUDO: leave out the = or write =/NAME")
    return _export(_path(path, Path.cwd()), pseudo, options, (), where)


def rank_of_level(level: str) -> int:
    """The level's place in the order of severity, 0 for debug."""
    return LEVELS.index(level)


def load_config(
    file: Path | None = None,
    *,
    options: Mapping[str, tuple[str, Any]] | None = None,
    exports: Iterable[str] = (),
    starts: bool = True,
) -> Config:
    """The settings of `file` with the command line's over them.

    `options` maps a setting's name to (the option as the user typed it, its raw value); `exports` are
    `--export` texts. Exports given on the command line stand instead of the file's. Relative paths of the
    file are relative to the file's own directory. `starts`: a server is to be started with them, so that the state
    must lie where it may; whoever only asks a server need not even be able to see that.
    Raises: ConfigError with every problem found.
    """
    reader = _Reader()
    if file is not None:
        reader.read_file(file)
    for name, (option, value) in (options or {}).items():
        reader.set(name, value, option, Path.cwd(), on_command_line=True)
    reader.read_export_options(exports)
    if starts:
        reader.check_state()
    return reader.finish()


def _text(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not allowed: it must be a text that is not empty")
    return value


def _path(value: Any, base: Path) -> Path:
    text = _text(str(value) if isinstance(value, Path) else value, base)
    return Path(os.path.abspath(base / Path(text).expanduser()))


def _address(value: Any, base: Path) -> Address:
    return parse_address(_text(value, base))


def _boolean(value: Any, _base: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not allowed: it must be true or false")
    return value


def _node(value: Any, base: Path) -> str:
    if not _NODE.fullmatch(_text(value, base)):
        raise ValueError(f"{value!r} is no node name: 1 to 64 letters, digits, dots, dashes, underscores")
    return str(value)


def _one_of(allowed: tuple[str, ...]) -> Parser:
    def parse(value: Any, _base: Path) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is not allowed: it must be one of {', '.join(allowed)}")
        return str(value)

    return parse


def _number(least: int, most: int, unit: str = "") -> Parser:
    def parse(value: Any, _base: Path) -> int:
        is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
        if isinstance(value, bool) or not (isinstance(value, int) or is_digits):
            raise ValueError(f"{value!r} is not allowed: it must be a whole number{unit}")
        if not least <= int(value) <= most:
            raise ValueError(f"{value} is not allowed: it must be from {least} to {most}{unit}")
        return int(value)

    return parse


def _seconds(least: float, most: float) -> Parser:
    def parse(value: Any, _base: Path) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"{value!r} is not allowed: it must be a number from {least:g} to {most:g} seconds")
        return float(value)

    return parse


_blackout_s = _number(0, 3600, " seconds")


def _network(value: Any, base: Path) -> str:
    try:
        return str(ipaddress.ip_network(_text(value, base), strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is not allowed: write an address or a network such as 192.0.2.0/24") from None


_SERVER: dict[str, Parser] = {
    "state": _path,
    "listen": _address,
    "durability": _one_of(DURABILITIES),
    "recovery": _one_of(RECOVERIES),
    # A lease below 5 s lets one slow disk expire an honest client; an hour is long enough for anybody.
    "lease_time_s": _number(5, 3600, " seconds"),
    "client_moves": _one_of(CLIENT_MOVES),
    "blackout_s": _blackout_s,
    "blackout_response": _one_of(BLACKOUT_RESPONSES),
    "control": _path,
    "metrics": _address,
    "log_file": _path,
    "log_level": _one_of(LEVELS),
    "pair": _boolean,
    "node": _node,
    "server_owner": _text,
    "server_scope": _text,
    "handles": _one_of(HANDLES),
}
_CLUSTER: dict[str, Parser] = {
    "fence": _text,
    "interface": _text,
    "mount": _text,
    "unmount": _text,
    "address_up": _text,
    "address_down": _text,
    "handover": _text,
    "hook_time_s": _number(1, 3600, " seconds"),
    "drain_time_s": _number(1, 3600, " seconds"),
    "pause_max_s": _seconds(0.1, 60),
    "notify_fifo": _path,
    "notify_name": _text,
    "fault_file": _path,
}
_LIMITS: dict[str, Parser] = {
    item.name: _number(item.metadata["least"], item.metadata["most"]) for item in dataclasses.fields(Limits)
}


def _export(path: Path, pseudo: str, options: str, clients: tuple[ClientSpec, ...], where: str) -> ExportSpec:
    """One export, checked. Without a pseudo path clients see the export's own path, as with exports(5)."""
    pseudo = pseudo or str(path)
    parts = pseudo.split("/")
    if not pseudo.startswith("/") or ".." in parts or "." in parts or "\0" in pseudo:
        raise ValueError(f"pseudo path {pseudo!r} is not allowed: it must begin with / and have no . or ..")
    pseudo = "/" + "/".join(part for part in parts if part)
    return ExportSpec(path, pseudo, options, clients, where)


def _is_one_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


class _Reader:
    """Collects values and problems; the last value set for a name stands."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._server: dict[str, Any] = {}
        self._limits: dict[str, int] = {}
        self._cluster: dict[str, Any] | None = None
        self._cluster_where = ""
        self._exports: list[ExportSpec] = []
        self._rules: list[ClientRule] = []
        self._origin: dict[str, tuple[str, bool]] = {}

    def problem(self, where: str, message: str, *, on_command_line: bool = False) -> None:
        self._problems.append(Problem(where, message, on_command_line))

    def set(self, name: str, value: Any, where: str, base: Path, *, on_command_line: bool = False) -> None:
        """Parse and keep one [server] setting, or note why not."""
        try:
            self._server[name] = _SERVER[name](value, base)
        except ValueError as error:
            label = where if on_command_line else f"{where}: {name}"
            self.problem(label, str(error), on_command_line=on_command_line)
        self._origin[name] = (where, on_command_line)

    def read_file(self, file: Path) -> None:
        try:
            text = file.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            self.problem(str(file), f"cannot be read: {error.strerror}")
            return
        except UnicodeDecodeError as error:
            self.problem(str(file), f"is not UTF-8 text: {error.reason} at byte {error.start}")
            return
        except tomllib.TOMLDecodeError as error:
            self.problem(str(file), f"is not TOML: {error}")
            return
        _FileReader(self, file, Locator(text)).read(document)

    def read_export_options(self, texts: Iterable[str]) -> None:
        given = list(texts)
        if given:
            self._exports.clear()
        for text in given:
            try:
                self._exports.append(parse_export(text))
            except ValueError as error:
                self.problem("--export", str(error), on_command_line=True)

    def add_export(self, export: ExportSpec) -> None:
        self._exports.append(export)

    def add_rule(self, rule: ClientRule) -> None:
        self._rules.append(rule)

    def set_limit(self, name: str, value: Any, where: str) -> None:
        try:
            self._limits[name] = _LIMITS[name](value, Path())
        except ValueError as error:
            self.problem(f"{where}: {name}", str(error))

    def begin_cluster(self, where: str) -> None:
        """There is a [cluster] table, however empty."""
        self._cluster, self._cluster_where = {}, where

    def set_cluster(self, name: str, value: Any, where: str, base: Path) -> None:
        assert self._cluster is not None
        try:
            self._cluster[name] = _CLUSTER[name](value, base)
        except ValueError as error:
            self.problem(f"{where}: {name}", str(error))

    def finish(self) -> Config:
        """The complete Config, or ConfigError."""
        self._check_exports()
        self._check_cluster()
        if "state" not in self._server and "state" not in self._origin:
            message = 'is missing: give --state DIR, or state = "DIR" in the file\'s [server]'
            self.problem("state", message, on_command_line=True)
        values = dict(self._server)
        values.setdefault("control", values.get("state", Path()) / "control")
        if self._cluster is not None:
            values.setdefault("durability", "power")
        values.setdefault("node", re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "node")
        if self._problems:
            raise ConfigError(self._problems)
        limits = Limits(**self._limits)
        cluster = Cluster(**self._cluster) if self._cluster is not None else None
        return Config(
            exports=tuple(self._exports), clients=tuple(self._rules), limits=limits, cluster=cluster, **values
        )

    def _check_cluster(self) -> None:
        """What a node that may have to let others serve needs besides."""
        cluster = self._cluster
        if cluster is None:
            return
        if "fence" not in cluster:
            message = 'is missing: a command that makes sure that the other node is off, or "manager", or "host"'
            self.problem(f"{self._cluster_where}: fence", message)
        if "notify_fifo" in cluster and "notify_name" not in cluster:
            message = "is missing: notify_fifo needs the name of keepalived's instance or group"
            self.problem(f"{self._cluster_where}: notify_name", message)
        where = self._origin.get("listen", (self._cluster_where, False))[0]
        listen = self._server.get("listen")
        if listen is None or not _is_one_address(listen.host):
            message = "must be the service address, e.g. 192.0.2.10:2049: it moves from node to node"
            self.problem(f"{where}: listen", message)
        if "control" not in self._server:
            message = "is missing: each node needs its own, outside the state directory, which they share"
            self.problem(f"{self._cluster_where}: control", message)

    def _check_exports(self) -> None:
        if not self._exports and not self._problems:
            message = "is missing: give --export PATH, or an [[export]] table in the file"
            self.problem("export", message, on_command_line=True)
        seen: dict[str, ExportSpec] = {}
        for export in self._exports:
            other = seen.setdefault(export.pseudo, export)
            if other is not export:
                message = f"pseudo path {export.pseudo} is taken by {other.path}: give another"
                self.problem(export.where, message, on_command_line=export.where == "--export")
            comes_later = self._cluster is not None and "mount" in self._cluster
            if not comes_later and not export.path.is_dir():
                message = f"{export.path} is no directory: make it, or correct the path"
                self.problem(export.where, message, on_command_line=export.where == "--export")

    def check_state(self) -> None:
        """The state lies where no client can reach it and no other machine writes, and is nobody else's."""
        state = self._server.get("state")
        if state is None:
            return
        for export in self._exports:
            refusal = places.refused_beside(state, export.path)
            if refusal is not None:
                self.problem(export.where, refusal, on_command_line=export.where == "--export")
        where, on_command_line = self._origin["state"]
        label = where if on_command_line else f"{where}: state"
        refusal = places.refused_on(state)
        if refusal is not None:
            self.problem(label, refusal, on_command_line=on_command_line)
        try:
            check_rights(state)
        except StoreError as error:
            self.problem(label, str(error), on_command_line=on_command_line)


class _FileReader:
    """Walks one decoded TOML document and knows the line of every key."""

    def __init__(self, reader: _Reader, file: Path, locator: Locator) -> None:
        self._reader = reader
        self._file = file
        self._base = file.absolute().parent
        self._locator = locator

    def _where(self, table: str, key: str = "", index: int = 0) -> str:
        return f"{self._file}:{self._locator.line(table, key, index)}"

    def _unknown(self, table: str, key: str, allowed: Iterable[str], index: int = 0) -> None:
        names = list(allowed)
        close = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(names)}"
        self._reader.problem(self._where(table, key, index), f"{key} is no known key: {hint}")

    def read(self, document: dict[str, Any]) -> None:
        for name, value in document.items():
            if name == "export":
                self._read_tables(name, value, _EXPORT_KEYS, self._read_export)
            elif name == "client":
                self._read_tables(name, value, _RULE_KEYS, self._read_rule)
            elif name not in ("server", "limits", "cluster"):
                self._unknown("", name, ("server", "limits", "cluster", "export", "client"))
            elif not isinstance(value, dict):
                self._reader.problem(self._where("", name), f"{name} must be a table: write [{name}]")
            elif name == "server":
                self._read_server(value)
            elif name == "cluster":
                self._read_cluster(value)
            else:
                self._read_limits(value)

    def _read_server(self, table: dict[str, Any]) -> None:
        for key, value in table.items():
            if key not in _SERVER:
                self._unknown("server", key, _SERVER)
            else:
                self._reader.set(key, value, self._where("server", key), self._base)

    def _read_limits(self, table: dict[str, Any]) -> None:
        for key, value in table.items():
            if key not in _LIMITS:
                self._unknown("limits", key, _LIMITS)
            else:
                self._reader.set_limit(key, value, self._where("limits", key))

    def _read_cluster(self, table: dict[str, Any]) -> None:
        self._reader.begin_cluster(self._where("cluster"))
        for key, value in table.items():
            if key not in _CLUSTER:
                self._unknown("cluster", key, _CLUSTER)
            else:
                self._reader.set_cluster(key, value, self._where("cluster", key), self._base)

    def _read_tables(
        self, name: str, tables: Any, keys: tuple[str, ...], read: Callable[[dict[str, Any], int], None]
    ) -> None:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._reader.problem(self._where("", name), f"{name} must be tables: write [[{name}]]")
            return
        for index, table in enumerate(tables):
            for key in table:
                if key not in keys:
                    self._unknown(name, key, keys, index)
            read(table, index)

    def _read_rule(self, table: dict[str, Any], index: int) -> None:
        key = ""
        try:
            for key in _RULE_KEYS:
                if key not in table:
                    raise ValueError('is missing: every [[client]] needs match = "ADDRESS or NETWORK" and blackout_s')
            key = "match"
            match = _network(table["match"], self._base)
            key = "blackout_s"
            seconds = _blackout_s(table["blackout_s"], self._base)
        except ValueError as error:
            self._reader.problem(self._where("client", key, index), f"{key}: {error}")
            return
        self._reader.add_rule(ClientRule(match, seconds))

    def _read_export(self, table: dict[str, Any], index: int) -> None:
        key = "path"
        try:
            if "path" not in table:
                raise ValueError('is missing: every [[export]] needs path = "DIRECTORY"')
            path = _path(table["path"], self._base)
            key = "pseudo"
            pseudo = _text(table["pseudo"], self._base) if "pseudo" in table else ""
            export = _export(path, pseudo, "", (), self._where("export", "", index))
            key = "options"
            options = self._options(table)
            key = "blackout_s"
            if key in table:
                options = ",".join(filter(None, (options, f"blackout={_blackout_s(table[key], self._base)}")))
            key = "clients"
            clients = self._clients(table.get("clients", []))
        except ValueError as error:
            self._reader.problem(self._where("export", key, index), f"{key}: {error}")
            return
        self._reader.add_export(dataclasses.replace(export, options=options, clients=clients))

    def _options(self, table: dict[str, Any]) -> str:
        value = table.get("options", "")
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return ",".join(value)
        if not isinstance(value, str):
            raise ValueError(f'{value!r} is not allowed: write "rw,no_root_squash" or a list of texts')
        return value

    def _clients(self, value: Any) -> tuple[ClientSpec, ...]:
        allowed = 'a list of {match = "ADDRESS, NETWORK or NAME", options = "..."}'
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not allowed: it must be {allowed}")
        specs = []
        for item in value:
            if not isinstance(item, dict) or not set(item) <= set(_CLIENT_KEYS) or "match" not in item:
                raise ValueError(f"{item!r} is not allowed: it must be {allowed}")
            specs.append(ClientSpec(_text(item["match"], self._base), self._options(item)))
        return tuple(specs)
