"""Opening the exports: ahead of a takeover where that can be done, else in it.

Owns the namespace until the takeover has it.  Must not know how an export keeps its files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nfsd.apart import Keepers
from nfsd.config import Config, ExportSpec
from nfsd.exports import Namespace, Numbers, parse_exports, resolve_name
from nfsd.exports.numbers import KEY_PREFIX, is_key
from nfsd.exports.options import parse_options
from nfsd.log import get_logger
from nfsd.resume.edge import Edge
from nfsd.resume.load import Rows
from nfsd.resume.places import keep_apart
from nfsd.vfs import kernelmode
from statestore import META, ChangeSet, StoreMissing, open_readonly, read_secret

log = get_logger()

WAIT_S = 10.0
"""How long a start waits for a file system that is served apart; it may only be slow."""
PREPARED_WAIT_S = 0.02
"""How long it waits for one whose keeper stands ready: only the keeper before it can be in the way then."""

Commit = Callable[[ChangeSet], None]


class Exports:
    """The configured exports, opened once."""

    def __init__(self, config: Config, edge: Edge, lost: Callable[[str], None]) -> None:
        """`lost` is called when the keeper of a tree that is served apart has ended; it MUST NOT return."""
        self._config = config
        self._keepers = Keepers(config.control, lost)
        self._edge = edge
        self._prepared: tuple[bytes, Namespace] | None = None
        self._addresses: dict[str, list[str]] = {}

    def resolve(self) -> None:
        """Read the exports, and ask for the addresses of host names in them: no takeover is to wait for a name server.

        Raises ExportError.
        """
        parse_exports(self._config.exports, self._addresses_of)

    def _addresses_of(self, name: str) -> list[str]:
        """The addresses of a host name, as they were when this process asked first."""
        if name not in self._addresses:
            self._addresses[name] = resolve_name(name)
        return self._addresses[name]

    def prepare(self) -> None:
        """Open them now, if none needs the store's rows.  Raises StoreError, OSError, ValueError."""
        config = self._config
        near = [str(each.path) for each in config.exports if not self._hangs(each)]
        if config.handles != "table" and all(map(kernelmode.usable, near)):
            secret = read_secret(config.state)
            self._prepared = secret, self._open(secret, Numbers(_stored_numbers(config.state)), [], _refuse)

    def _hangs(self, export: ExportSpec) -> bool:
        """Whether a look at the export may hang: it is served apart."""
        return self._keepers.wanted(str(export.path), parse_options(export.options).apart)

    def open(self, secret: bytes, given: Rows, rows: Rows, commit: Commit) -> Namespace:
        """The namespace, for the loop's thread; opened now unless it was prepared with the same secret and numbers.

        `given` are the records of the exports' numbers, `rows` those of the object tables that stand in for kernel
        handles, `commit` takes new ones of both.  Raises ExportError, OSError, ValueError.
        """
        keep_apart(self._config.state, ((each.path, self._hangs(each)) for each in self._config.exports))
        numbers = Numbers(given)
        prepared = self._take_prepared(secret, numbers)
        namespace = prepared or self._open(secret, numbers, rows, commit)
        if numbers.changes:
            commit(numbers.changes)
        namespace.open_apart(rows, commit, PREPARED_WAIT_S if prepared is not None else WAIT_S)
        namespace.adopt_thread()
        for export, mode in namespace.modes():
            log.info("export.opened", path=export.path, pseudo=export.pseudo, number=export.id, handles=mode)
            if mode == "table":
                log.warning("export.table_handles", path=export.path, reason="files moved behind the server go stale")
        if not namespace.acts_as_caller:
            log.warning("server.single_user", reason="not root: every operation runs as the server's own user")
        return namespace

    def _take_prepared(self, secret: bytes, numbers: Numbers) -> Namespace | None:
        """What was prepared, if it is what would be opened now; the numbers have been given then."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        before, namespace = prepared
        exports = namespace.exports
        if before == secret and numbers.assign([each.wanted for each in exports]) == [each.id for each in exports]:
            return namespace
        namespace.close()
        return None

    def _open(self, secret: bytes, numbers: Numbers, rows: Rows, commit: Commit) -> Namespace:
        return Namespace(
            parse_exports(self._config.exports, self._addresses_of, numbers),
            secret,
            handles=self._config.handles,  # type: ignore[arg-type]
            rows=rows,
            commit=commit,
            born_ns=self._edge.wall_ns(),
            keepers=self._keepers,
        )


def _stored_numbers(state: Path) -> Rows:
    """The records of the exports' numbers as they are now; a new store has none.  Raises StoreError."""
    try:
        with open_readonly(state) as reader:
            return [(key, value) for key, value in reader.sound(META, KEY_PREFIX) if is_key(key)]
    except StoreMissing:
        return []


def _refuse(_changes: ChangeSet) -> None:
    raise AssertionError("exports with the kernel's own handles have no object table")
