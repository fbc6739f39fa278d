"""The write verifier: it changes when data may have been lost, and with nothing else (RFC 8881 18.32.4)."""

from __future__ import annotations

from typing import Any

import pytest

from nfsd.durable.verifier import VERIFIER_KEY, WriteVerifier, losses_of, put_losses
from statestore import META, ChangeSet
from tests.state.world import entries_of

SAME: dict[str, Any] = {"secret": bytes(32), "boot_id": b"boot", "node": "node", "losses": 0}


def test_same_of_the_next_process() -> None:
    """Another process of the same node, which has lost nothing, has the same one: 8 bytes."""
    assert WriteVerifier(**SAME).value == WriteVerifier(**SAME).value
    assert len(WriteVerifier(**SAME).value) == 8


@pytest.mark.parametrize(
    "other", [{"secret": b"x" * 32}, {"boot_id": b"later"}, {"node": "other"}, {"losses": 1}], ids=str
)
def test_another(other: dict[str, Any]) -> None:
    """Another store, start of the machine, node or loss gives another one."""
    assert WriteVerifier(**{**SAME, **other}).value != WriteVerifier(**SAME).value


def test_lose() -> None:
    """Each loss gives one that was never there, which the next process has too by the record."""
    verifier = WriteVerifier(**SAME)
    seen = {verifier.value}
    for count in (1, 2, 3):
        [(kind, key, value)] = entries_of(verifier.lose())
        assert (kind, key) == (META, VERIFIER_KEY) and value is not None
        assert losses_of(value) == count
        assert verifier.value not in seen
        seen.add(verifier.value)
        assert WriteVerifier(**{**SAME, "losses": losses_of(value)}).value == verifier.value


def test_record() -> None:
    """The count is stored as it is read."""
    for count in (0, 1, 2**32 - 1):
        changes = ChangeSet()
        put_losses(changes, count)
        [(_kind, _key, value)] = entries_of(changes)
        assert value is not None and losses_of(value) == count
