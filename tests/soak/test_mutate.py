"""Bad input: a bounded number of mutated requests every day, a million by the long run; and that the judge bites."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nfsd.compound.table import OPERATIONS
from tests.soak import mutations
from tests.soak.hostile import Figures, Hostile
from tests.soak.mutate import SECRET, fingerprint, make_trees, run, unlogged
from tests.soak.process import ServerProcess
from tests.soak.requests import Composer, Material
from tests.support.client import compound
from tests.support.rpc import call, marked
from xdr.generated import nfs4

EVERYDAY_COUNT = 60_000


@pytest.mark.timeout(110)
def test_mutated_requests(tmp_path: Path, new_seed: int) -> None:
    """Mutated requests neither stop the server, nor leak, nor hurt a good client, nor leave the export."""
    outcome = run(tmp_path, EVERYDAY_COUNT, new_seed)
    print("\n".join(outcome.lines()))
    assert not outcome.problems, f"seed {new_seed}"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_mutated_requests_million(tmp_path: Path, new_seed: int) -> None:
    """A million mutated requests neither stop the server, nor leak, nor hurt a good client."""
    outcome = run(tmp_path, 1_000_000, new_seed)
    print("\n".join(outcome.lines()))
    assert not outcome.problems, f"seed {new_seed}"


def _material(minor: int) -> Material:
    held = nfs4.stateid4(1, b"x" * 12)
    return Material(minor, directories=[b"dir"], files=[b"a", b"b"], others=[b"c"], opens=[held], locks=[held])


def test_every_operation_has_a_template() -> None:
    """The templates have every operation of the server's table, and each of them decodes."""
    composer = Composer(_material(2), random.Random(1))
    forms = {name: variants for family in composer.families for name, variants in family.items()}
    assert {row.name for row in OPERATIONS.values()} <= set(forms) | {"ILLEGAL"}
    for name, variants in forms.items():
        row = OPERATIONS[getattr(nfs4, f"OP_{name}")]
        for form in variants:
            unpacker = nfs4.Nfs4Unpacker(form)
            assert unpacker.unpack_uint() == row.number
            if row.unpack is not None:
                row.unpack(unpacker)
            unpacker.done()


def test_mutations_repeat() -> None:
    """A seed makes one list of requests."""

    def some(seed: int) -> list[bytes]:
        rng = random.Random(seed)
        composer = Composer(_material(1), rng)
        found = []
        for _ in range(200):
            data = bytearray(b"".join(mutations.mutate_operations(composer.compose(), composer.anything, rng)))
            mutations.mutate_bytes(data, rng)
            found.append(bytes(data))
            found.append(mutations.broken_stream(bytes(data), rng))
        return found

    assert some(5) == some(5) != some(6)


def test_fragments_hold_the_message() -> None:
    """A record in fragments carries the same bytes."""
    rng = random.Random(3)
    for size in (1, 4, 40, 400):
        message = rng.randbytes(size)
        data, found, last = mutations.fragments(message, rng), b"", False
        while data:
            mark = int.from_bytes(data[:4], "big")
            last = bool(mark & 0x80000000)
            found += data[4 : 4 + (mark & 0x7FFFFFFF)]
            data = data[4 + (mark & 0x7FFFFFFF) :]
        assert found == message and last


def test_judge_canary(tmp_path: Path) -> None:
    """Any change beside the export changes the fingerprint."""
    make_trees(tmp_path)
    before = fingerprint(tmp_path / "canary")
    assert fingerprint(tmp_path / "canary") == before
    (tmp_path / "canary" / "link").unlink()
    changed = fingerprint(tmp_path / "canary")
    assert changed != before
    (tmp_path / "canary" / "below" / "secret").chmod(0o600)
    assert fingerprint(tmp_path / "canary") != changed


def test_judge_reply() -> None:
    """A reply that holds the secret, or that does not decode, is noted."""
    figures = Figures()
    hostile = Hostile("h", 0, ("127.0.0.1", 1), b"e", SECRET, figures, random.Random(1))
    head = bytes(3) + b"\1" + bytes(3) + b"\1" + bytes(16)
    for _ in range(8):
        hostile.answered(head + bytes(8) + b"\0\0\0\1" + b"\0\0\0\x0a" + SECRET)
    assert len(figures.leaked) == 8
    assert figures.malformed


def test_judge_log(tmp_path: Path) -> None:
    """A connection that was closed without a line in the log is noted."""
    server = ServerProcess(tmp_path, {})
    server.log.write_text('{"event":"connection.dropped","peer":"127.0.0.1:1000"}\n', encoding="utf-8")
    assert unlogged(server, [1000, 1001]) == [1001]


def test_marked_call() -> None:
    """A call's record has the size that its mark says."""
    record = marked(call(7, compound(1, [])))
    assert int.from_bytes(record[:4], "big") == 0x80000000 | len(record) - 4
