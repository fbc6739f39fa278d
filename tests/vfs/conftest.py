"""Fixtures of the file system tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.vfs import as_server, become
from nfsd.vfs.credentials import configure
from tests.vfs.world import ROOT, World

PLACES = {"disk": None, "memory": "/dev/shm"}


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """Give the process back as it was: its umask, and root as the thread's identity."""
    umask = os.umask(0)
    yield
    os.umask(umask)
    as_server()
    if configure():
        become(ROOT)


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory that everybody may write in, on disk or in memory."""
    directory = Path(tempfile.mkdtemp(prefix="understudy-vfs-", dir=PLACES[request.param]))
    directory.chmod(0o777)
    yield directory
    as_server()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["kernel", "table"])
def handles(request: pytest.FixtureRequest) -> str:
    """How objects are found again."""
    if request.param == "kernel" and os.geteuid() != 0:
        pytest.skip("kernel handles need root")
    return str(request.param)


@pytest.fixture
def world(place: Path, handles: str) -> Iterator[World]:
    """An export in each place, by each kind of handle."""
    made = World(place, handles)
    yield made
    made.close()


@pytest.fixture
def as_root() -> None:
    """Skip where the server cannot act as its callers."""
    if os.geteuid() != 0:
        pytest.skip("acting as other users needs root")
