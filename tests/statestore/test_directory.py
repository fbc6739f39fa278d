"""The state directory: lock, secret, modes, format, fence, backup."""

import os
import stat
import struct
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from statestore import (
    HOLDER,
    META,
    NAME,
    OPEN,
    ChangeSet,
    LmdbStore,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFenced,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    lock_directory,
    open_readonly,
    rehearse,
    touch,
    verify,
)
from statestore.records import encode_record

LEVELS: Any = ["process", "power"]


def opened(directory: Path, **options: Any) -> LmdbStore:
    settings: dict[str, Any] = {"level": "process", "on_failure": lambda error: None}
    return LmdbStore.open(directory, **(settings | options))


def fill(store: LmdbStore, count: int = 10) -> None:
    for number in range(count):
        changes = ChangeSet()
        changes.put(HOLDER, number.to_bytes(8, "big"), b"x" * 100)
        store.wait(store.commit(changes))


def test_open_level_unknown(tmp_path: Path) -> None:
    """Only the two levels exist."""
    with pytest.raises(ValueError, match='"process" or "power"'):
        opened(tmp_path, level="never")


def test_open_second_opener_is_refused(tmp_path: Path, in_python: Callable[..., Any]) -> None:
    """While a store is open nobody else gets in, of this process or another; the message names the holder."""
    store = opened(tmp_path)
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()};"):
        opened(tmp_path)
    other = in_python(
        "import sys, pathlib, statestore\n"
        "statestore.LmdbStore.open(pathlib.Path(sys.argv[1]), level='power', on_failure=print)",
        str(tmp_path),
    )
    assert other.returncode == 1
    assert f"StoreLocked: the state directory {tmp_path} is in use by process {os.getpid()};" in other.stderr
    store.close()
    opened(tmp_path).close()


def test_open_with_a_lock_that_is_held(tmp_path: Path) -> None:
    """A directory locked beforehand stays so between stores, as long as one descriptor of the lock is open."""
    lock = lock_directory(tmp_path)
    try:
        for epoch in (1, 2):
            store = opened(tmp_path, lock=os.dup(lock), resumed=epoch > 1)
            assert store.epoch == epoch
            fill(store)
            store.close()
            with pytest.raises(StoreLocked):
                opened(tmp_path)
    finally:
        os.close(lock)
    opened(tmp_path).close()


def test_open_with_another_lock(tmp_path: Path) -> None:
    """A lock that was replaced meanwhile, or is gone, guards nothing any more."""
    spoilers: tuple[Callable[[Path], object], ...] = (Path.unlink, lambda path: path.rename(path.with_name("aside")))
    for number, spoil in enumerate(spoilers):
        directory = tmp_path / str(number)
        lock = lock_directory(directory)
        spoil(directory / "lock")
        if number:
            (directory / "lock").touch()
        with pytest.raises(StoreError, match="stop every server"):
            opened(directory, lock=lock)
        with pytest.raises(OSError):
            os.fstat(lock)


def test_rehearse_and_touch(tmp_path: Path) -> None:
    """Preparing changes no state, and leaves the directory to others."""
    store = opened(tmp_path)
    fill(store)
    touch(tmp_path)
    rehearse()
    store.close()
    assert opened(tmp_path).epoch == 2
    with pytest.raises(StoreMissing):
        touch(tmp_path / "nothing")


def test_open_failed_opening_gives_the_lock_back(tmp_path: Path) -> None:
    """A directory that could not be opened is not in use."""
    (tmp_path / "data.mdb").write_bytes(b"no such thing" * 1000)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="restore a backup"):
            opened(tmp_path)


def test_open_modes(tmp_path: Path) -> None:
    """Nobody but the owner can read any of the files, whatever the umask is."""
    before = os.umask(0)
    try:
        store = opened(tmp_path / "a" / "state")
        store.copy(tmp_path / "copy")
        store.close()
    finally:
        os.umask(before)
    for directory in (tmp_path / "a" / "state", tmp_path / "copy"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for path in directory.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_open_tightens_the_data_files_mode(tmp_path: Path) -> None:
    """A state file restored with the wrong mode does not stay readable."""
    opened(tmp_path).close()
    (tmp_path / "data.mdb").chmod(0o644)
    opened(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "data.mdb").stat().st_mode) == 0o600


