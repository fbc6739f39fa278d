"""Verify and dump: what an operator sees of a state directory."""

import json
import random
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statestore import (
    HOLDER,
    INTENT,
    META,
    OPEN,
    OWNER,
    RANGE,
    SLOT,
    STREAM,
    ChangeSet,
    LmdbStore,
    Reference,
    StoreDamaged,
    StoreMissing,
    dump,
    verify,
)

HOLDER_KEY, STREAM_KEY, OPEN_KEY = b"holder01", b"s" * 16, b"o" * 16
SOUND = {
    HOLDER: (HOLDER_KEY, b"who"),
    STREAM: (STREAM_KEY, HOLDER_KEY + b"more"),
    SLOT: (STREAM_KEY + bytes(4), b"answer"),
    OWNER: (HOLDER_KEY + b"d" * 16, b""),
    OPEN: (OPEN_KEY, HOLDER_KEY + b"more"),
    RANGE: (OPEN_KEY + b"p" * 16, b"ranges"),
    INTENT: (b"anything", b""),
}


def state_with(directory: Path, kinds: set[int]) -> None:
    """Make a state with one sound record of each of the kinds."""
    store = LmdbStore.open(directory, level="process", on_failure=lambda error: None)
    changes = ChangeSet()
    for kind in kinds:
        changes.put(kind, *SOUND[kind])
    store.commit(changes)
    store.close()


def test_verify_sound(tmp_path: Path) -> None:
    """A sound state is counted by kind, the store's own two records too."""
    state_with(tmp_path, set(SOUND))
    report = verify(tmp_path)
    assert report.ok
    assert report.problems() == []
    assert report.epoch == 1
    assert report.file_size == (tmp_path / "data.mdb").stat().st_size
    assert report.counts == {
        "HOLDER": 1, "STREAM": 1, "SLOT": 1, "OWNER": 1, "OPEN": 1, "RANGE": 1, "INTENT": 1, "META": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("missing", "complaints"),
    [
        (HOLDER, {"STREAM", "OWNER", "OPEN"}),
        (STREAM, {"SLOT"}),
        (OPEN, {"RANGE"}),
        (RANGE, set()),
    ],
)
def test_verify_dangling(tmp_path: Path, missing: int, complaints: set[str]) -> None:
    """Each record that refers to one that is not there is named."""
    state_with(tmp_path, set(SOUND) - {missing})
    report = verify(tmp_path)
    assert report.ok == (not complaints)
    assert {problem.split()[0] for problem in report.problems()} == complaints
    assert all("which does not exist" in problem for problem in report.problems())


def test_verify_own_rules(tmp_path: Path) -> None:
    """The user can give other rules; a record without a reference is fine."""
    state_with(tmp_path, {INTENT, HOLDER})
    refers = Reference(INTENT, OPEN, lambda key, value: key)
    assert [link.target_key for link in verify(tmp_path, [refers]).dangling] == [b"anything"]
    assert verify(tmp_path, [Reference(INTENT, OPEN, lambda key, value: None)]).ok


def test_verify_damaged(tmp_path: Path, tamper_with: Callable[..., None]) -> None:
    """A damaged record is named, and so is what refers to it."""
    state_with(tmp_path, set(SOUND))
    stored_key = bytes((OPEN,)) + OPEN_KEY
    tamper_with(tmp_path, lambda records: records.update({stored_key: records[stored_key][:-1]}))
    report = verify(tmp_path)
    assert not report.ok
    assert [(damage.kind, damage.key) for damage in report.damaged] == [(OPEN, OPEN_KEY)]
    assert [link.kind for link in report.dangling] == [RANGE]


def test_verify_flipped_bit_in_the_file(tmp_path: Path) -> None:
    """A bit that flips on the disk, below the engine, is found in whatever record it lies."""
    state_with(tmp_path, set(SOUND))
    path = tmp_path / "data.mdb"
    sound = path.read_bytes()
    for kind, (key, value) in SOUND.items():
        if not value:
            continue
        position = sound.rindex(bytes((kind,)) + key) + 1 + len(key) + 10
        damaged = bytearray(sound)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert [damage.kind for damage in verify(tmp_path).damaged] == [kind]


def test_verify_nothing(tmp_path: Path) -> None:
    """There is nothing to verify where no state is."""
    with pytest.raises(StoreMissing):
        verify(tmp_path)


