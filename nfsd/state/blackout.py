"""Blackouts: what nobody, or nobody but its holders, may use for a time (docs/operating.md says for whom and when).

Owns the administrator's blackouts of files, exports and clients, their records, and the count of what was refused
for any blackout.  Those after a start are `nfsd/state/waiting.py`'s.  Must not know operations: which of them touch a
file is `nfsd/ops/blackout.py`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.log import get_logger, limiter
from nfsd.state.waiting import Waiting
from statestore import META, ChangeSet, Damage, useless
from xdr.codec import XdrError
from xdr.generated import nfs4, stored

if TYPE_CHECKING:
    from nfsd.state.asker import Asker
    from nfsd.state.clients import Client
    from nfsd.vfs.interface import Node

log = get_logger()

FILE, EXPORT, CLIENT = "file", "export", "client"
_KINDS = {FILE: 1, EXPORT: 2, CLIENT: 3}
_NAMES = {number: name for name, number in _KINDS.items()}
_PREFIX = b"blackout."
_ADDRESS_PREFIX = b"address."
# An administrator's list that he can still read; each is one record.
BLACKOUTS_MAX = 1024
_NANOSECONDS = 1_000_000_000


def address_key(holder_key: bytes) -> bytes:
    """The key of the record that says from which address a client came."""
    return _ADDRESS_PREFIX + holder_key


class Blackout:
    """One blackout that an administrator has set.

    `target` is the file's handle, the export's pseudo path or the client's identity; `name` is how people call it;
    `address` is where the client came from.  `until` is a time of the server's own clock.
    """

    __slots__ = ("what", "target", "name", "address", "until", "retry", "refusals")

    def __init__(self, what: str, target: bytes, name: str, *, until: float, retry: bool, address: str = "") -> None:
        self.what = what
        self.target = target
        self.name = name
        self.address = address
        self.until = until
        self.retry = retry
        self.refusals = 0

    @property
    def key(self) -> bytes:
        """The key of its record."""
        return _PREFIX + hashlib.blake2b(self.what.encode() + b" " + self.target, digest_size=16).digest()

    @property
    def response(self) -> str:
        """What it answers, as the configuration calls it."""
        return "retry" if self.retry else "fail"


class Blackouts:
    """Every blackout of one server: `standing` is the administrator's, `waiting` what a start has brought.

    `wall_offset_s` is the wall clock less the server's own: records hold the wall clock's time, which goes on over
    restarts of the machine.  A wall clock that is set moves only blackouts that a restart comes in between.
    """

    def __init__(self, wall_offset_s: float = 0.0) -> None:
        self.standing: dict[tuple[str, bytes], Blackout] = {}
        self.waiting: Waiting | None = None
        self.addresses: dict[bytes, str] = {}
        self.refusals = 0
        self.wall_offset_s = wall_offset_s

    # -- the administrator's ------------------------------------------------------------------------------

    def begin(self, blackout: Blackout, now: float, changes: ChangeSet) -> None:
        """Set a blackout, in place of one of the same target.  Raises ValueError above BLACKOUTS_MAX."""
        target = blackout.what, blackout.target
        if target not in self.standing and len(self.standing) >= BLACKOUTS_MAX:
            raise ValueError(f"there are {BLACKOUTS_MAX} blackouts: lift some, or black out a whole export")
        self.standing[target] = blackout
        value = stored.StoredPacker()
        value.pack_stored_blackout(
            stored.stored_blackout(
                what=_KINDS[blackout.what],
                target=blackout.target,
                name=blackout.name.encode("utf-8", "surrogateescape"),
                address=blackout.address.encode(),
                until_ns=int((blackout.until + self.wall_offset_s) * _NANOSECONDS),
                retry=blackout.retry,
            )
        )
        changes.put(META, blackout.key, value.get_buffer())
        log.info(
            "blackout.began",
            why="administrator",
            what=blackout.what,
            name=blackout.name,
            seconds=round(blackout.until - now, 3),
            response=blackout.response,
        )

    def end(self, blackout: Blackout, reason: str, changes: ChangeSet) -> None:
        """End a blackout."""
        del self.standing[blackout.what, blackout.target]
        changes.remove(META, blackout.key)
        log.info(
            "blackout.ended",
            why="administrator",
            what=blackout.what,
            name=blackout.name,
            reason=reason,
            refusals=blackout.refusals,
        )

    def reap(self, now: float, changes: ChangeSet) -> None:
        """End those whose time is over."""
        for blackout in [each for each in self.standing.values() if each.until <= now]:
            self.end(blackout, "time", changes)

    def load(self, key: bytes, value: bytes) -> bool:
        """Take over a record of META; False if it is none of a blackout.  Raises XdrError, KeyError, ValueError."""
        if key.startswith(_ADDRESS_PREFIX):
            self.addresses[key[len(_ADDRESS_PREFIX) :]] = value.decode("ascii")
            return True
        if not key.startswith(_PREFIX):
            return False
        unpacker = stored.StoredUnpacker(value)
        kept = unpacker.unpack_stored_blackout()
        unpacker.done()
        blackout = Blackout(
            _NAMES[kept.what],
            kept.target,
            kept.name.decode("utf-8", "surrogateescape"),
            until=kept.until_ns / _NANOSECONDS - self.wall_offset_s,
            retry=kept.retry,
            address=kept.address.decode("ascii"),
        )
        self.standing[blackout.what, blackout.target] = blackout
        return True

    def takes(self, key: bytes, value: bytes, left_out: list[Damage]) -> bool:
        """The same, and one that cannot be read joins those that were left out."""
        try:
            return self.load(key, value)
        except (XdrError, KeyError, ValueError) as error:
            left_out.append(useless(META, key, value, f"cannot be read: {error!r}"))
            return True

    def check(self, asker: Asker, node: Node, client: Client | None) -> None:
        """Whether no standing blackout forbids the use of a file.

        An NFSv4.0 request names its client only sometimes: there a client's blackout holds for its address.
        Raises Nfs4Error(DELAY, ACCESS).
        """
        if not self.standing:
            return
        for blackout in self._covering(asker, node, client):
            if blackout is not None and blackout.until > asker.now:
                blackout.refusals += 1
                self.count(asker, node.handle, blackout.what, "administrator")
                status = nfs4.NFS4ERR_DELAY if blackout.retry else nfs4.NFS4ERR_ACCESS
                raise Nfs4Error(status, f"{blackout.what} {blackout.name} is blacked out")

    def _covering(self, asker: Asker, node: Node, client: Client | None) -> Iterator[Blackout | None]:
        standing, export = self.standing, node.fs.export
        yield standing.get((FILE, node.handle))
        if export is not None:
            yield standing.get((EXPORT, export.pseudo.encode()))
        if client is not None:
            yield standing.get((CLIENT, client.identity))
        elif not asker.minor:
            address = asker.connection.address
            yield from [each for each in standing.values() if each.what == CLIENT and each.address == address]

    # -- after a start ------------------------------------------------------------------------------------

    def address_of(self, client: Client) -> str:
        """Where a client came from, also before it has returned."""
        return client.peer.rpartition(":")[0] or self.addresses.get(client.key, "")

    def waits_for(self, asker: Asker, handle: bytes, holder: Client) -> bool:
        """Whether a file is still waiting for a holder who has not returned; counts the refusal that it means."""
        waiting = self.waiting
        if waiting is None or asker.now >= waiting.until(handle, self.address_of(holder)):
            return False
        waiting.refusals[handle] += 1
        self.count(asker, handle, FILE, "takeover")
        return True

    def count(self, asker: Asker, handle: bytes, what: str, why: str) -> None:
        """Count and log one refusal."""
        self.refusals += 1
        limiter.write(
            "info",
            "blackout.refused",
            about=asker.connection.address,
            peer=asker.connection.peer,
            client=asker.client.label if asker.client is not None else None,
            file=handle.hex(),
            what=what,
            why=why,
        )