def test_open_where_a_file_is(tmp_path: Path) -> None:
    """A state path that is no directory is named."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="is no directory"):
        opened(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot create the state directory"):
        opened(tmp_path / "file" / "below")


def test_secret_made_once(tmp_path: Path) -> None:
    """The secret is made at the first start from the injected source, and stays."""
    store = opened(tmp_path, random_bytes=lambda size: b"s" * size)
    assert store.secret == b"s" * 32
    store.close()
    store = opened(tmp_path)
    assert store.secret == b"s" * 32
    store.close()


def test_secret_of_wrong_size(tmp_path: Path) -> None:
    """A cut secret would make every key differ: it stops the opening."""
    opened(tmp_path).close()
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(StoreDamaged, match="5 bytes, not 32"):
        opened(tmp_path)


def test_open_newer_format(tmp_path: Path, tamper_with: Callable[..., None]) -> None:
    """A state of a newer release is refused by writer and reader, with the way out."""
    opened(tmp_path).close()
    key, value = encode_record(META, b"store.format", (2).to_bytes(4, "big"))
    tamper_with(tmp_path, lambda records: records.update({key: value}))
    with pytest.raises(StoreNewer, match="has format 2, this release reads up to 1; start the newer release"):
        opened(tmp_path)
    with pytest.raises(StoreNewer, match="has format 2"):
        open_readonly(tmp_path)


def test_open_without_format(tmp_path: Path, tamper_with: Callable[..., None]) -> None:
    """Records without a format version are not ours to guess at."""
    store = opened(tmp_path)
    fill(store)
    store.close()
    tamper_with(tmp_path, lambda records: records.pop(encode_record(META, b"store.format", b"")[0]))
    with pytest.raises(StoreDamaged, match="no format version"):
        opened(tmp_path)


@pytest.mark.parametrize("key", [b"store.format", b"store.epoch"])
def test_open_own_record_damaged(tmp_path: Path, tamper_with: Callable[..., None], key: bytes) -> None:
    """Damage to the store's own records stops the opening and names the record."""
    opened(tmp_path).close()
    stored_key = bytes((META,)) + key
    tamper_with(tmp_path, lambda records: records.update({stored_key: records[stored_key][:-1] + b"\x7f"}))
    with pytest.raises(StoreDamaged, match=f"META {key.hex()}: checksum"):
        opened(tmp_path)


@pytest.mark.parametrize("level", LEVELS)
def test_commit_after_another_opener(tmp_path: Path, level: Any, in_python: Callable[..., Any]) -> None:
    """Whoever has been replaced finds the epoch changed in its next transaction, and writes nothing."""
    failures: list[BaseException] = []
    store = opened(tmp_path, level=level, on_failure=failures.append)
    fill(store)
    # The replacement passes the lock, as one whose lock file was removed would.
    (tmp_path / "lock").unlink()
    other = in_python(
        "import sys, pathlib, statestore\n"
        "store = statestore.LmdbStore.open(pathlib.Path(sys.argv[1]), level='process', on_failure=print)\n"
        "print(store.epoch)\n"
        "store.close()",
        str(tmp_path),
    )
    assert other.stdout == "2\n", other.stderr
    changes = ChangeSet()
    changes.put(OPEN, b"zombie", b"")
    ticket = store.commit(changes)
    with pytest.raises(StoreFailed):
        store.wait(ticket)
    assert [type(error) for error in failures] == [StoreFenced]
    assert "another process has taken over" in str(failures[0])
    assert [key for kind, key, _ in store.load() if kind == OPEN] == []
    store.close()


