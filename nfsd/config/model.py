"""The settings as values: frozen, checked once, never read from a file again.

Owns the names, defaults and ranges of every setting, and the error that lists all that is wrong.
Must not know TOML or the command line (`nfsd.config.load`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LEVELS = ("debug", "info", "warning", "error", "critical")
DURABILITIES = ("process", "power")
BLACKOUT_RESPONSES = ("retry", "fail")
RECOVERIES = ("resume", "reclaim")
MOVES_WITH_LEASE = "lease"
CLIENT_MOVES = (MOVES_WITH_LEASE, "always")
HANDLES = ("auto", "kernel", "table")
FENCE_BY_MANAGER, FENCE_ON_HOST = "manager", "host"
FENCES = (FENCE_BY_MANAGER, FENCE_ON_HOST)


class Problem(NamedTuple):
    """One thing that is wrong: where it was said (`file:line`, or the option), and what is allowed."""

    where: str
    message: str
    on_command_line: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has everything that is wrong, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Address(NamedTuple):
    """A host (name or address, without brackets) and a TCP port; port 0 asks the kernel for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """Options for the clients that `match` names (an address, a CIDR network or a host name)."""

    match: str
    options: str


@dataclass(frozen=True, slots=True)
class ClientRule:
    """What holds for the clients that `match` names (an address or a CIDR network) on every export."""

    match: str
    blackout_s: int


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """One export as it was written; `nfsd.exports` reads the option texts.

    `path` is absolute. `pseudo` is the path that clients see. `where` is the place to name in an error.
    """

    path: Path
    pseudo: str
    options: str = ""
    clients: tuple[ClientSpec, ...] = ()
    where: str = field(default="", compare=False)


