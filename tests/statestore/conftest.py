"""The stores that the contract suite runs over, and what the tests of this room share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import lmdb
import pytest

from statestore import LmdbStore, MemoryStore, Store
from statestore.store import DurableHook, FailureHook, Level

REPOSITORY = Path(__file__).resolve().parents[2]
Tamper = Callable[[dict[bytes, bytes]], None]


class Backend(Protocol):
    """One kind of store: opens it again and again on the same state."""

    def open(self, *, on_durable: DurableHook | None = None, on_failure: FailureHook | None = None) -> Store:
        """Open the state for writing."""
        ...

    def tamper(self, change: Tamper) -> None:
        """Change the stored bytes of a closed store, as a broken disk would."""
        ...

    def break_disk(self, store: Store) -> None:
        """Make the next commit of an open store fail, if it is larger than 1 MiB."""
        ...


class MemoryBackend:
    """The memory store; what is durable is kept here between openings."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.epoch = 0

    def open(self, *, on_durable: DurableHook | None = None, on_failure: FailureHook | None = None) -> Store:
        self.epoch += 1
        store = MemoryStore(on_durable=on_durable, on_failure=on_failure, records=self.records, epoch=self.epoch)
        self.records = store.records
        return store

    def tamper(self, change: Tamper) -> None:
        change(self.records)

    def break_disk(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.fail_next(OSError(28, "No space left on device"))


class LmdbBackend:
    """The LMDB store at one level, with a map small enough to fill."""

    def __init__(self, directory: Path, level: Level) -> None:
        self.directory = directory
        self.level: Level = level
        self.opened: list[LmdbStore] = []

    def open(self, *, on_durable: DurableHook | None = None, on_failure: FailureHook | None = None) -> Store:
        store = LmdbStore.open(
            self.directory,
            level=self.level,
            map_size=1 << 20,
            on_durable=on_durable,
            on_failure=on_failure or (lambda error: None),
        )
        self.opened.append(store)
        return store

    def tamper(self, change: Tamper) -> None:
        rewrite(self.directory, change)

    def break_disk(self, store: Store) -> None:
        """The map of 1 MiB is already too small."""


def rewrite(directory: Path, change: Tamper) -> None:
    """Change the stored records of a closed state directory behind the store's back."""
    with lmdb.open(str(directory), map_size=1 << 30) as env:
        with env.begin(write=True) as txn:
            before = {bytes(key): bytes(value) for key, value in txn.cursor()}
            after = dict(before)
            change(after)
            for key in before.keys() - after.keys():
                txn.delete(key)
            for key, value in after.items():
                txn.put(key, value)


def run_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a few lines in a new interpreter that can import the rooms; its output is returned."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


@pytest.fixture(params=["memory", "process", "power"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "memory":
        yield MemoryBackend()
        return
    disk = LmdbBackend(tmp_path / "state", request.param)
    yield disk
    for store in disk.opened:
        store.close()


@pytest.fixture
def in_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    return run_python


@pytest.fixture
def tamper_with() -> Callable[[Path, Tamper], None]:
    return rewrite
