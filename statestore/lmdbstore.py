"""The state store on LMDB: the only file of the room that imports the engine.

Owns the environment, its flags, the format version and the epoch. It must not know what records mean.

Level "process" leaves flushing to the kernel: what is committed survives the death of this process, not that
of the machine. Level "power" waits for the device at each commit. The map is never written through (writemap)
and the meta page is synced with its data: the faster settings can lose or damage what was committed.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import lmdb

from statestore.directory import (
    DATA_NAME,
    SECRET_NAME,
    check_lock,
    check_rights,
    fsync_directory,
    lock_directory,
    make_directory,
    make_secret,
    read_secret,
    take_lock,
    write_secret,
)
from statestore.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFenced,
    StoreLocked,
    StoreMissing,
    StoreNewer,
)
from statestore.kinds import META
from statestore.queueing import CommitQueue, Entries, InlineQueue, ThreadQueue
from statestore.records import Damage, decode_record, encode_record
from statestore.room import Room
from statestore.store import DurableHook, FailureHook, Level
from statestore.upgrades import Upgrades, load_record

FORMAT: Final = 1
# Address space, not disk: the file grows as it is written.
MAP_SIZE: Final = 64 << 30
RESERVE_SIZE: Final = 16 << 20
# A disk with less room than this cannot take a commit of many requests.
_FULL_SIZE: Final = 1 << 20
# The store's own records share the kind META; their keys begin with this.
OWN_PREFIX: Final = b"store."
_FORMAT_KEY: Final = b"store.format"
_EPOCH_KEY: Final = b"store.epoch"
_STORED_EPOCH_KEY: Final = bytes((META,)) + _EPOCH_KEY
_OWN_COUNT: Final = 2
_STORED_OWN_PREFIX: Final = bytes((META,)) + OWN_PREFIX
_DAMAGE_ERRORS: Final = (
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
)


class LmdbStore(CommitQueue):
    """A state directory opened for writing, by one process at a time. Made by `open`."""

    def __init__(self, on_durable: DurableHook | None, on_failure: FailureHook | None) -> None:
        super().__init__(on_durable, on_failure)
        self.damaged: list[Damage] = []
        self.epoch: int = 0
        self.secret: bytes = b""
        self.directory: Path = Path()
        self._epoch_record: bytes = b""
        self._guard: Callable[[], None] | None = None
        self._upgrades: Upgrades | None = None
        self._env: lmdb.Environment
        self._room: Room | None = None
        self._lock: int = -1

    @staticmethod
    def open(
        directory: Path,
        *,
        level: Level,
        map_size: int = MAP_SIZE,
        reserve_size: int = RESERVE_SIZE,
        on_durable: DurableHook | None = None,
        on_failure: FailureHook,
        random_bytes: Callable[[int], bytes] = os.urandom,
        lock: int = -1,
        resumed: bool = False,
        guard: Callable[[], None] | None = None,
        upgrades: Upgrades | None = None,
    ) -> "LmdbStore":
        """Open the state directory, creating it if need be; raise its epoch durably.

        The data file has at most `map_size` bytes, and `nearly_full` tells when less than `reserve_size` of them, or
        of the disk, is left. `lock` is a descriptor from `lock_directory`, which is taken over; without it the
        directory is locked here. `resumed` says that the lock has been held ever since the directory was opened
        last: what was written then is as safe as its level promises, and is not written out once more. `guard` is
        called before each transaction, in the thread that writes; if it raises, nothing is written and the store has
        failed.
        `upgrades` are the converters by which `load` brings older records to the newest version of their kind;
        without any `load` yields values as they are stored (statestore/upgrades.py).

        The directory MUST lie on a local file system. `on_durable` and `on_failure` are called in the thread
        that writes: at level "process" the one that calls `flush`, at "power" the writer thread.

        Raises StoreLocked, StoreNewer, StoreDamaged, StoreError.
        """
        store: LmdbStore
        if level == "process":
            store = InlineLmdbStore(on_durable, on_failure)
        elif level == "power":
            store = ThreadedLmdbStore(on_durable, on_failure)
        else:
            raise ValueError(f'durability level {level!r} is not known; use "process" or "power"')
        store._guard = guard
        store._upgrades = upgrades
        store._open(Path(directory), level == "power", map_size, random_bytes, lock, resumed)
        try:
            store._room = Room(store.directory / DATA_NAME, size=reserve_size, file_size_max=map_size)
            store.look_for_room()
        except (OSError, StoreFailed) as error:
            store.close()
            raise StoreError(f"cannot open the state in {directory}: {error}; see to the disk") from error
        return store

    def load(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (kind, key, value) of every sound record, ordered by kind and key.

        Raises StoreDamaged, StoreNewer; StoreError where the converter of an older record is missing.
        """
        self.damaged = []
        for stored_key, stored_value in _walk(self._env, self.directory):
            if stored_key.startswith(_STORED_OWN_PREFIX):
                continue
            value = load_record(stored_key, stored_value, self._upgrades, self.directory)
            if type(value) is bytes:
                yield stored_key[0], stored_key[1:], value
            elif isinstance(value, Damage):
                self.damaged.append(value)

    def look_for_room(self) -> None:
        """Bring `used` and `nearly_full` up to date, and set room aside for removals.

        Raises StoreFailed, and has called the failure hook, where the disk fails.
        """
        stat, last_page = self._env.stat(), self._env.info()["last_pgno"]
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        self.used = pages * stat["psize"]
        assert self._room is not None
        try:
            self.nearly_full = self._room.is_short(file_size=(last_page + 1) * stat["psize"], used=self.used)
        except OSError as error:
            failed = StoreFailed(f"no room could be set aside: {error}; repair the disk, start again")
            self._fail(failed)
            raise failed from error

    def copy(self, path: Path) -> None:
        """Back the last committed state up, with the secret, into a new or empty directory, durably."""
        _copy(self._env, self.directory, path)

    def close(self) -> None:
        """Make everything queued durable and release the directory. Raises StoreFailed."""
        if self._closed:
            return
        self._closed = True
        failed_before = self._failure is not None
        try:
            self._stop()
            if self._failure is None:
                self._env.sync(True)
        except lmdb.Error as error:
            self._failure = StoreFailed(
                f"the state in {self.directory} could not be brought to the disk: {error}; see to the disk, start again"
            )
            raise self._failure from error
        finally:
            self._env.close()
            if self._room is not None:
                self._room.close()
            os.close(self._lock)
        if self._failure is not None and not failed_before:
            raise self._refusal()

    def _write(self, entries: Entries) -> None:
        if self._guard is not None:
            self._guard()
        try:
            txn = self._env.begin(write=True)
            try:
                # On one host this fences: whoever opened after us has changed the record.
                if txn.get(_STORED_EPOCH_KEY) != self._epoch_record:
                    raise StoreFenced(
                        f"the epoch in {self.directory} is no longer {self.epoch}:"
                        " another process has taken over; this one must stop"
                    )
                put, delete = txn.put, txn.delete
                for stored_key, stored_value in entries.items():
                    if stored_value is None:
                        delete(stored_key)
                    else:
                        put(stored_key, stored_value)
            except BaseException:
                txn.abort()
                raise
            txn.commit()
        except lmdb.MapFullError as error:
            raise StoreFailed(
                f"commit to {self.directory} failed: the map of {self._env.info()['map_size']} bytes is full;"
                " start again with a larger map"
            ) from error
        except lmdb.Error as error:
            raise StoreFailed(
                f"commit to {self.directory} failed: {_cause(error, self.directory)};"
                " stop, make room or repair the disk, start again"
            ) from error

    def _open(
        self,
        directory: Path,
        sync: bool,
        map_size: int,
        random_bytes: Callable[[int], bytes],
        lock: int = -1,
        resumed: bool = False,
    ) -> None:
        self.directory = directory
        if lock < 0:
            lock = lock_directory(directory)
        self._lock = lock
        try:
            check_lock(directory, lock)
            check_rights(directory)
            _refuse_lost_file(directory)
            self._env = _open_environment(directory, map_size=map_size, sync=sync, readonly=False)
            try:
                (directory / DATA_NAME).chmod(0o600)
                _complete_file(self._env, directory)
                self._begin_epoch()
                if not resumed:
                    self._env.sync(True)
                    fsync_directory(directory)
                self.secret = make_secret(directory, random_bytes)
                self._env.reader_check()
            except BaseException:
                self._env.close()
                raise
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, _DAMAGE_ERRORS):
                raise StoreDamaged(f"the state in {directory} is damaged: {error}; restore a backup") from error
            if isinstance(error, OSError | lmdb.Error):
                cause = _cause(error, directory)
                raise StoreError(f"cannot open the state in {directory}: {cause}; see to the disk") from error
            raise

    def _begin_epoch(self) -> None:
        """Check the format, and raise the epoch in one transaction."""
        with self._env.begin(write=True) as txn:
            found = _read_own(txn, self.directory)
            if found is None:
                if txn.stat()["entries"]:
                    raise StoreDamaged(
                        f"the state in {self.directory} has records but no format version; restore a backup"
                    )
                txn.put(*encode_record(META, _FORMAT_KEY, FORMAT.to_bytes(4, "big")))
                found = 0
            elif txn.stat()["entries"] > _OWN_COUNT:
                _refuse_lost_secret(self.directory)
            self.epoch = found + 1
            _, self._epoch_record = encode_record(META, _EPOCH_KEY, self.epoch.to_bytes(8, "big"))
            txn.put(_STORED_EPOCH_KEY, self._epoch_record)