@pytest.mark.parametrize("how", ["verify", "load"])
@pytest.mark.parametrize("cut", [1, 5000, 8192, 12288, 0.25, 0.5, 0.75])
def test_open_truncated_file(tmp_path: Path, in_python: Callable[..., Any], cut: float, how: str) -> None:
    """A state file that lost its end is an error or a list of damaged records, never a signal or silence."""
    store = opened(tmp_path)
    changes = ChangeSet()
    for number in range(500):
        changes.put(HOLDER, number.to_bytes(8, "big"), b"x" * 200)
    store.wait(store.commit(changes))
    store.close()
    path = tmp_path / "data.mdb"
    os.truncate(path, int(cut * path.stat().st_size if cut < 1 else cut))
    code = textwrap.dedent("""
        import sys, pathlib, statestore
        directory = pathlib.Path(sys.argv[1])
        try:
            if sys.argv[2] == "verify":
                print(statestore.verify(directory))
            else:
                store = statestore.LmdbStore.open(directory, level="process", on_failure=print)
                print(len(list(store.load())), store.damaged)
        except statestore.StoreDamaged as error:
            print("damaged:", error)
    """)
    found = in_python(code, str(tmp_path), how)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("damaged: "), found.stdout


def test_load_page_that_hides_a_record(tmp_path: Path) -> None:
    """A damaged page header can hide whole records: their number tells."""
    store = opened(tmp_path)
    changes = ChangeSet()
    for number in range(12):
        changes.put(NAME, number.to_bytes(8, "big"), b"x")
    store.wait(store.commit(changes))
    store.close()
    # LMDB's page header: number u64, padding u16, flags u16 (2: leaf), end of the pointers u16.
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    for page in range(0, len(content), 4096):
        _, _, flags, pointers_end = struct.unpack_from("<QHHH", content, page)
        if flags == 2 and pointers_end == 16 + 2 * 14:
            struct.pack_into("<H", content, page + 12, pointers_end - 2)
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StoreDamaged, match="13 of 14 records found"):
        verify(tmp_path)
    store = opened(tmp_path)
    with pytest.raises(StoreDamaged, match="13 of 14 records found"):
        list(store.load())
    store.close()


