"""Files that lost their last name while they were open: freed when the last open has gone and that is durable.

Owns the sweep at the start and what is to be freed later.  Must not know how a tomb is made (`nfsd/vfs/tombs.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nfsd.apart import start
from nfsd.durable.outbox import Outbox
from nfsd.exports import Namespace
from nfsd.log import get_logger
from nfsd.state.tables import State
from nfsd.vfs.interface import FileSystem
from statestore import PENDING, ChangeSet

log = get_logger()


class Tombs:
    """The tombs of all exports of one server."""

    def __init__(self, outbox: Outbox, state: State, namespace: Namespace) -> None:
        self._outbox = outbox
        self._state = state
        self._namespace = namespace
        self._unswept = True
        outbox.watch(state.filter.forsaken, self._note)

    def sweep(self) -> None:
        """Free the files without a name that nobody holds, once nobody can claim them any more; later calls do nothing.

        All is durable on return.
        """
        if not self._unswept or self._state.filter.claims is not None:
            return
        self._unswept = False
        held = self._state.filter
        changes = ChangeSet()
        held.forsake_unheld(changes)
        held.forsaken.clear()
        if changes:
            self._outbox.commit_now(changes)
        for tree in self._namespace.trees():
            self._on(tree, partial(self._clear_up, tree))
        for handle in held.pending:
            self._on(self._namespace.tree_of(handle), partial(self._pin, handle))

    def _on(self, tree: FileSystem | None, work: Callable[[], None]) -> None:
        """Work on a tree, if it is served apart in a task: it may not answer for long."""
        if tree is not None and tree.apart:
            start(work)
        else:
            work()

    def _pin(self, handle: bytes) -> None:
        try:
            self._namespace.resolve(handle).pinned = True
        except OSError as error:
            log.error("tomb.missing", handle=handle.hex(), reason=str(error))

    def _clear_up(self, tree: FileSystem) -> None:
        """Remove the tombs that no record speaks of, but for those that a damaged record may have spoken of."""
        held = self._state.filter
        changes = ChangeSet()
        tree.ready()
        for identity in tree.buried():
            handle = tree.handle_of(identity)
            if handle in held.pending:
                continue
            if self._state.spares_tombs and held.is_held(handle):
                held.keep_pending(handle, changes)
            else:
                tree.unbury(identity)
        if changes:
            self._outbox.commit_now(changes)

    def _note(self, changes: ChangeSet, ticket: int) -> None:
        """Files whose last open goes with these changes are freed once that is durable."""
        forsaken = self._state.filter.forsaken
        for handle in [handle for handle in forsaken if changes.has(PENDING, handle)]:
            forsaken.discard(handle)
            free = partial(self._on, self._namespace.tree_of(handle), partial(self._free, handle))
            self._outbox.afterwards(ticket, free)

    def _free(self, handle: bytes) -> None:
        """Free a file that nobody has open any more, unless somebody has opened it again by its handle."""
        held = self._state.filter
        if handle in held.shares:
            changes = ChangeSet()
            held.keep_pending(handle, changes)
            self._outbox.commit(changes)
            return
        try:
            node = self._namespace.resolve(handle)
        except OSError:
            return  # A program on this machine was faster.
        node.fs.unbury(node.key)
