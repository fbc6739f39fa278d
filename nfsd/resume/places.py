"""Opening the state where it may lie, and nowhere else.

Owns the refusal at a start, and the warnings in the log. What is refused and why is `nfsd.config.places`'.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfsd.config.places import refused_beside, refused_on, warnings_of
from nfsd.exports import ExportError
from nfsd.log import get_logger
from statestore import LmdbStore, StoreError

log = get_logger()


def open_state(directory: Path, **how: Any) -> LmdbStore:
    """Open the store in a directory, as LmdbStore.open does.  Raises StoreError, also where it may not lie."""
    refusal = refused_on(directory)
    if refusal is not None:
        raise StoreError(refusal)
    for warning in warnings_of(directory):
        log.warning("state.place", reason=warning)
    return LmdbStore.open(directory, **how)


def keep_apart(state: Path, exports: Iterable[tuple[Path, bool]]) -> None:
    """See to it, once everything is mounted, that no client can reach the state.  Raises ExportError.

    With each export comes whether it may hang: then it is not looked at.
    """
    for path, hangs in exports:
        refusal = refused_beside(state, path, look=not hangs)
        if refusal is not None:
            raise ExportError(refusal)