def test_dump_beside_a_running_server(tmp_path: Path, in_python: Callable[..., Any]) -> None:
    """Another process can list and verify while a store is open and goes on writing."""
    store = LmdbStore.open(tmp_path, level="process", on_failure=lambda error: None)
    changes = ChangeSet()
    changes.put(HOLDER, HOLDER_KEY, b"who")
    store.wait(store.commit(changes))
    code = textwrap.dedent("""
        import json, pathlib, sys
        from statestore import dump, verify
        assert verify(pathlib.Path(sys.argv[1])).ok
        for line in dump(pathlib.Path(sys.argv[1])):
            print(json.dumps(line))
    """)
    found = in_python(code, str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert [json.loads(line) for line in found.stdout.splitlines()] == [
        {"kind": "HOLDER", "key": HOLDER_KEY.hex(), "size": 3, "value": b"who".hex()},
        {"kind": "META", "key": b"store.epoch".hex(), "name": "store.epoch", "number": 1},
        {"kind": "META", "key": b"store.format".hex(), "name": "store.format", "number": 1},
    ]
    store.wait(store.commit(changes))
    store.close()


def test_dump_described_and_damaged(tmp_path: Path, tamper_with: Callable[..., None]) -> None:
    """The user's own description of a kind is shown; what it refuses, and what is damaged, is said."""
    state_with(tmp_path, {HOLDER, OPEN, INTENT})
    stored_key = bytes((INTENT,)) + b"anything"
    tamper_with(tmp_path, lambda records: records.update({stored_key: b"\x01\x00"}))

    def refuse(key: bytes, value: bytes) -> dict[str, Any]:
        raise ValueError("too short")

    lines = {
        line["kind"]: line
        for line in dump(tmp_path, {HOLDER: lambda key, value: {"who": value.decode()}, OPEN: refuse})
        if line["kind"] != "META"
    }
    assert lines["HOLDER"] == {"kind": "HOLDER", "key": HOLDER_KEY.hex(), "who": "who"}
    assert lines["OPEN"]["damaged"] == "the value cannot be read: too short"
    assert lines["INTENT"]["damaged"] == "truncated frame: 2 of 10 bytes"
    assert lines["INTENT"]["stored"] == "0100"


def test_dump_meta_of_the_user(tmp_path: Path) -> None:
    """Only the store's own META records are shown as numbers."""
    store = LmdbStore.open(tmp_path, level="process", on_failure=lambda error: None)
    changes = ChangeSet()
    changes.put(META, b"cluster", b"name")
    store.commit(changes)
    store.close()
    assert next(iter(dump(tmp_path))) == {
        "kind": "META", "key": b"cluster".hex(), "size": 4, "value": b"name".hex(),
    }  # fmt: skip


def test_verify_damaged_pages(tmp_path: Path) -> None:
    """Whatever a page's header says, the check ends with words: the process that asks for it never dies of it."""
    store = LmdbStore.open(tmp_path, level="process", on_failure=lambda error: None)
    changes = ChangeSet()
    for number in range(300):
        changes.put(HOLDER, number.to_bytes(8, "big"), b"x" * 200)
    store.wait(store.commit(changes))
    store.close()
    path = tmp_path / "data.mdb"
    sound = path.read_bytes()
    rng = random.Random(7)
    said: Counter[str] = Counter()
    for _ in range(60):
        damaged = bytearray(sound)
        page = rng.randrange(2, len(sound) // 4096) * 4096
        for position in rng.sample(range(64), 4):
            damaged[page + position] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            said["sound" if verify(tmp_path).ok else "records"] += 1
        except StoreDamaged as error:
            said["signal" if "ended in SIG" in str(error) else "words"] += 1
            assert "restore a backup" in str(error)
    assert said["signal"] and said["words"], said
    path.write_bytes(sound)
    assert verify(tmp_path).ok


def test_verify_tells_what_went_wrong(tmp_path: Path) -> None:
    """What is raised in the process of its own is raised here."""
    state_with(tmp_path, {HOLDER})

    def fail(key: bytes, value: bytes) -> bytes:
        raise RuntimeError("the rule is wrong")

    with pytest.raises(RuntimeError, match="the rule is wrong"):
        verify(tmp_path, [Reference(HOLDER, OPEN, fail)])
