"""The server that most tests of the wire share, and connections to it that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client40, Connection, Session, mount, unique
from tests.wire import followed
from tests.wire.server import ServerProcess

needs_root = pytest.mark.root

Connect = Callable[..., Connection]
MakeServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeServer]:
    """Starts servers with the settings of one's choice, each with a follower; they end with the session of tests."""
    servers: list[ServerProcess] = []

    def make(**settings: object) -> ServerProcess:
        directory: Path = tmp_path_factory.mktemp("server")
        server = ServerProcess(directory, **settings)  # type: ignore[arg-type]
        server.program = followed.PROGRAM
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()
    assert not [difference for server in servers for difference in server.events("fold.differs")]


@pytest.fixture(scope="session")
def shared_server(make_server: MakeServer) -> ServerProcess:
    """The server that all tests without special wishes use."""
    return make_server()


@pytest.fixture
def server(shared_server: ServerProcess) -> Iterator[ServerProcess]:
    """The shared server, which must be alive and have made no mistake when the test is over."""
    before = len(shared_server.faults())
    yield shared_server
    faults = shared_server.faults()[before:]
    if not shared_server.alive():
        shared_server.stop()
        shared_server.start()
        pytest.fail(f"the server died: {faults}")
    assert not faults


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections to a server and closes them after the test."""
    connections: list[Connection] = []

    def make(server: ServerProcess, **settings: object) -> Connection:
        connection = Connection(server.port, **settings)  # type: ignore[arg-type]
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def connection(server: ServerProcess, connect: Connect) -> Connection:
    """One connection as root."""
    return connect(server)


@pytest.fixture
def session(connection: Connection) -> Session:
    """A client of NFSv4.1 with a session."""
    return mount(connection)


@pytest.fixture
def other(server: ServerProcess, connect: Connect) -> Session:
    """Another client of NFSv4.1."""
    return mount(connect(server))


@pytest.fixture
def client40(connection: Connection) -> Client40:
    """A confirmed client of NFSv4.0."""
    return Client40(connection)


@pytest.fixture
def name() -> bytes:
    """The name of a file that no other test uses."""
    return unique(b"file")
