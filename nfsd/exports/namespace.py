"""What clients see: the pseudo file system, the exports below it, and every live node by its handle.

Owns putting the file systems together, and resolving handles. It must not know operations or connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from nfsd.apart import Keepers
from nfsd.apart.tree import ApartFileSystem
from nfsd.exports.export import Export
from nfsd.exports.options import AUTH_SYS, ExportError, Options
from nfsd.vfs import credentials, kernelmode
from nfsd.vfs.cache import NODE_COUNT_MAX, NodeCache
from nfsd.vfs.handles import PSEUDO, HandleCodec
from nfsd.vfs.interface import BadHandle, Exported, FileSystem, Node, StaleHandle
from nfsd.vfs.kernelmode import KernelFileSystem
from nfsd.vfs.objects import Commit
from nfsd.vfs.opener import Opener
from nfsd.vfs.pseudo import PseudoFileSystem, fileid_of
from nfsd.vfs.tablemode import TableFileSystem
from statestore import ChangeSet

Handles = Literal["auto", "kernel", "table"]

VIEWS_REMEMBERED: Final = 256
"""Trees above the exports that are kept ready, for sets of exports that some client may see; then all are made anew."""


class Namespace:
    """Everything that one server serves.

    `secret` is the cluster's, `rows` are the store's NAME records as (key, value), and `commit` takes the
    ChangeSet of a row; both serve `handles="table"`. Without `commit` its handles die with the process. `opener`
    opens every export's tree in place of the directories of this machine, for which `handles`, `rows` and `commit`
    are (nfsd.vfs.memory has one). `keepers` makes the trees that are to be served apart; `open_apart` opens those.
    """

    def __init__(
        self, exports: Sequence[Export], secret: bytes, *, handles: Handles = "auto",
        rows: Iterable[tuple[bytes, bytes]] = (), commit: Commit | None = None, born_ns: int = 0,
        node_limit: int = NODE_COUNT_MAX, path_fd_limit: int | None = None, data_fd_limit: int | None = None,
        opener: Opener | None = None, keepers: Keepers | None = None,
    ) -> None:  # fmt: skip
        credentials.configure()
        self.exports = list(exports)
        self.cache = NodeCache(
            node_limit=node_limit, path_fd_limit=path_fd_limit, data_fd_limit=data_fd_limit)  # fmt: skip
        self._codec = HandleCodec(secret)
        self._rows = list(rows)
        self._commit: Commit = commit or (lambda _changes: None)
        self._handles = handles
        self._opener: Opener = opener or self._open_directory
        self._keepers = keepers
        self._secret = secret
        self._apart: list[ApartFileSystem] = []
        self._nodes = self.cache.nodes
        self._trees: dict[int, FileSystem] = {}
        self._born_ns = born_ns
        # What clients see above the exports, by the exports that they may see; all of it is `_above`.
        self._views: dict[tuple[int, ...], PseudoFileSystem] = {}
        self._at_root = [export for export in self.exports if export.pseudo == "/"]
        if self._at_root and len(self.exports) > 1:
            raise ExportError("an export at / leaves no place for others: give it another pseudo path")
        below = [] if self._at_root else self.exports
        self._above = PseudoFileSystem([each.pseudo for each in below], self.cache, self._codec, born_ns=born_ns)
        try:
            for export in self._at_root:
                self._open(export, None, None)
            for export in below:
                tree = self._open(export, self._above.parent_of(export.pseudo), fileid_of(export.pseudo))
                self._above.cover(export.pseudo, tree)
        except BaseException:
            self.close()
            raise
        self._rows.clear()

    def _open(self, export: Export, parent: Node | None, junction: int | None) -> FileSystem:
        tree: FileSystem
        if self._keepers is not None and self._keepers.wanted(export.path, export.apart):
            tree = self._keepers.tree(
                export, self._secret, self._handles, commit=self._commit_of_keeper, parent=parent,
                junction_fileid=junction,
            )  # fmt: skip
            self._apart.append(tree)
        else:
            tree = self._opener(export, self.cache, self._codec, parent=parent, junction_fileid=junction)
        self._trees[export.id] = tree
        return tree

    def _open_directory(
        self, export: Exported, cache: NodeCache, codec: HandleCodec, *, parent: Node | None,
        junction_fileid: int | None,
    ) -> FileSystem:  # fmt: skip
        """Open a directory of this machine, by kernel handles or by the object table."""
        if self._handles == "kernel" or (self._handles == "auto" and kernelmode.usable(export.path)):
            return KernelFileSystem(export, cache, codec, parent=parent, junction_fileid=junction_fileid)
        return TableFileSystem(
            export, cache, codec, rows=self._rows, commit=self._commit, parent=parent, junction_fileid=junction_fileid
        )  # fmt: skip

    def _commit_of_keeper(self, changes: ChangeSet) -> None:
        self._commit(changes)

    def open_apart(self, rows: list[tuple[bytes, bytes]], commit: Commit | None, wait_s: float) -> None:
        """Open the trees that are served apart; who needs longer than `wait_s` holds up those alone who use it.

        Raises OSError where there is no such directory.
        """
        self._commit = commit or self._commit
        for tree in self._apart:
            tree.open(rows, wait_s)

    def leave_apart(self) -> None:
        """Close the trees that are served apart, whatever waits for them: nothing that does will go on."""
        for tree in self._apart:
            tree.close()

    @property
    def has_apart(self) -> bool:
        """Whether any tree is served apart."""
        return bool(self._apart)

    def root(self) -> Node:
        """Return the root of everything, as somebody sees it who may see all exports."""
        return self._trees[self._at_root[0].id].root if self._at_root else self._above.root

    def root_for(self, address: str) -> Node:
        """Return the node that PUTROOTFH names for a client: for one who may see nothing, an empty directory."""
        if self._at_root and self._at_root[0].options_for(address) is not None:
            return self.root()
        return self._view(address).root

    def seen_by(self, node: Node, address: str) -> Node:
        """Return a directory above the exports as a client sees it: with the names that lead to exports for it.

        Raises StaleHandle for a directory that leads to none of them.
        """
        return self._view(address).like(node)

    def _view(self, address: str) -> PseudoFileSystem:
        visible = [export for export in self.exports if export.options_for(address) is not None]
        if len(visible) == len(self.exports):
            return self._above
        key = tuple(export.id for export in visible)
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= VIEWS_REMEMBERED:
                self._views.clear()
            paths = [export.pseudo for export in visible]
            view = self._views[key] = PseudoFileSystem(paths, None, self._codec, born_ns=self._born_ns)
            for export in visible:
                view.cover(export.pseudo, self._trees[export.id])
        return view

    def resolve(self, handle: bytes) -> Node:
        """Return the node of a wire handle. Raises BadHandle, StaleHandle."""
        node = self._nodes.get(handle)
        if node is not None:
            node.recent = True
            return node
        return self._resolve_cold(handle)

    def _resolve_cold(self, handle: bytes) -> Node:
        version, export_id, body = self._codec.decode(handle)
        node = self.cache.find(handle)
        if node is not None:
            return node
        if version == PSEUDO:
            raise StaleHandle("no such directory above the exports")
        tree = self._trees.get(export_id)
        if tree is not None:
            tree.ready()
        if tree is None or tree.handle_version != version:
            raise StaleHandle("no such export, or its handles are of another kind now")
        return tree.resolve(handle, body)

    def export_of(self, handle: bytes) -> Export | None:
        """Return the export that a handle belongs to; None above the exports, and for what is no handle."""
        tree = self.tree_of(handle)
        return tree.export if tree is not None else None

    def tree_of(self, handle: bytes) -> FileSystem | None:
        """Return the tree of the export that a handle belongs to; None above the exports, and for what is no handle."""
        try:
            _version, export_id, _body = self._codec.decode(handle)
        except BadHandle:
            return None
        return self._trees.get(export_id)

    def options(self, node: Node, address: str) -> Options | None:
        """Return what holds for a client on a node's export; None when it is not for that client.

        Above the exports the defaults hold, except that any port will do.
        """
        export: Export | None = node.fs.export
        return _ABOVE if export is None else export.options_for(address)

    def admits(self, address: str, port: int) -> bool:
        """Return whether any export is for a client at this address and port."""
        found = (export.options_for(address) for export in self.exports)
        return any(options is not None and options.port_allowed(port) for options in found)

    def flavours(self, node: Node, address: str) -> tuple[int, ...]:
        """Return the authentication flavours for SECINFO; above the exports all that any of them takes."""
        export: Export | None = node.fs.export
        if export is not None:
            options = export.options_for(address)
            return options.flavours if options is not None else ()
        found: dict[int, None] = {}
        for each in self.exports:
            options = each.options_for(address)
            found.update(dict.fromkeys(options.flavours if options is not None else ()))
        return tuple(found) or (AUTH_SYS,)

    def trees(self) -> list[FileSystem]:
        """Return the exports' file systems."""
        return list(self._trees.values())

    def modes(self) -> list[tuple[Export, str]]:
        """Return each export with how its objects are found again, "kernel" or "table"."""
        return [(tree.export, tree.mode_name) for tree in self._trees.values() if tree.mode_name != "none"]

    @property
    def acts_as_caller(self) -> bool:
        """Whether operations run as their callers; otherwise everything is the server's own user's."""
        return credentials.switching()

    def adopt_thread(self) -> None:
        """Make the calling thread the event loop's: the one that may close descriptors."""
        self.cache.adopt_thread()

    def reap(self, count: int = 256) -> int:
        """Let go of some objects that were removed behind the server's back; call it every second or so."""
        return self.cache.reap(count)

    def close(self) -> None:
        """Close every descriptor, and make this thread the server's own user again."""
        credentials.as_server()
        self.cache.close()
        for tree in self._trees.values():
            tree.close()


_ABOVE = Options(secure=False)
