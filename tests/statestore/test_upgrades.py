"""Versions of records: what an older release wrote is read, brought to the newest version, or refused with words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb
import pytest

from statestore import (
    HOLDER,
    KIND_NAMES,
    NEWEST,
    OPEN,
    RANGE,
    ChangeSet,
    Damage,
    Holder,
    LmdbStore,
    MemoryStore,
    Open,
    StoreError,
    Upgrades,
    decode_open,
    dump,
    encode_open,
    put_open,
    useless,
    verify,
)
from statestore.records import decode_record, encode_record

FIXTURES = Path(__file__).parent / "fixtures"
NUMBERS = {name: kind for kind, name in KIND_NAMES.items()}
OPEN_KEY = b"k" * 16
Records = dict[bytes, bytes]


def fixture_records(part: str, file: str = "version-1.json") -> Records:
    """What an older release has left, by stored key."""
    records = json.loads((FIXTURES / file).read_text())[part]["records"]
    return {
        bytes((NUMBERS[each["kind"]],)) + bytes.fromhex(each["key"]): bytes.fromhex(each["stored"]) for each in records
    }


def fixture_directory(part: str, directory: Path, file: str = "version-1.json") -> Path:
    """A state directory as the older release left it."""
    directory.mkdir(mode=0o700)
    (directory / "secret").touch(mode=0o600)
    (directory / "secret").write_bytes(bytes.fromhex(json.loads((FIXTURES / file).read_text())[part]["secret"]))
    with lmdb.open(str(directory), map_size=1 << 30) as env, env.begin(write=True) as txn:
        for stored_key, stored_value in fixture_records(part, file).items():
            txn.put(stored_key, stored_value)
    return directory


def flipped(stored_value: bytes) -> bytes:
    """The last bit of a stored value is wrong."""
    return stored_value[:-1] + bytes((stored_value[-1] ^ 1,))


def refuse(key: bytes, value: bytes) -> bytes:
    """A converter that can make nothing of a value."""
    raise ValueError("no sense in it")


def doubled(key: bytes, value: bytes) -> bytes:
    """A converter whose work can be seen."""
    return key[:1] + value + value


def kept(key: bytes, value: bytes) -> bytes:
    """A converter that has nothing to do."""
    return value


def old_records() -> Records:
    """One OPEN of version 1, one of the newest, one HOLDER."""
    return dict(
        [
            encode_record(OPEN, b"old", b"value"),
            encode_record(OPEN, b"young", b"value", NEWEST[OPEN]),
            encode_record(HOLDER, b"h", b"who"),
        ]
    )


@pytest.fixture(params=["memory", "process", "power"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path, tamper_with: Callable[..., None]) -> Callable[..., Any]:
    """Loads a store of some stored records with some converters: (records, damage)."""

    def load(records: Records, upgrades: Upgrades | None) -> tuple[list[tuple[int, bytes, bytes]], list[Damage]]:
        store: MemoryStore | LmdbStore
        if request.param == "memory":
            store = MemoryStore(records=records, upgrades=upgrades).crash()
            return list(store.load()), store.damaged

        def open_store() -> LmdbStore:
            return LmdbStore.open(tmp_path, level=request.param, on_failure=lambda error: None, upgrades=upgrades)

        open_store().close()
        tamper_with(tmp_path, lambda found: found.update(records))
        store = open_store()
        try:
            return list(store.load()), store.damaged
        finally:
            store.close()

    return load


def test_put_versions() -> None:
    """Each version of a kind has its frame; a version that no release knows is the caller's error."""
    for kind in KIND_NAMES:
        for version in range(1, NEWEST[kind] + 1):
            stored_key, stored_value = encode_record(kind, b"key", b"value", version)
            assert stored_value[0] == version
            assert decode_record(stored_key, stored_value) == b"value"
            assert isinstance(decode_record(stored_key, flipped(stored_value)), Damage)
        for version in (0, -1, NEWEST[kind] + 1):
            with pytest.raises(ValueError, match="there are versions 1 to"):
                ChangeSet().put(kind, b"key", b"value", version)


