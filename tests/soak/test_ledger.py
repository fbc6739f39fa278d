"""The judge of the kills bites: whatever is taken from a dump, or changed in it, is reported."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.soak.ledger import ANYTHING, GONE, Ledger, compare, facts_of

SESSION = bytes(range(16))
OPEN_KEY = b"open key of 16 b"
OTHER = OPEN_KEY[:6] + (77).to_bytes(6, "big")
LOCK_OTHER = OPEN_KEY[:6] + (78).to_bytes(6, "big")
REPLY = b"the reply"

DUMP: list[dict[str, Any]] = [
    {"kind": "HOLDER", "key": "0" * 16, "clientid": 5, "minor": 1, "owner": "somebody"},
    {"kind": "STREAM", "key": SESSION.hex(), "clientid": 5},
    {"kind": "SLOT", "key": SESSION.hex() + "00000003", "value": ((9 << 32 | 1).to_bytes(8, "big") + REPLY).hex()},
    {"kind": "OWNER", "key": "0" * 15 + "5" + "ab" * 16, "is_lock_owner": False, "owner": "o", "seqid": 4},
    {
        "kind": "OPEN", "key": OPEN_KEY.hex(), "clientid": 5, "owner": "o", "object": "0x0102ff", "access": 3,
        "deny": 0, "seqid": 2, "instance": 77,
    },
    {
        "kind": "RANGE", "key": OPEN_KEY.hex() + "cd" * 16, "owner": "l", "seqid": 6, "instance": 78,
        "ranges": [{"start": 0, "last": 9, "exclusive": True}, {"start": 20, "last": 29, "exclusive": True}],
    },
]  # fmt: skip


def told() -> Ledger:
    """What a client was told that agrees with DUMP."""
    return Ledger(
        {
            ("client", 5): (1, b"somebody"),
            ("session", SESSION): (5,),
            ("slot", SESSION, 3): (9, REPLY),
            ("open owner", 5, b"o"): (4,),
            ("open", OTHER): (5, b"o", b"\x01\x02\xff", 3, 0, 2),
            ("lock", LOCK_OTHER): (b"l", 6, ((0, 9, True), (20, 29, True))),
            ("open", b"closed state"): GONE,
        }
    )


def test_compare_complete() -> None:
    """A store that has everything has nothing missing, and everything was checked."""
    verdict = compare(told(), facts_of(DUMP))
    assert not verdict.missing and not verdict.torn
    assert sum(verdict.checked.values()) == len(told().facts)


@pytest.mark.parametrize("kind", [line["kind"] for line in DUMP])
def test_compare_record_removed(kind: str) -> None:
    """Without any one record of the dump, that one is missing."""
    verdict = compare(told(), facts_of(line for line in DUMP if line["kind"] != kind))
    assert len(verdict.missing) == 1


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("HOLDER", {"owner": "another"}),
        ("STREAM", {"clientid": 6}),
        ("SLOT", {"value": ((9 << 32 | 1).to_bytes(8, "big") + b"another").hex()}),
        ("SLOT", {"value": ((8 << 32 | 1).to_bytes(8, "big") + REPLY).hex()}),
        ("OWNER", {"seqid": 3}),
        ("OPEN", {"access": 1}),
        ("OPEN", {"seqid": 1}),
        ("RANGE", {"ranges": [{"start": 0, "last": 9, "exclusive": True}]}),
        ("RANGE", {"ranges": []}),
        ("OPEN", {"damaged": "checksum"}),
    ],
)
def test_compare_record_changed(kind: str, changed: dict[str, Any]) -> None:
    """A record that says something older or other is missing."""
    lines = copy.deepcopy(DUMP)
    for line in lines:
        if line["kind"] == kind:
            line.update(changed)
    assert len(compare(told(), facts_of(lines)).missing) == 1


def test_compare_closed_again() -> None:
    """An open that was acknowledged as closed and is stored all the same is reported."""
    ledger = told()
    ledger.facts["open", OTHER] = GONE
    assert "acknowledged as ('gone',)" in compare(ledger, facts_of(DUMP)).missing[0]


def test_compare_in_flight() -> None:
    """A request in flight may be carried out or not, but not in part."""
    ledger = told()
    carried_out = {("open", OTHER): GONE, ("slot", SESSION, 3): (10, ANYTHING)}
    ledger.pending[3] = carried_out
    stored = facts_of(DUMP)
    assert compare(ledger, stored).not_carried_out == 1
    stored["slot", SESSION, 3] = (10, b"closed")
    torn = compare(ledger, stored)
    assert len(torn.torn) == 1 and not torn.missing
    del stored["open", OTHER]
    assert compare(ledger, stored).carried_out == 1
