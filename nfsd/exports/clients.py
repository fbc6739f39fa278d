"""Which clients an entry of a client list is for: an address, a network, a host name, or everybody.

Owns the matching. It must not know what the entry grants. Names are turned into addresses by the injected
resolver when an entry is made and when `refresh` is called, never while a request waits.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Final

from nfsd.exports.options import ExportError

Resolver = Callable[[str], Iterable[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]+)*\.?")


def resolve_name(name: str) -> list[str]:
    """Return the addresses of a host name, none when it has none now. Blocks."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def parse_address(text: str) -> Address | None:
    """Return a peer's address, an IPv4 one for an IPv4-mapped IPv6 one; None for what is none (AF_UNIX)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


class ClientMatch:
    """One entry's clients."""

    def __init__(self, text: str, resolver: Resolver = resolve_name) -> None:
        """Raises ExportError for what is no address, network, host name or "*"."""
        self.text = text
        self._resolver = resolver
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None = None
        self._names: frozenset[Address] = frozenset()
        self._by_name = False
        if text == "*":
            return
        try:
            self._networks = [ipaddress.ip_network(text, strict=False)]
        except ValueError:
            if "/" in text or re.fullmatch(r"[0-9.]+|.*:.*", text) or not _HOST_NAME.fullmatch(text):
                raise ExportError(
                    f"client {text!r} is not allowed: write an address, a network such as 192.0.2.0/24, "
                    "a host name, or * for everybody"
                ) from None
            self._by_name = True
            self.refresh()

    def refresh(self) -> None:
        """Ask for a name's addresses again. Blocks; keeps the old ones when there are none now."""
        if self._by_name:
            parsed = [parse_address(text) for text in self._resolver(self.text)]
            found = frozenset(address for address in parsed if address is not None)
            self._names = found or self._names

    def matches(self, address: Address | None) -> bool:
        """Return whether the entry is for this client; an unknown address matches everybody's entry alone."""
        if self._by_name:
            return address in self._names
        if self._networks is None:
            return True
        return address is not None and any(address in network for network in self._networks)
