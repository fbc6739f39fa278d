"""The figures for Prometheus: `/metrics` in its text format, served from the event loop.

Owns the names, types and help texts, and a responder for GET requests.
Must not count anything itself: the server increments plain integers, and a scrape reads them all at once.

A snapshot maps a name (without the prefix `understudy_`) to a number, or to {label value: number} for the
figures that have a label in `FAMILIES`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from nfsd.config import Address
from nfsd.log import get_logger

Snapshot = Mapping[str, int | float | Mapping[str, int | float]]

PREFIX = "understudy_"
REQUEST_SIZE_MAX = 8 * 1024
REQUEST_TIME_S = 5.0
CONNECTIONS_MAX = 16

FAMILIES: dict[str, tuple[str, str]] = {
    # name: (the label, or "" for none; what it counts)
    "connections": ("", "Open TCP connections"),
    "connections_total": ("", "TCP connections accepted"),
    "connections_refused_total": ("reason", "TCP connections closed at once, by the limit that was reached"),
    "connections_dropped_total": ("reason", "TCP connections ended by the server, by the limit that was reached"),
    "receiving_bytes": ("", "Bytes of requests that are not complete, or wait to be begun"),
    "unsent_bytes": ("", "Bytes of replies that peers do not take, and of data that threads move"),
    "turns_deferred_total": ("", "Times that requests waited for another turn of the event loop"),
    "requests_total": ("", "RPC requests answered"),
    "requests_bad_total": ("reason", "Records that were no request of ours, by what was wrong"),
    "operations_total": ("operation", "Operations carried out, by name"),
    "errors_total": ("status", "Operations that failed, by NFS status"),
    "replays_total": ("", "Replies sent again from the reply cache"),
    "intents_recovered_total": ("outcome", "Requests that a crash interrupted, by what became of them"),
    "received_bytes_total": ("", "Bytes received from clients"),
    "sent_bytes_total": ("", "Bytes sent to clients"),
    "clients": ("", "Client records"),
    "clients_unconfirmed": ("", "Clients that have not been confirmed, and updates that have not"),
    "sessions": ("", "Sessions"),
    "reply_cache_bytes": ("", "Bytes that the sessions may keep of replies"),
    "owners": ("kind", "NFSv4.0's open owners and lock owners"),
    "evicted_total": ("kind", "Clients and sessions that made room for others at a limit"),
    "opens": ("", "Opens"),
    "locks": ("", "Byte-range locks"),
    "delegations": ("", "Delegations"),
    "clients_expired_total": ("", "Clients whose lease ended and whose state was removed"),
    "blackout_files": ("", "Blackouts now: files, exports and clients"),
    "blackout_refusals_total": ("", "Requests refused because of a blackout"),
    "quarantined_records": ("", "Damaged records of the state store that were put aside"),
    "commits_total": ("", "Transactions of the state store"),
    "commit_records_total": ("", "Records written by those transactions"),
    "store_used_bytes": ("", "Bytes that the records take in the state store"),
    "store_nearly_full": ("", "1 while the state store has only the room left that is kept for removals"),
    "store_refusals_total": ("", "Operations refused because the state store was nearly full"),
    "epoch": ("", "The state store's epoch, one more at each start"),
    "takeovers_total": ("", "Takeovers since the supervisor was started"),
    "takeover_phase_seconds": ("phase", "What each phase of the last takeover or start took"),
    "role": ("role", "1 for what this node is: standby, resuming, active, draining or fenced"),
    "log_lines_suppressed_total": ("", "Log lines about peers that were counted instead of written"),
    "log_lines_lost_total": ("", "Log lines that could not be written"),
}

log = get_logger()


class SnapshotCollector(Collector):
    """Turns one snapshot into metric families, at the moment of a scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Every figure of the snapshot; names ending in _total are counters, the others gauges."""
        for name, value in sorted(self._snapshot().items()):
            label, text = FAMILIES.get(name, ("kind" if isinstance(value, Mapping) else "", name))
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(PREFIX + name, text, labels=[label] if label else [])
            if isinstance(value, Mapping):
                for label_value, number in sorted(value.items()):
                    family.add_metric([label_value], number)
            else:
                family.add_metric([], value)
            yield family

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known only when a snapshot is taken."""
        return ()


class MetricsServer:
    """Answers GET /metrics on one address; runs in the event loop."""

    def __init__(self, address: Address, snapshot: Callable[[], Snapshot]) -> None:
        self._address = address
        self._registry = CollectorRegistry()
        self._registry.register(SnapshotCollector(snapshot))
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self) -> Address:
        """Listen; gives the address, with the port the kernel chose if 0 was asked for.

        Raises: OSError if the address cannot be used.
        """
        host, port = self._address
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_SIZE_MAX)
        return Address(host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_TIME_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head))
                    await writer.drain()
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError) as error:
            # A peer that went away (IncompleteReadError is an EOFError), was too slow, or sent too much.
            log.debug("metrics.closed", reason=type(error).__name__)
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _response(self, head: bytes) -> bytes:
        """The whole answer to one request's head; the connection is closed after it (RFC 9112 9.6)."""
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _http("400 Bad Request", b"this is no HTTP/1 request\n")
        if words[0] not in ("GET", "HEAD"):
            return _http("405 Method Not Allowed", b"only GET\n", extra="Allow: GET, HEAD\r\n")
        if words[1].partition("?")[0] != "/metrics":
            return _http("404 Not Found", b"the figures are at /metrics\n")
        headers = (line.partition(":") for line in lines[1:])
        accept = next((value for name, _, value in headers if name.lower() == "accept"), "")
        encode, kind = choose_encoder(accept.strip())
        body = encode(self._registry)
        return _http("200 OK", body, kind=kind, with_body=words[0] == "GET")


def _http(
    status: str,
    body: bytes,
    *,
    kind: str = "text/plain; charset=utf-8",
    extra: str = "",
    with_body: bool = True,
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}"
    return (head + "Connection: close\r\n\r\n").encode() + (body if with_body else b"")
