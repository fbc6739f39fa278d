"""`understudy blackout list|set|lift` on the server's side: what people say to files, exports and clients, and back.

Owns how a blackout is named and shown.  Must not know how it is kept or what it refuses (`nfsd/state/blackout.py`).
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from typing import Any

from nfsd.admin.control import ControlError
from nfsd.compound.engine import Engine
from nfsd.state import blackouts
from nfsd.state.blackouts import CLIENT, EXPORT, FILE
from nfsd.state.durations import FileDurations
from nfsd.vfs.interface import ROOT, Node
from statestore import BY_OBJECT, Blackout, ChangeSet, Subject, Waiting

# A week: what lasts longer is a matter for the exports.
SECONDS_MAX = 7 * 24 * 3600
# Files whose attribute a listing reads from the disk: about 50 ms.
_READ_COUNT = 2048


class BlackoutCommands:
    """Carries out `understudy blackout` on one server."""

    def __init__(self, engine: Engine, durations: FileDurations) -> None:
        self._engine = engine
        self._state = engine.services.state
        self._namespace = engine.services.namespace
        self._durations = durations

    def run(self, action: str, arguments: dict[str, Any]) -> Any:
        """Carry one command out.  Raises ControlError."""
        if action == "list":
            return self.rows()
        if action == "set":
            return self.begin(arguments)
        if action == "lift":
            return self.lift(arguments)
        raise ControlError(f"unknown action {action!r}: blackout knows list, set, lift")

    # -- setting and lifting ------------------------------------------------------------------------------------

    def begin(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Black out a file, an export or a client; the new row of the listing.  Raises ControlError."""
        what, target, name, address = self._target(arguments)
        response = arguments.get("response", "retry")
        if response not in ("retry", "fail"):
            raise ControlError(f"response {response!r} is not allowed: it must be retry or fail")
        seconds = arguments.get("seconds")
        if seconds is None:
            seconds = self._usual_seconds(what, target, address)
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= SECONDS_MAX:
            raise ControlError(f"seconds {seconds!r} is not allowed: it must be a number from 1 to {SECONDS_MAX}")
        now = self._engine.now()
        blackout = blackouts.make(what, target, name, until=now + seconds, retry=response == "retry", address=address)
        changes = ChangeSet()
        try:
            blackouts.begin(self._state, blackout, now, changes)
        except ValueError as error:
            raise ControlError(str(error)) from error
        self._engine.outbox.commit_now(changes)
        return self._standing_row(blackout, now)

    def lift(self, arguments: dict[str, Any]) -> bool:
        """End a blackout, also one that a start has brought to a file; False if there was none."""
        held = self._state.filter
        named = self._named(arguments)
        if named is not None:
            what, target = blackouts.NAMES[named.subject], named.target
        else:
            what, target = self._target(arguments)[:2]
        blackout = held.blackouts.standing.get((blackouts.SUBJECTS[what], target))
        changes = ChangeSet()
        if blackout is not None:
            blackouts.end(self._state, blackout, "lifted", changes)
            self._engine.outbox.commit_now(changes)
        waits = False
        if what == FILE and held.waiting is not None:
            now = self._engine.now()
            waiting = held.waiting
            waits = any(
                handle == target and now < waiting.until(handle, address) for handle, _key, address in held.missing()
            )
            waiting.lift(target)
        return blackout is not None or waits

    def _usual_seconds(self, what: str, target: bytes, address: str) -> int:
        """Seconds of a blackout of which nothing else is said: what a file would wait after a start."""
        durations = self._durations
        if what == FILE:
            own = durations.of_object(target)
            return max(1, own if own is not None else durations.configured(target, "")[0])
        if what == EXPORT:
            export = next(each for each in self._namespace.exports if blackouts.tree_of(each.pseudo) == target)
            return max(1, export.options.blackout_s if export.options.blackout_s is not None else durations.server_s)
        return max(1, durations.configured(b"", address)[0])

    def _named(self, arguments: dict[str, Any]) -> Blackout | None:
        """The blackout that was set under this very name, whatever has become of its target."""
        for blackout in self._state.filter.blackouts.standing.values():
            what = blackouts.NAMES[blackout.subject]
            said = arguments.get(what)
            if what == CLIENT and isinstance(said, int):
                said = f"{said:016x}"
            if said is not None and said == blackout.name:
                return blackout
        return None

    def _target(self, arguments: dict[str, Any]) -> tuple[str, bytes, str, str]:
        """What is meant, its target, its name and its address.  Raises ControlError."""
        given = [what for what in (FILE, EXPORT, CLIENT) if arguments.get(what) is not None]
        if len(given) != 1:
            raise ControlError("name one file, one export or one client")
        said = arguments[given[0]]
        if given[0] == CLIENT and isinstance(said, int) and not isinstance(said, bool):
            client = self._state.clients.by_id.get(said)
            if client is None:
                raise ControlError(f"there is no client {said:#x}: 'understudy clients' lists them")
            return CLIENT, client.identity, client.label, client.address
        if not isinstance(said, str) or given[0] == CLIENT:
            raise ControlError(f"{given[0]} {said!r} is not allowed")
        if given[0] == EXPORT:
            pseudo = "/" + said.strip("/")
            if all(export.pseudo != pseudo for export in self._namespace.exports):
                raise ControlError(f"there is no export {said}: there are {self._exports()}")
            return EXPORT, blackouts.tree_of(pseudo), pseudo, ""
        node = self._file(said)
        if node.kind != stat.S_IFREG:
            raise ControlError(f"{said} is no regular file: black out its export")
        return FILE, node.handle, said, ""

    def _file(self, said: str) -> Node:
        """The file of a path as clients see it, or of a handle as the listings show it.  Raises ControlError."""
        try:
            if not said.startswith("/"):
                return self._namespace.resolve(bytes.fromhex(said))
            node = self._namespace.root()
            for part in filter(None, os.fsencode(said).split(b"/")):
                if part in (b".", b".."):
                    raise ValueError(part)
                node = node.fs.lookup(node, part, ROOT)
            return node
        except (OSError, ValueError) as error:
            remedy = f"write its path as clients see it, below {self._exports()}, or its handle"
            raise ControlError(f"there is no file {said}: {remedy}") from error

    def _exports(self) -> str:
        return ", ".join(export.pseudo for export in self._namespace.exports)

    # -- the listing ----------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """One row a blackout: the administrator's, then the files that wait for their holders after a start."""
        now = self._engine.now()
        held = self._state.filter
        standing = held.blackouts.standing.values()
        found = [self._standing_row(blackout, now) for blackout in standing if blackout.until > now]
        return found + (self._waiting_rows(held.waiting, now) if held.waiting is not None else [])

    def count(self) -> int:
        """How many blackouts there are: standing ones, and files that wait for a holder."""
        now = self._engine.now()
        held = self._state.filter
        waiting = held.waiting
        found = sum(blackout.until > now for blackout in held.blackouts.standing.values())
        if waiting is None:
            return found
        files = {
            handle
            for handle, _key, address in held.missing()
            if now < waiting.began + waiting.seconds(handle, address, read=False)[0]
        }
        return found + len(files)

    def _standing_row(self, blackout: Blackout, now: float) -> dict[str, Any]:
        return {
            "what": blackouts.NAMES[blackout.subject],
            "name": blackout.name,
            "file": blackout.target.hex() if blackout.subject is Subject.OBJECT else None,
            "why": "administrator",
            "response": blackouts.response(blackout),
            **self._times(blackout.until, now),
            "holders": [],
            "refusals": blackout.refusals,
        }

    def _waiting_rows(self, waiting: Waiting, now: float) -> list[dict[str, Any]]:
        found: dict[bytes, dict[str, Any]] = {}
        for number, (handle, holder_key, address) in enumerate(self._state.filter.missing()):
            seconds, source = waiting.seconds(handle, address, read=number < _READ_COUNT)
            until = waiting.began + seconds
            if until <= now:
                continue
            row = found.get(handle)
            if row is None:
                row = found[handle] = {
                    "what": FILE,
                    "name": handle.hex(),
                    "file": handle.hex(),
                    "why": "attribute" if source == BY_OBJECT else "takeover",
                    "response": "retry" if waiting.retry or self._state.filter.claims is not None else "fail",
                    **self._times(until, now),
                    "holders": [],
                    "refusals": waiting.refusals[handle],
                }
            if holder_key.hex() not in row["holders"]:
                row["holders"].append(holder_key.hex())
            if until - now > row["left_s"]:
                row.update(self._times(until, now))
        return list(found.values())

    def _times(self, until: float, now: float) -> dict[str, Any]:
        """When it ends, by the wall clock (UTC), and in how many seconds."""
        wall = datetime.fromtimestamp(until + self._state.wall_offset_s, UTC)
        return {"until": wall.isoformat(timespec="seconds"), "left_s": round(until - now, 3)}
