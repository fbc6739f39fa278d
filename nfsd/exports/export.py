"""Exports: a directory, where clients see it, and what holds for whom.

Owns the Export and how a list of them is read and numbered. It must not open the directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from nfsd.exports.clients import ClientMatch, Resolver, parse_address, resolve_name
from nfsd.exports.numbers import Numbers, Place, Wanted
from nfsd.exports.options import ExportError, Options, parse_options

EXPORT_COUNT_MAX: Final = 255
"""Exports of one server: as many as `fsid=` can name."""

CLIENTS_REMEMBERED: Final = 10_000
"""Addresses whose options are kept ready; then all are worked out anew."""


class ClientText(Protocol):
    """One entry of a client list as it was written."""

    @property
    def match(self) -> str: ...
    @property
    def options(self) -> str: ...


class ExportText(Protocol):
    """An export as it was written in the configuration."""

    @property
    def path(self) -> Path: ...
    @property
    def pseudo(self) -> str: ...
    @property
    def options(self) -> str: ...
    @property
    def clients(self) -> Sequence[ClientText]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """One exported directory. `id` is its number (numbers.py), 1 to 2^32 - 1, written in handles, and its fsid.

    `clients` are tried in order and the first match holds; an empty list lets everybody in with `options`.
    """

    id: int
    path: str
    pseudo: str
    options: Options = field(default_factory=Options)
    clients: tuple[tuple[ClientMatch, Options], ...] = ()
    _known: dict[str, Options | None] = field(default_factory=dict, repr=False)

    @property
    def wanted(self) -> Wanted:
        """What it wants a number for."""
        return Wanted(Place(self.pseudo, self.path), self.options.fsid)

    @property
    def read_only(self) -> bool:
        """Whether no client at all may write."""
        if not self.clients:
            return self.options.read_only
        return all(options.read_only for _match, options in self.clients)

    @property
    def apart(self) -> bool | None:
        """Whether it is served apart, None where its kind of file system decides."""
        return self.options.apart

    def options_for(self, address: str) -> Options | None:
        """Return what holds for a client by its address, None when the export is not for it."""
        try:
            return self._known[address]
        except KeyError:
            pass
        if len(self._known) >= CLIENTS_REMEMBERED:
            self._known.clear()
        found = self._known[address] = self._find(address)
        return found

    def refresh(self) -> None:
        """Ask for the addresses of host names again. Blocks."""
        for match, _options in self.clients:
            match.refresh()
        self._known.clear()

    def _find(self, address: str) -> Options | None:
        if not self.clients:
            return self.options
        parsed = parse_address(address)
        return next((options for match, options in self.clients if match.matches(parsed)), None)


def parse_exports(
    specs: Iterable[ExportText], resolver: Resolver = resolve_name, numbers: Numbers | None = None
) -> list[Export]:
    """Read and number the exports. A client's options are the export's with its own on top.

    `numbers` are those that have been given, none by default, and take the new ones. Raises ExportError.
    """
    read = [_read(spec, resolver) for spec in specs]
    taken: dict[int, str] = {}
    for spec, _pseudo, options, _clients in read:
        if options.fsid is not None:
            other = taken.setdefault(options.fsid, str(spec.path))
            if other != str(spec.path):
                raise ExportError(f"fsid={options.fsid} of {spec.path} is taken by {other}: give another")
    _check_places([pseudo for _spec, pseudo, _options, _clients in read])
    if len(read) > EXPORT_COUNT_MAX:
        raise ExportError(f"{len(read)} exports are too many: there can be {EXPORT_COUNT_MAX}")
    wanted = [Wanted(Place(pseudo, str(spec.path)), options.fsid) for spec, pseudo, options, _clients in read]
    return [
        Export(number, str(spec.path), pseudo, options, clients)
        for number, (spec, pseudo, options, clients) in zip((numbers or Numbers()).assign(wanted), read, strict=True)
    ]


_Read = tuple[ExportText, str, Options, tuple[tuple[ClientMatch, Options], ...]]


def _read(spec: ExportText, resolver: Resolver) -> _Read:
    options = parse_options(spec.options)
    clients = []
    for client in spec.clients:
        own = parse_options(client.options, options)
        if own.fsid != options.fsid:
            raise ExportError(f"fsid={own.fsid} is not allowed for one client: give it to the whole export")
        if own.apart != options.apart:
            raise ExportError("apart and noapart are not allowed for one client: give it to the whole export")
        if own.blackout_s != options.blackout_s:
            raise ExportError("blackout= is not allowed for one client of an export: use a [[client]] table")
        clients.append((ClientMatch(client.match, resolver), own))
    return spec, _normal(spec.pseudo), options, tuple(clients)


def _normal(pseudo: str) -> str:
    parts = [part for part in pseudo.split("/") if part]
    if not pseudo.startswith("/") or "." in parts or ".." in parts or "\0" in pseudo:
        raise ExportError(f"pseudo path {pseudo!r} is not allowed: it must begin with / and have no . or ..")
    return "/" + "/".join(parts)


def _check_places(pseudos: list[str]) -> None:
    for index, one in enumerate(pseudos):
        for other in pseudos[index + 1 :]:
            inner, outer = (one, other) if len(one) >= len(other) else (other, one)
            if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
                raise ExportError(f"pseudo path {inner} lies at or beneath {outer}, another export's: give it another")