def limit(default: int, least: int, most: int, reason: str) -> Any:
    """A limit's field: its default, its range, and the reason beside it."""
    return field(default=default, metadata={"least": least, "most": most, "reason": reason})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A limit on everything that a peer can make grow. Sizes and bytes are named so, times end in their unit."""

    record_size_max: int = limit(
        1 * MIB + 64 * KIB,
        64 * KIB,
        16 * MIB,
        "the largest RPC record taken (RFC 5531 11), and the largest reply: 1 MiB of data and room for the rest of its"
        " compound",
    )
    readdir_size_max: int = limit(
        256 * KIB, 32 * KIB, 16 * MIB, "the largest result of one READDIR, whatever its maxcount asks for"
    )
    receiving_max: int = limit(
        64 * MIB,
        1 * MIB,
        1024 * GIB,
        "bytes of requests that have come and are not complete, or wait to be begun; above it the address with the most"
        " loses the connection that has had some for the longest",
    )
    receiving_per_address_max: int = limit(
        32 * MIB, 1 * MIB, 1024 * GIB, "such bytes of one address; above it that address loses a connection"
    )
    unsent_per_connection_max: int = limit(
        8 * MIB,
        64 * KIB,
        1024 * GIB,
        "bytes of replies that one connection's peer does not take, and of data that threads move for it; above it"
        " nothing more of it is begun",
    )
    unsent_per_address_max: int = limit(
        64 * MIB, 64 * KIB, 1024 * GIB, "such bytes of one address; above it nothing more of it is begun"
    )
    unsent_max: int = limit(
        192 * MIB,
        64 * KIB,
        1024 * GIB,
        "such bytes of all; above it nothing more is begun of an address that has some, and above twice as many the"
        " address with the most loses the connection that has had some for the longest",
    )
    turn_ms: int = limit(
        5, 1, 1_000, "work for the requests of one address in one turn of the event loop; the rest waits for the next"
    )
    stalled_s: int = limit(
        60, 1, 86_400, "after this long a connection ends that leaves a record incomplete, or takes none of its replies"
    )
    idle_s: int = limit(
        60,
        1,
        86_400,
        "after this long without a request a connection ends that carries no session, from an address without a"
        " confirmed client",
    )
    connections_max: int = limit(
        10_000, 1, 1_000_000, "open TCP connections; one more takes the place of the oldest idle one without a session"
    )
    connections_per_address_max: int = limit(
        1_000, 1, 1_000_000, "open TCP connections from one address; more are closed as they arrive"
    )
    requests_in_flight_max: int = limit(
        256, 1, 65_536, "requests of one connection being worked on; then its bytes stay in the kernel"
    )
    ops_per_compound_max: int = limit(64, 8, 1_024, "operations in a COMPOUND (ca_maxoperations, RFC 8881 18.36)")
    clients_max: int = limit(
        10_000, 1, 1_000_000, "confirmed clients; one whose lease has run out makes room for another"
    )
    clients_per_address_max: int = limit(1_000, 1, 1_000_000, "confirmed clients from one address; the same holds")
    clients_unconfirmed_max: int = limit(
        2_000, 1, 1_000_000, "clients that have not been confirmed; the oldest makes room for another"
    )
    clients_unconfirmed_per_address_max: int = limit(
        100, 1, 1_000_000, "clients from one address that have not been confirmed; the same holds"
    )
    callback_address_size_max: int = limit(
        128, 64, 1_024, "bytes of an NFSv4.0 client's callback address, and of its netid (RFC 7530 2.2.10)"
    )
    owners_per_client_max: int = limit(
        10_000, 1, 1_000_000, "open owners of one NFSv4.0 client, and as many lock owners; idle ones are forgotten"
    )
    sessions_per_client_max: int = limit(64, 1, 4_096, "sessions of one client; an idle one makes room for another")
    slots_max: int = limit(64, 1, 1_024, "slots of a session's fore channel (ca_maxrequests, RFC 8881 18.36)")
    store_size_max: int = limit(
        64 * GIB, 1 * MIB, 16 * 1024 * GIB, "the largest that the state store's file may become (its map is sparse)"
    )
    store_reserve_size: int = limit(
        16 * MIB,
        0,
        1 * GIB,
        "room of the file and its disk that is set aside for removals, at most a quarter of the file's largest size;"
        " when no more is left, what adds clients, sessions, opens or locks is refused",
    )
    reply_cache_size_max: int = limit(
        2048 * MIB,
        1 * MIB,
        64 * 1024 * MIB,
        "bytes that all sessions may keep of replies; new ones get a part of the rest",
    )
    reply_cache_per_address_size_max: int = limit(
        64 * MIB, 64 * KIB, 64 * 1024 * MIB, "bytes that the sessions of one address's clients may keep of replies"
    )
    reply_cache_per_client_size_max: int = limit(
        4 * MIB, 64 * KIB, 64 * 1024 * MIB, "bytes that the sessions of one client may keep of replies"
    )
    opens_max: int = limit(1_000_000, 1, 100_000_000, "opens of all clients together")
    opens_per_client_max: int = limit(100_000, 1, 100_000_000, "opens of one client")
    callers_per_open_max: int = limit(
        8, 1, 64, "users of one open whose granted access is remembered; others are checked against the file again"
    )
    log_lines_per_address_max: int = limit(
        240, 2, 1_000_000, "log lines that peers can bring about, of one address in a minute; the rest is counted"
    )
    log_lines_max: int = limit(100, 1, 1_000_000, "such lines of all addresses in a second; the rest is counted")
    threads: int = limit(8, 1, 256, "threads for file work that may block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What this node does as one of several that can serve the same exports; commands are run by `/bin/sh -c`."""

    fence: str
    """A command; or one of `FENCES`."""
    interface: str | None = None
    mount: str | None = None
    unmount: str | None = None
    address_up: str | None = None
    address_down: str | None = None
    handover: str | None = None
    hook_time_s: int = 30
    drain_time_s: int = 10
    pause_max_s: float = 1.0
    notify_fifo: Path | None = None
    notify_name: str | None = None
    fault_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was chosen, complete and checked.

    `server_owner` and `server_scope` (RFC 8881 2.10.4, 2.10.5) are None when they were not set: the server
    then derives them from the store's secret, so that all nodes of one store agree.
    """

    exports: tuple[ExportSpec, ...]
    clients: tuple[ClientRule, ...] = ()
    state: Path
    listen: Address = Address("0.0.0.0", 2049)
    durability: str = "process"
    recovery: str = "resume"
    lease_time_s: int = 90
    client_moves: str = MOVES_WITH_LEASE
    blackout_s: int = 30
    blackout_response: str = "fail"
    control: Path
    metrics: Address | None = None
    log_file: Path | None = None
    log_level: str = "info"
    pair: bool = True
    node: str
    server_owner: str | None = None
    server_scope: str | None = None
    handles: str = "auto"
    limits: Limits = field(default_factory=Limits)
    cluster: Cluster | None = None


def as_plain(value: Any) -> Any:
    """Settings as JSON-able values, for `check-config -o json` and the log's first line."""
    if isinstance(value, Address):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {item.name: as_plain(getattr(value, item.name)) for item in fields if item.compare}
    if isinstance(value, tuple):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
