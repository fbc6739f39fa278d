"""The follower of the wire tests' servers: it follows, and a fold that is wrong is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Session, mount
from tests.wire import followed
from tests.wire.server import ServerProcess


def lived(directory: Path) -> ServerProcess:
    """A followed server that has served an open, an upgrade of it, and a lock, over a restart; it has ended."""
    server = ServerProcess(directory)
    server.program = followed.PROGRAM
    server.start()
    try:
        connection = Connection(server.port)
        session: Session = mount(connection)
        session.open(b"file", ops.READ, how=ops.unchecked())
        opened = session.open(b"file", ops.BOTH)
        session.lock(opened, 0, 10)
        connection.close()
        server.restart()
        session.connection = connection = Connection(server.port)
        session.lock(opened, 20, 10)
        connection.close()
    finally:
        server.stop()
    return server


def test_followed(tmp_path: Path) -> None:
    """Every request is compared, wholly because the state is small; nothing differs."""
    server = lived(tmp_path)
    [said] = server.events("fold.followed")
    assert said["requests"] == said["compared"] == said["whole"] > 0
    assert server.events("fold.differs") == []
    assert server.faults() == []


@pytest.mark.parametrize("field", ["access", "seqid"])
def test_wrong_fold_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """A fold that does not take over one field of an open is found, and the test of whoever serves fails."""
    monkeypatch.setenv("FOLD_FORGETS", field)
    server = lived(tmp_path)
    differences = server.events("fold.differs")
    assert differences and any(field in line for each in differences for line in each["what"])
    assert any(line["event"] == "fold.differs" for line in server.faults())
