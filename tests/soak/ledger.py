"""What clients were told, and whether a store still says the same: the judge of the kills.

Owns Ledger (one client's acknowledged facts, and what its requests in flight may have changed) and `compare`.
A fact is a key and a plain value; `GONE` says that nothing may be stored under the key.  Must not know sockets,
nor open a store: it is given the lines of `understudy store dump -o json`. What clients saw meanwhile is judged by
others (`tests.support.judge`).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[Any, ...]
Fact = tuple[Any, ...]
Facts = dict[Key, Fact]

GONE: Fact = ("gone",)
ANYTHING = object()
_SLOT = struct.Struct(">II")


@dataclass(slots=True)
class Ledger:
    """One client's facts; `pending` has, for each request in flight, what it changes if it is carried out."""

    facts: Facts = field(default_factory=dict)
    pending: dict[Any, Facts] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """What comparing found: how many facts of each kind were checked, and one line for each that is not so.

    `torn` has requests of which only a part was stored; `carried_out` the requests in flight that were stored.
    """

    checked: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    carried_out: int = 0
    not_carried_out: int = 0

    def add(self, other: Verdict) -> None:
        """Count another comparison in."""
        self.checked += other.checked
        self.missing += other.missing
        self.torn += other.torn
        self.carried_out += other.carried_out
        self.not_carried_out += other.not_carried_out


def _bytes(text: str) -> bytes:
    """A dumped value's bytes: printable ASCII stands for itself, anything else is hexadecimal."""
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode("ascii")


def _stateid_other(open_key: bytes, instance: int) -> bytes:
    return open_key[:6] + instance.to_bytes(6, "big")


def facts_of(lines: Iterable[Mapping[str, Any]]) -> Facts:
    """The facts that a dump states, under the keys that clients know: stateids, not the store's own keys."""
    found: Facts = {}
    for line in lines:
        key = bytes.fromhex(line["key"])
        kind = line["kind"]
        if "damaged" in line:
            found["damaged", kind, key] = (line["damaged"],)
        elif kind == "HOLDER":
            found["client", line["clientid"]] = (line["minor"], _bytes(line["owner"]))
        elif kind == "STREAM":
            found["session", key] = (line["clientid"],)
        elif kind == "SLOT":
            value = bytes.fromhex(line["value"])
            seqid, has_reply = _SLOT.unpack_from(value)
            found["slot", key[:16], int.from_bytes(key[16:], "big")] = (seqid, value[8:] if has_reply else None)
        elif kind == "OPEN":
            found["open", _stateid_other(key, line["instance"])] = (
                line["clientid"], _bytes(line["owner"]), _bytes(line["object"]), line["access"], line["deny"],
                line["seqid"],
            )  # fmt: skip
        elif kind == "RANGE":
            ranges = tuple((item["start"], item["last"], item["exclusive"]) for item in line["ranges"])
            found["lock", _stateid_other(key[:16], line["instance"])] = (_bytes(line["owner"]), line["seqid"], ranges)
        elif kind == "OWNER":
            whose = "lock owner" if line["is_lock_owner"] else "open owner"
            found[whose, int.from_bytes(key[:8], "big"), _bytes(line["owner"])] = (line["seqid"],)
    return found


def same(stored: Fact, wanted: Fact) -> bool:
    """Whether they are equal, `ANYTHING` in `wanted` standing for any value."""
    return len(stored) == len(wanted) and all(
        want is ANYTHING or have == want for have, want in zip(stored, wanted, strict=True)
    )


def compare(ledger: Ledger, stored: Mapping[Key, Fact]) -> Verdict:
    """Check every fact of a ledger against the stored ones.

    A request in flight may have been carried out or not, but wholly: all of its changes, its slot's or owner's
    sequence id among them, or none.
    """
    verdict = Verdict()
    doubtful: set[Key] = set()
    for request, changes in ledger.pending.items():
        doubtful.update(changes)
        if all(same(stored.get(key, GONE), fact) for key, fact in changes.items()):
            verdict.carried_out += 1
            verdict.checked.update(_kind(key, fact) for key, fact in changes.items())
        elif all(same(stored.get(key, GONE), ledger.facts.get(key, GONE)) for key in changes):
            verdict.not_carried_out += 1
            verdict.checked.update(_kind(key, ledger.facts[key]) for key in changes if key in ledger.facts)
        else:
            parts = ", ".join(
                f"{_named(key)} is {stored.get(key, GONE)}, was {ledger.facts.get(key, GONE)}, to be {fact}"
                for key, fact in changes.items()
            )
            verdict.torn.append(f"request {request}: {parts}")
    for key, fact in ledger.facts.items():
        if key in doubtful:
            continue
        verdict.checked[_kind(key, fact)] += 1
        have = stored.get(key, GONE)
        if not same(have, fact):
            verdict.missing.append(f"{_named(key)}: acknowledged as {fact}, stored as {have}")
    return verdict


def _kind(key: Key, fact: Fact) -> str:
    return "gone" if fact is GONE else str(key[0])


def _named(key: Key) -> str:
    return " ".join(part.hex() if isinstance(part, bytes) else str(part) for part in key)
