"""How long a file is blacked out: as the file itself says, else its holder's address, else its export, else the server.

Owns that order, and what the extended attribute `user.blackout_time_s` may be.  Must not know what is blacked out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.exports import Namespace
from nfsd.exports.clients import ClientMatch, parse_address
from nfsd.log import limiter
from nfsd.vfs.interface import ROOT
from statestore import Durations
from xdr.generated import nfs4

# On the wire the name has no prefix (RFC 8276 section 4).
ATTRIBUTE: Final = b"blackout_time_s"
SECONDS_MAX: Final = 3600
_DIGITS_MAX: Final = 4


def seconds_of(value: bytes) -> int | None:
    """The seconds that an attribute's value says, 0 to 3600 in decimal digits; None if it is anything else."""
    if not value.isdigit() or len(value) > _DIGITS_MAX or int(value) > SECONDS_MAX:
        return None
    return int(value)


def check_value(value: bytes) -> None:
    """Whether a client may set the attribute to this.  Raises Nfs4Error(INVAL)."""
    if seconds_of(value) is None:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"a blackout is 0 to {SECONDS_MAX} seconds, in decimal digits")


class FileDurations(Durations):
    """What the administrator and the clients have chosen.

    `clients` are (address or network, seconds); the first that matches holds.
    """

    def __init__(self, namespace: Namespace, server_s: int = 0, clients: Iterable[tuple[str, int]] = ()) -> None:
        self.server_s = server_s
        self._namespace = namespace
        self._clients = [(ClientMatch(match), seconds) for match, seconds in clients]
        self._by_address: dict[str, int | None] = {}

    def of_object(self, object: bytes) -> int | None:
        """The seconds of the file's own attribute; reads the file."""
        try:
            node = self._namespace.resolve(object)
            value = node.fs.getxattr(node, ATTRIBUTE, ROOT)
        except OSError:
            return None
        seconds = seconds_of(value)
        if seconds is None:
            limiter.write("warning", "blackout.attribute_ignored", about="", file=object.hex(), value=value[:64].hex())
        return seconds

    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        """The seconds for a file that says nothing itself and its holder's address, and whose word that is."""
        seconds = self._of_client(address)
        if seconds is not None:
            return seconds, "client"
        export = self._namespace.export_of(object)
        if export is not None and export.options.blackout_s is not None:
            return export.options.blackout_s, "export"
        return self.server_s, "server"

    def _of_client(self, address: str) -> int | None:
        if not self._clients or not address:
            return None
        if address not in self._by_address:
            parsed = parse_address(address)
            self._by_address[address] = next((s for match, s in self._clients if match.matches(parsed)), None)
        return self._by_address[address]
