"""Outside of a request the server is itself: whatever its last caller was, it stops, rotates its log and answers.

Real processes, alone and as a pair, with requests of an ordinary user; every file of the server's own that is touched
is watched for who touches it.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Connection, Session, mount, unique
from tests.support.launcher import Launched
from tests.support.waiting import until
from tests.wire import watched
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

pytestmark = pytest.mark.root

UID, GID, GROUPS = 1000, 1001, (1002, 1003)


class Alone(ServerProcess):
    """One process, with a log of every request."""

    program = watched.PROGRAM

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, exports={"/export": "rw,insecure"}, settings={"log_level": "debug"})


class Pair(PairProcess):
    """A supervisor with two workers, with a log of every request."""

    program = watched.PROGRAM

    def words(self) -> list[str]:
        """As ever, and the log."""
        return [*super().words(), "--log-level", "debug"]


@pytest.fixture(params=[Alone, Pair])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launched]:
    """A server whose last caller was an ordinary user, as which its state and its log cannot be reached."""
    served: Launched = request.param(tmp_path)
    served.state.mkdir(mode=0o700, exist_ok=True)
    room = tmp_path / "log"
    room.mkdir(mode=0o700)
    served.log = room / "server.log"
    export = str(tmp_path / "export")
    served.start(environment={"WATCHED_FILE": str(tmp_path / "watched"), "WATCHED_EXPORT": export})
    if isinstance(served, PairProcess):
        served.settled()
    yield served
    served.close()


@pytest.fixture
def session(server: Launched) -> Iterator[Session]:
    """A session of the ordinary user, who has made a file."""
    connection = Connection(server.port, uid=UID, gid=GID, groups=GROUPS)
    session = mount(connection)
    session.create(unique(b"file"))
    yield session
    connection.close()


def ask_for_file(session: Session) -> None:
    """A request that the server evaluates as the user: it looks for a name."""
    reply = session.call(ops.putrootfh(), ops.lookup(b"export"), ops.lookup(b"nothing"))
    assert reply.status == nfs4.NFS4ERR_NOENT


def serving(server: Launched) -> int:
    """The id of the process that serves."""
    pid: int = server.status()["pid"]
    return pid


def ids_of(pid: int) -> tuple[set[str], set[str]]:
    """The file system users and groups of a process's threads, in digits."""
    users, groups = set(), set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        users.add(fields["Uid"].split()[3])
        groups.add(fields["Gid"].split()[3])
    return users, groups


def own_touches(server: Launched) -> list[watched.Touch]:
    """Every touch of a file of the server's own so far, none of them as somebody else."""
    found = watched.touches(server.directory / "watched")
    assert found
    strays = [touch for touch in found if touch.uid or (touch.makes and touch.gid)]
    assert not strays, strays
    return found


def test_itself_between_requests(server: Launched, session: Session) -> None:
    """Once an ordinary user's request is answered no thread is that user any more."""
    ask_for_file(session)
    status = Path(f"/proc/{serving(server)}/status").read_text()
    assert ids_of(serving(server))[0] == {"0"}, status


def test_stop(server: Launched, session: Session) -> None:
    """SIGTERM after an ordinary user's request stops in good order: exit code 0, no socket left."""
    ask_for_file(session)
    assert server.stop() == 0, server.report()
    assert [event["event"] for event in server.events("server.stopped", "server.failed")] == ["server.stopped"]
    assert not server.control.exists()
    assert any(touch.event == "os.remove" or touch.event == "open" for touch in own_touches(server))


def test_hangup(server: Launched, session: Session) -> None:
    """SIGHUP after an ordinary user's request opens the log again, which is the server's own."""
    ask_for_file(session)
    server.log.rename(server.log.with_name("old"))
    server.send_signal(signal.SIGHUP)
    until(server.log.exists, "the log is there again")
    ask_for_file(session)
    is_servers_own(server.log)
    until(lambda: list(server.events("request")), "requests are logged in the new file")
    assert any(touch.makes and touch.path == str(server.log) for touch in own_touches(server))


def test_rotation_in_a_request(server: Launched, session: Session) -> None:
    """A log that was renamed away is made anew by a line of an ordinary user's request, as the server's own."""
    server.log.rename(server.log.with_name("old"))

    def there() -> bool:
        ask_for_file(session)
        return server.log.exists()

    until(there, "the log is there again")
    is_servers_own(server.log)
    # After the line the request went on as its user: what it makes is the user's.
    name = unique(b"file")
    session.create(name)
    about = os.stat(server.directory / "export" / os.fsdecode(name))
    assert (about.st_uid, about.st_gid) == (UID, GID)
    own_touches(server)


def is_servers_own(file: Path) -> None:
    """The file belongs to root and its group, and is nobody else's to read."""
    about = file.stat()
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (0, 0, 0o640)


def test_commands_between_requests(server: Launched, session: Session) -> None:
    """Commands, rotations and requests of two users at once: nothing of the server's own is touched as one of them."""
    other_connection = Connection(server.port, uid=UID + 1, gid=GID + 1)
    other = mount(other_connection)
    ended = threading.Event()

    def keep_asking(which: Session) -> None:
        while not ended.is_set():
            ask_for_file(which)

    askers = [threading.Thread(target=keep_asking, args=(each,)) for each in (session, other)]
    for asker in askers:
        asker.start()
    try:
        for turn in range(3):
            server.log.rename(server.log.with_name(f"old{turn}"))
            until(server.log.exists, "the log is there again")
            server.send_signal(signal.SIGHUP)
            server.status()
    finally:
        ended.set()
        for asker in askers:
            asker.join()
        other_connection.close()
    assert server.stop() == 0, server.report()
    assert len([touch for touch in own_touches(server) if touch.path == str(server.log)]) > 3


def test_takeover_in_requests(server: Launched, session: Session) -> None:
    """A pair's next worker makes the control socket as the server's own, whoever asks meanwhile."""
    if not isinstance(server, PairProcess):
        pytest.skip("one process takes over from nobody")
    ask_for_file(session)
    before = server.kill_active()
    server.settled(after=before)
    about = server.control.stat()
    assert (about.st_uid, about.st_gid) == (0, 0)
    assert any(touch.event == "socket.bind" for touch in own_touches(server))
    assert server.stop() == 0, server.report()