def test_frame_of_version_2() -> None:
    """From version 2 on the checksum begins with version and flags, so that no other version can be read in."""
    stored_key, stored_value = encode_record(OPEN, b"key", b"value", 2)
    crc = crc32(b"\x02\x00" + stored_key + b"value")
    assert stored_value == b"\x02\x00" + (5).to_bytes(4, "big") + crc.to_bytes(4, "big") + b"value"
    for version in (0, 1, 3, 255):
        assert isinstance(decode_record(stored_key, bytes((version,)) + stored_value[1:]), Damage)
    old_key, old_value = encode_record(OPEN, b"key", b"value")
    assert isinstance(decode_record(old_key, b"\x02" + old_value[1:]), Damage)


@pytest.mark.parametrize("version", [1, 2])
def test_every_flipped_bit_is_found(version: int) -> None:
    """In the key and in the value of either version; under the right key where only one bit of the key is wrong."""
    stored_key, stored_value = encode_record(OPEN, OPEN_KEY, b"value", version)
    for bit in range(8 * len(stored_value)):
        harmed = bytearray(stored_value)
        harmed[bit // 8] ^= 1 << bit % 8
        found = decode_record(stored_key, bytes(harmed))
        assert isinstance(found, Damage) and not found.newer
    for bit in range(8 * len(stored_key)):
        key = bytearray(stored_key)
        key[bit // 8] ^= 1 << bit % 8
        found = decode_record(bytes(key), stored_value)
        assert isinstance(found, Damage) and not found.newer
        assert (found.kind, found.key) == (OPEN, OPEN_KEY)


def test_useless_version() -> None:
    """A record that is of no use is kept as it was found, of whatever version."""
    assert useless(OPEN, b"key", b"value", "why", 2).stored_value == encode_record(OPEN, b"key", b"value", 2)[1]
    assert useless(OPEN, b"key", b"value", "why").stored_value == encode_record(OPEN, b"key", b"value")[1]


def test_load_upgrades_older_records(loaded: Callable[..., Any]) -> None:
    """A converter is given what is older than the newest version, and nothing else."""
    records, damaged = loaded(old_records(), {(OPEN, 1): doubled, (OPEN, 2): kept})
    assert records == [(HOLDER, b"h", b"who"), (OPEN, b"old", b"ovaluevalue"), (OPEN, b"young", b"value")]
    assert damaged == []


def test_load_as_stored(loaded: Callable[..., Any]) -> None:
    """Without a mapping of converters every version is yielded as it is stored."""
    records, _damaged = loaded(old_records(), None)
    assert records == [(HOLDER, b"h", b"who"), (OPEN, b"old", b"value"), (OPEN, b"young", b"value")]


def test_load_missing_converter(loaded: Callable[..., Any]) -> None:
    """An older record that nothing converts stops the loading, with the name of what is missing."""
    with pytest.raises(StoreError, match=r"with a converter for \(OPEN, 1\)"):
        loaded(old_records(), {(RANGE, 1): doubled})


def test_load_refused_by_converter(loaded: Callable[..., Any]) -> None:
    """What a converter refuses is damage, as it was found; the others are loaded."""
    stored = old_records()
    records, damaged = loaded(stored, {(OPEN, 1): refuse, (OPEN, 2): kept})
    assert [key for _kind, key, _value in records] == [b"h", b"young"]
    assert damaged == [Damage(OPEN, b"old", "cannot be read: no sense in it")]
    assert damaged[0].stored_value == stored[damaged[0].stored_key]


@pytest.mark.parametrize("part", ["kernel", "table"])
def test_version_1_is_sound(part: str, tmp_path: Path) -> None:
    """What the releases before version 2 wrote is sound: each record, each reference."""
    records = fixture_records(part)
    assert {stored_value[0] for stored_value in records.values()} == {1}
    assert {NUMBERS[name] for name in KIND_NAMES.values()} >= {stored_key[0] for stored_key in records}
    for stored_key, stored_value in records.items():
        assert decode_record(stored_key, stored_value) == stored_value[10:]
    report = verify(fixture_directory(part, tmp_path / "state"))
    assert report.problems() == []
    assert report.counts["OPEN"] == 9 and report.counts["RANGE"] == 8 and report.counts["INTENT"] == 1


def test_version_2_is_sound(tmp_path: Path) -> None:
    """What the releases before version 3 of OPEN wrote is sound: each record, each reference."""
    versions = {(key[0], value[0]) for key, value in fixture_records("memory", "version-2.json").items()}
    assert {(OPEN, 2), (RANGE, 2)} <= versions
    report = verify(fixture_directory("memory", tmp_path / "state", "version-2.json"))
    assert report.problems() == []
    assert report.counts["OPEN"] == 4 and report.counts["RANGE"] == 1


def test_version_1_is_loaded_and_written_anew(tmp_path: Path) -> None:
    """An open of version 1 is converted at each start, until it is changed: then the newest version is on the disk."""
    directory = fixture_directory("kernel", tmp_path / "state")

    def upgrade(key: bytes, value: bytes) -> bytes:
        return encode_open(Open(key, Holder(value[:8], b"identity"), b"object", 1, 0), value)

    upgrades = {(OPEN, 1): upgrade, (OPEN, 2): kept, (RANGE, 1): doubled}

    def open_store() -> LmdbStore:
        return LmdbStore.open(directory, level="process", on_failure=lambda error: None, upgrades=upgrades)

    store = open_store()
    opens = {key: value for kind, key, value in store.load() if kind == OPEN}
    assert len(opens) == 9 and store.damaged == []
    key, value = min(opens.items())
    holder_key, access, deny, _object, private = decode_open(value)
    changes = ChangeSet()
    put_open(changes, Open(key, Holder(holder_key, b"identity"), b"changed", access, deny), private)
    store.wait(store.commit(changes))
    store.close()
    store = open_store()
    assert {key: value for kind, key, value in store.load() if kind == OPEN} == opens | {
        key: encode_open(Open(key, Holder(holder_key, b"identity"), b"changed", 1, 0), private)
    }
    store.close()
    assert verify(directory).ok
    versions = {line["key"]: line["version"] for line in dump(directory) if line["kind"] == "OPEN"}
    assert versions == {each.hex(): NEWEST[OPEN] if each == key else 1 for each in opens}


def test_dump_versions(tmp_path: Path, tamper_with: Callable[..., None]) -> None:
    """A listing shows the version where a kind has several, and what the converters make of an older one."""
    LmdbStore.open(tmp_path, level="process", on_failure=lambda error: None).close()
    tamper_with(tmp_path, lambda found: found.update(old_records()))
    old, young = b"old".hex(), b"young".hex()

    def lines(**given: Any) -> dict[str, dict[str, Any]]:
        return {line["key"]: line for line in dump(tmp_path, **given) if line["kind"] == "OPEN"}

    raw = lines()
    assert raw[old] == {"kind": "OPEN", "key": old, "version": 1, "size": 5, "value": b"value".hex()}
    assert raw[young]["version"] == NEWEST[OPEN]
    assert all("version" not in line for line in dump(tmp_path) if line["kind"] == "HOLDER")
    describe = {OPEN: lambda key, value: {"said": value.decode()}}
    shown = lines(describe=describe, upgrades={(OPEN, 1): doubled, (OPEN, 2): kept})
    assert [shown[old]["said"], shown[young]["said"]] == ["ovaluevalue", "value"]
    assert lines(describe=describe)[old]["said"] == "value"
    refused = lines(describe=describe, upgrades={(OPEN, 1): refuse, (OPEN, 2): kept})
    assert refused[old]["damaged"].endswith("no sense in it")
    with pytest.raises(StoreError, match=r"\(OPEN, 1\)"):
        lines(describe=describe, upgrades={})
