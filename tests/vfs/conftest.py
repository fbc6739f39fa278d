"""Fixtures of the file system tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nfsd.vfs import as_server, become
from nfsd.vfs.credentials import configure
from tests.vfs.world import ROOT, ApartWorld, DirectoryWorld, MemoryWorld, World

PLACES = {"disk": None, "shm": "/dev/shm"}


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """Give the process back as it was: its umask, and root as the thread's identity."""
    umask = os.umask(0)
    yield
    os.umask(umask)
    as_server()
    if configure():
        become(ROOT)


@contextmanager
def directory_at(place: str) -> Iterator[Path]:
    """An empty directory that everybody may write in, on disk or in the kernel's memory."""
    directory = Path(tempfile.mkdtemp(prefix="understudy-vfs-", dir=PLACES[place]))
    directory.chmod(0o777)
    yield directory
    as_server()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory of this machine, for what is about the kernel alone."""
    with directory_at(request.param) as directory:
        yield directory


@pytest.fixture(params=["kernel", "table"])
def handles(request: pytest.FixtureRequest) -> str:
    """How objects of this machine are found again."""
    return _usable(request.param)


def _usable(handles: str) -> str:
    if handles == "kernel" and os.geteuid() != 0:
        pytest.skip("kernel handles need root")
    return handles


@pytest.fixture
def real(place: Path, handles: str) -> Iterator[DirectoryWorld]:
    """An export of this machine in each place, by each kind of handle."""
    made = DirectoryWorld(place, handles)
    yield made
    made.close()


@pytest.fixture(
    params=["disk-kernel", "disk-table", "shm-kernel", "shm-table", "apart-kernel", "apart-table", "memory"]
)
def make_world(request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """Makes an export of each kind that there is, with options and limits: what all of them must do alike."""
    made: list[World] = []
    with ExitStack() as places:

        def make(options: str = "no_root_squash", **limits: Any) -> World:
            if request.param == "memory":
                made.append(MemoryWorld(options, **limits))
            else:
                where, handles = request.param.split("-")
                apart = where == "apart"
                directory = places.enter_context(directory_at("disk" if apart else where))
                kind = ApartWorld if apart else DirectoryWorld
                made.append(kind(directory, _usable(handles), options, **limits))
            return made[-1]

        yield make
        for world in made:
            world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """An export of each kind."""
    return make_world()


@pytest.fixture
def as_root(request: pytest.FixtureRequest) -> None:
    """Skip where the server cannot act as its callers; in memory it always can."""
    if os.geteuid() != 0 and not request.node.name.endswith("[memory]"):
        pytest.skip("acting as other users needs root")