def test_open_names_itself_in_the_lock(tmp_path: Path) -> None:
    """The lock file has this process's id and nothing of an earlier, longer one."""
    (tmp_path / "lock").write_text("123456789012\n")
    store = opened(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    store.close()


def test_open_emptied_file(tmp_path: Path) -> None:
    """A state file of no bytes is a loss, unless the first creation was cut short."""
    opened(tmp_path).close()
    os.truncate(tmp_path / "data.mdb", 0)
    for how in ("empty", "missing"):
        with pytest.raises(StoreDamaged, match=f"data.mdb is {how}, though .*; restore a backup"):
            opened(tmp_path)
        (tmp_path / "data.mdb").unlink(missing_ok=True)
    (tmp_path / "secret").unlink()
    opened(tmp_path).close()


def test_open_without_secret(tmp_path: Path) -> None:
    """Records without the secret are refused, and are there when it is; a first start that was cut short is not."""
    store = opened(tmp_path)
    (tmp_path / "secret").unlink()
    store.close()
    store = opened(tmp_path)
    fill(store)
    store.close()
    secret = (tmp_path / "secret").rename(tmp_path / "aside")
    with pytest.raises(StoreMissing, match="secret is missing, .*; copy it from the cluster's other node"):
        opened(tmp_path)
    assert not (tmp_path / "secret").exists()
    secret.rename(tmp_path / "secret")
    store = opened(tmp_path)
    assert list(store.load())
    store.close()


def test_commit_when_the_disk_refuses(tmp_path: Path, in_python: Callable[..., Any]) -> None:
    """A write that the kernel refuses is a failed commit, and what was acknowledged stays."""
    code = textwrap.dedent("""
        import pathlib, resource, signal, sys
        from statestore import OPEN, ChangeSet, LmdbStore, StoreFailed
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        directory, level = pathlib.Path(sys.argv[1]), sys.argv[2]
        store = LmdbStore.open(directory, level=level, on_failure=lambda error: print("hook", error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            for number in range(1000):
                changes = ChangeSet()
                changes.put(OPEN, number.to_bytes(8, "big"), bytes(9000))
                store.wait(store.commit(changes))
        except StoreFailed:
            print("stopped", store.durable)
    """)
    for level in LEVELS:
        directory = tmp_path / level
        found = in_python(code, str(directory), level)
        hook, stopped = found.stdout.splitlines()
        assert hook.startswith(f"hook commit to {directory} failed: "), found.stderr
        acknowledged = int(stopped.split()[1])
        assert 50 < acknowledged < 150
        report = verify(directory)
        assert report.counts["OPEN"] == acknowledged
        assert not report.damaged


def test_commit_map_full(tmp_path: Path) -> None:
    """A full map is named, with the remedy; a larger map opens the state again."""
    failures: list[BaseException] = []
    store = opened(tmp_path, map_size=1 << 18, on_failure=failures.append)
    with pytest.raises(StoreFailed, match=r"the map of 262144 bytes is full; .* larger map"):
        fill(store, 5000)
    acknowledged = store.durable
    store.close()
    store = opened(tmp_path)
    assert len(list(store.load())) == acknowledged
    fill(store)
    store.close()


def test_copy_of_a_running_store(tmp_path: Path) -> None:
    """A backup is a whole state directory: it verifies, has the secret, and opens."""
    store = opened(tmp_path / "state")
    fill(store)
    store.copy(tmp_path / "copy")
    expected, secret = list(store.load()), store.secret
    with pytest.raises(StoreError, match="is not empty"):
        store.copy(tmp_path / "copy")
    fill(store)
    store.close()
    assert verify(tmp_path / "copy").ok
    store = opened(tmp_path / "copy")
    assert list(store.load()) == expected
    assert store.secret == secret
    assert store.epoch == 2
    store.close()


def test_copy_by_a_reader(tmp_path: Path) -> None:
    """The backup of a stopped server's state needs no opening for writing."""
    store = opened(tmp_path / "state")
    fill(store)
    store.close()
    with open_readonly(tmp_path / "state") as reader:
        reader.copy(tmp_path / "copy")
    assert verify(tmp_path / "copy").counts == verify(tmp_path / "state").counts


def test_copy_without_secret(tmp_path: Path) -> None:
    """A backup without the secret would be worthless, so that there is none."""
    store = opened(tmp_path / "state")
    (tmp_path / "state" / "secret").unlink()
    with pytest.raises(StoreMissing, match="secret is missing"):
        store.copy(tmp_path / "copy")
    store.close()


def test_reader_sound(tmp_path: Path) -> None:
    """Records of a kind whose keys begin so are found without a walk over the others; damaged ones are left out."""
    store = opened(tmp_path)
    changes = ChangeSet()
    for key in (b"a.1", b"b.1", b"b.2", b"b.3", b"c.1"):
        changes.put(META, key, b"value of " + key)
        changes.put(HOLDER, key, b"another kind")
    store.wait(store.commit(changes))
    store.close()
    with lmdb.open(str(tmp_path), map_size=1 << 30) as env, env.begin(write=True) as txn:
        stored_key = bytes((META,)) + b"b.2"
        value = txn.get(stored_key)
        assert value is not None
        txn.put(stored_key, bytes(value)[:-1] + b"?")
    with open_readonly(tmp_path) as reader:
        assert list(reader.sound(META, b"b.")) == [(b"b.1", b"value of b.1"), (b"b.3", b"value of b.3")]
        assert list(reader.sound(META, b"z")) == []


def test_open_readonly_nothing(tmp_path: Path) -> None:
    """A directory without state is said to be one, and nothing is made in it."""
    with pytest.raises(StoreMissing, match="no state"):
        open_readonly(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_open_readonly_in_the_stores_process(tmp_path: Path) -> None:
    """The engine cannot open a file twice in a process; that is said, not crashed on."""
    store = opened(tmp_path)
    with pytest.raises(StoreLocked, match="this process"):
        open_readonly(tmp_path)
    store.close()


def test_import_of_the_engine_only() -> None:
    """The tests run the installed engine of the version that the store was measured with, or later."""
    assert "lmdb" in sys.modules
    assert sys.modules["lmdb"].__version__ >= "3.0"
