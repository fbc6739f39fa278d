"""Files that lost their last name while they were open: freed when the last open has gone and that is durable.

Owns the sweep at the start and what is to be freed later.  Must not know how a tomb is made (`nfsd/vfs/tombs.py`).
"""

from __future__ import annotations

from functools import partial

from nfsd.durable.outbox import Outbox
from nfsd.exports import Namespace
from nfsd.log import get_logger
from nfsd.state.tables import State
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
        self._clear_up()
        for handle in held.pending:
            try:
                self._namespace.resolve(handle).pinned = True
            except OSError as error:
                log.error("tomb.missing", handle=handle.hex(), reason=str(error))

    def _clear_up(self) -> None:
        """Remove the tombs that no record speaks of, but for those that a damaged record may have spoken of."""
        held = self._state.filter
        changes = ChangeSet()
        for tree in self._namespace.trees():
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
            self._outbox.afterwards(ticket, partial(self._free, handle))

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