class InlineLmdbStore(InlineQueue, LmdbStore):
    """Commits in the caller's thread: with nothing to wait for, handing the interpreter over costs more."""


class ThreadedLmdbStore(ThreadQueue, LmdbStore):
    """Commits in a writer thread, so that nobody waits for the device but the answers that must."""

    def _open(
        self,
        directory: Path,
        sync: bool,
        map_size: int,
        random_bytes: Callable[[int], bytes],
        lock: int = -1,
        resumed: bool = False,
    ) -> None:
        super()._open(directory, sync, map_size, random_bytes, lock, resumed)
        self._thread.start()


class LmdbReader:
    """A state directory opened for reading, beside a running server or not. Made by `open_readonly`."""

    def __init__(self, directory: Path, env: lmdb.Environment) -> None:
        self.directory: Path = directory
        self._env = env
        with env.begin() as txn:
            self.epoch: int = _read_own(txn, directory) or 0

    def stored(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every stored key and value of one moment, unchecked, the store's own included.

        The file of a running server grows while this is not exhausted. Raises StoreDamaged.
        """
        return _walk(self._env, self.directory)

    def sound(self, kind: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of the sound records of a kind whose keys begin so, as stored. Raises StoreDamaged."""
        first = bytes((kind,)) + prefix
        try:
            with self._env.begin() as txn, txn.cursor() as cursor:
                for stored_key, stored_value in cursor if cursor.set_range(first) else ():
                    if not stored_key.startswith(first):
                        break
                    value = decode_record(stored_key, stored_value)
                    if type(value) is bytes:
                        yield stored_key[1:], value
        except lmdb.Error as error:
            raise StoreDamaged(f"{self.directory / DATA_NAME} is damaged: {error}; restore a backup") from error

    def file_size(self) -> int:
        """Return the bytes that the data file has on disk."""
        return (self.directory / DATA_NAME).stat().st_size

    def copy(self, path: Path) -> None:
        """Write a backup, as LmdbStore.copy does."""
        _copy(self._env, self.directory, path)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def __enter__(self) -> "LmdbReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_readonly(directory: Path) -> LmdbReader:
    """Open a state directory for reading; takes no lock that a server would want.

    MUST NOT be used in the process that has the store open. Raises StoreMissing, StoreNewer, StoreDamaged,
    StoreLocked when this process has it open.
    """
    directory = Path(directory)
    if not (directory / DATA_NAME).is_file():
        raise StoreMissing(f"there is no state in {directory}; name the directory given to the server")
    env = _open_environment(directory, map_size=MAP_SIZE, sync=True, readonly=True)
    try:
        _complete_unused_file(env, directory)
        return LmdbReader(directory, env)
    except BaseException as error:
        env.close()
        if isinstance(error, _DAMAGE_ERRORS):
            raise StoreDamaged(f"{directory / DATA_NAME} is damaged: {error}; restore a backup") from error
        raise


def rehearse() -> None:
    """Open a store of no use and close it: the first one that a process opens takes some milliseconds more.

    Raises StoreError, OSError.
    """

    def refuse(error: BaseException) -> None:
        raise error

    with tempfile.TemporaryDirectory() as name:
        store = LmdbStore.open(Path(name), level="process", on_failure=refuse)
        list(store.load())
        store.close()


def _read_own(txn: lmdb.Transaction, directory: Path) -> int | None:
    """Return the epoch, or None if the store has never been opened. Raises StoreNewer, StoreDamaged."""
    numbers: list[int] = []
    for key in (_FORMAT_KEY, _EPOCH_KEY):
        stored_key = bytes((META,)) + key
        stored_value = txn.get(stored_key)
        if stored_value is None:
            return None
        value = decode_record(stored_key, bytes(stored_value))
        if isinstance(value, Damage):
            raise StoreDamaged(f"the state in {directory} is damaged at {value}; restore a backup")
        numbers.append(int.from_bytes(value, "big"))
        if numbers[0] > FORMAT:
            raise StoreNewer(
                f"the state in {directory} has format {numbers[0]}, this release reads up to {FORMAT};"
                " start the newer release, or restore a backup made by this one"
            )
    return numbers[1]


def _open_environment(directory: Path, *, map_size: int, sync: bool, readonly: bool) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(directory),
            map_size=map_size,
            mode=0o600,
            sync=sync,
            metasync=True,
            writemap=False,
            readonly=readonly,
            create=not readonly,
            max_dbs=0,
        )
    except _DAMAGE_ERRORS as error:
        raise StoreDamaged(f"{directory / DATA_NAME} is damaged: {error}; restore a backup") from error
    except lmdb.Error as error:
        if "already open in this process" in str(error):
            raise StoreLocked(f"this process has {directory} open already; use that store") from error
        raise StoreError(f"cannot open the state in {directory}: {error}; see to its rights") from error


