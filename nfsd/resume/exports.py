"""Opening the exports: ahead of a takeover where that can be done, else in it.

Owns the namespace until the takeover has it.  Must not know how an export keeps its files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from nfsd.apart import Keepers
from nfsd.config import Config
from nfsd.exports import Namespace, parse_exports
from nfsd.exports.export import Export
from nfsd.log import get_logger
from nfsd.resume.edge import Edge
from nfsd.resume.load import Rows
from nfsd.vfs import kernelmode
from statestore import ChangeSet, read_secret

log = get_logger()

WAIT_S = 10.0
"""How long a start waits for a file system that is served apart; it may only be slow."""
PREPARED_WAIT_S = 0.02
"""The same where a keeper stands ready: then only the keeper before it, or the file system, can be in the way."""

Commit = Callable[[ChangeSet], None]


class Exports:
    """The configured exports, opened once."""

    def __init__(self, config: Config, edge: Edge, lost: Callable[[str], None]) -> None:
        """`lost` is called when the keeper of a tree that is served apart has ended; it MUST NOT return."""
        self._config = config
        self._keepers = Keepers(config.control, lost)
        self._edge = edge
        self._prepared: tuple[bytes, Namespace] | None = None

    @cached_property
    def _parsed(self) -> list[Export]:
        return parse_exports(self._config.exports)

    def prepare(self) -> None:
        """Open them now, if none needs the store's rows.  Raises StoreError, ExportError, OSError."""
        config = self._config
        near = [export for export in self._parsed if not self._keepers.wanted(export)]
        if config.handles != "table" and all(kernelmode.usable(export.path) for export in near):
            secret = read_secret(config.state)
            self._prepared = secret, self._open(secret, [], _refuse)

    def open(self, secret: bytes, rows: Rows, commit: Commit) -> Namespace:
        """The namespace, for the loop's thread; opened now unless it was prepared with the same secret.

        `rows` are those of the object tables that stand in for kernel handles, `commit` takes new ones.
        Raises ExportError, OSError.
        """
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] != secret:
            prepared[1].close()
            prepared = None
        namespace = prepared[1] if prepared is not None else self._open(secret, rows, commit)
        namespace.open_apart(rows, commit, PREPARED_WAIT_S if prepared is not None else WAIT_S)
        namespace.adopt_thread()
        for export, mode in namespace.modes():
            log.info("export.opened", path=export.path, pseudo=export.pseudo, handles=mode)
            if mode == "table":
                log.warning("export.table_handles", path=export.path, reason="files moved behind the server go stale")
        if not namespace.acts_as_caller:
            log.warning("server.single_user", reason="not root: every operation runs as the server's own user")
        return namespace

    def _open(self, secret: bytes, rows: Rows, commit: Commit) -> Namespace:
        return Namespace(
            self._parsed,
            secret,
            handles=self._config.handles,  # type: ignore[arg-type]
            rows=rows,
            commit=commit,
            born_ns=self._edge.wall_ns(),
            keepers=self._keepers,
        )


def _refuse(_changes: ChangeSet) -> None:
    raise AssertionError("exports with the kernel's own handles have no object table")
