"""The marks: each test has one, and the watch over unit tests bites."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.marks import (
    KERNEL,
    PROCESS,
    PROCESS_FILES,
    PROCESS_FOLDERS,
    PROCESS_TESTS,
    TESTS,
    UNIT,
    UNIT_FILES,
    kind_of,
)


@pytest.mark.parametrize(("name", "fixtures", "kind"), [
    ("state/test_records.py", (), UNIT), ("wire/test_open.py", (), PROCESS), ("kernel/test_lab.py", (), PROCESS),
    ("kernel/test_lab.py", ("machine",), KERNEL), ("failover/test_packets.py", (), UNIT),
    ("statestore/test_kill.py", (), PROCESS),
])  # fmt: skip
def test_kind_of(name: str, fixtures: tuple[str, ...], kind: str) -> None:
    """The folder says it, the file where it is named, and a guest above all."""
    assert kind_of(TESTS / name, "test_any", fixtures) == kind


def test_named_places_exist() -> None:
    """What is named is there, so that a file that moves does not change its marks unseen."""
    names: set[str] = {*PROCESS_FOLDERS, *PROCESS_FILES, *UNIT_FILES}
    assert not [name for name in names if not (TESTS / name).exists()]
    for each in PROCESS_TESTS:
        file, _, test = each.partition("::")
        assert f"def {test}(" in (TESTS / file).read_text(), each


def test_watch_process() -> None:
    """A unit test starts no process."""
    with pytest.raises(AssertionError, match="is a unit test, and does subprocess.Popen"):
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_watch_connection() -> None:
    """A unit test neither connects to anything nor lets anything connect to it."""
    with socket.socket() as unused, pytest.raises(AssertionError, match="socket.connect"):
        unused.connect(("127.0.0.1", 1))
    with socket.socket(socket.AF_UNIX) as unused, pytest.raises(AssertionError, match="socket.bind"):
        unused.bind(str(Path("/nowhere")))


def test_kind_of_one_test() -> None:
    """A single test that is not what its file is."""
    assert kind_of(TESTS / "vfs/test_table.py", "test_ordinary_user", ()) == PROCESS
    assert kind_of(TESTS / "vfs/test_table.py", "test_any", ()) == UNIT


def test_marks(request: pytest.FixtureRequest) -> None:
    """This test has the mark that its folder says."""
    assert request.node.get_closest_marker(UNIT) and not request.node.get_closest_marker(PROCESS)