def _refuse_lost_file(directory: Path) -> None:
    """Tell a data file that is lost, or lost its bytes, from one that was never finished: the secret is made later.

    The engine takes both for a new file. The state would be gone without a word, and its numbers given out again.
    """
    data, secret = directory / DATA_NAME, directory / SECRET_NAME
    if not secret.exists() or (data.exists() and data.stat().st_size):
        return
    raise StoreDamaged(
        f"{data} is {'empty' if data.exists() else 'missing'}, though there has been state in {directory};"
        f" restore a backup, or remove {data} and {secret} to begin without any state: clients then mount again"
    )


def _refuse_lost_secret(directory: Path) -> None:
    """Refuse records whose secret is gone: under a new one all that clients have would name nothing."""
    secret = directory / SECRET_NAME
    if not secret.exists():
        raise StoreMissing(
            f"{secret} is missing, without which the state in {directory} is of no use;"
            f" copy it from the cluster's other node or a backup, or remove {directory / DATA_NAME} as well"
            " to begin without any state: clients then mount again"
        )


def _complete_file(env: lmdb.Environment, directory: Path) -> None:
    """Extend a data file that is too short: reading a page beyond its end is then an error, not a signal.

    A sound file can lack its last pages, if these are free. The caller holds the lock: nobody else writes.
    """
    wanted = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (directory / DATA_NAME).stat().st_size < wanted:
        os.truncate(directory / DATA_NAME, wanted)


def _complete_unused_file(env: lmdb.Environment, directory: Path) -> None:
    """Do the same before reading, unless a running server has done it."""
    wanted = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (directory / DATA_NAME).stat().st_size >= wanted:
        return
    try:
        lock = take_lock(directory)
    except StoreLocked:
        return
    try:
        _complete_file(env, directory)
    except OSError as error:
        raise StoreDamaged(
            f"{directory / DATA_NAME} is shorter than it says and cannot be extended: {error.strerror};"
            " restore a backup"
        ) from error
    finally:
        os.close(lock)


def _cause(error: Exception, directory: Path) -> str:
    """Return what the engine says, and whether the disk is full: it calls a write that came to a part an I/O error."""
    try:
        space = os.statvfs(directory)
    except OSError:
        return str(error)  # The disk is not there at all: what the engine says is all that is known.
    full = space.f_bavail * space.f_frsize < _FULL_SIZE
    return f"{error} (the disk is full)" if full else str(error)


def _walk(env: lmdb.Environment, directory: Path) -> Iterator[tuple[bytes, bytes]]:
    count = 0
    try:
        with env.begin() as txn:
            # A page whose header is damaged can hide records, which have no checksum then to tell of it, or lead
            # back to where the walk has been.
            expected = txn.stat()["entries"]
            for stored in txn.cursor():
                count += 1
                if count > expected:
                    break
                yield stored
    except lmdb.Error as error:
        raise StoreDamaged(f"{directory / DATA_NAME} cannot be walked to its end: {error}; restore a backup") from error
    if count != expected:
        raise StoreDamaged(
            f"{directory / DATA_NAME} has damaged pages: {count} of {expected} records found; restore a backup"
        )


def _copy(env: lmdb.Environment, directory: Path, path: Path) -> None:
    path = Path(path)
    make_directory(path)
    if any(path.iterdir()):
        raise StoreError(f"{path} is not empty; name a new directory for the backup")
    write_secret(path / SECRET_NAME, read_secret(directory))
    partial = path / (DATA_NAME + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        env.copyfd(descriptor, compact=True)
        os.fsync(descriptor)
    except (OSError, lmdb.Error) as error:
        raise StoreError(f"backup to {path} failed: {error}; remove it, make room, try again") from error
    finally:
        os.close(descriptor)
    os.replace(partial, path / DATA_NAME)
    fsync_directory(path)
