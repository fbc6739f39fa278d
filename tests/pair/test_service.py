"""Under a service manager: sockets that it passes, and what it is told."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from nfsd.failover.service import Notifier, passed_sockets, watchdog_s
from tests.pair.process import PairProcess
from tests.support.client import Connection
from tests.support.waiting import until


def test_socket_activation(stopped: PairProcess) -> None:
    """A passed socket is served on, connections that waited on it included; what does not listen is left alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as other:
        stopped.port = 1  # nobody may bind it as an ordinary user, and it must not be tried
        waiting_port = listener.getsockname()[1]
        waiting = Connection(waiting_port)
        stopped.start_with([listener, other])
    assert stopped.port == waiting_port
    waiting.null()
    waiting.close()
    stopped.settled()
    before = stopped.kill_active()
    connection = Connection(waiting_port)
    connection.null()
    connection.close()
    stopped.settled(after=before)
    assert [line["name"] for line in stopped.events("service.descriptor_ignored")] == ["other"]


def test_notifications(stopped: PairProcess, tmp_path: Path) -> None:
    """READY once it serves, a sign of life while the active worker's loop turns, STOPPING at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10.0)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        stopped.start(environment=environment)
        said = manager.recv(4096).decode()
        assert said.startswith("READY=1\nSTATUS=serving, process ")
        assert manager.recv(4096) == manager.recv(4096) == b"WATCHDOG=1"
        before = stopped.settled()["pid"]
        os.kill(before, signal.SIGKILL)
        stopped.settled(after=before)
        until(lambda: manager.recv(4096).endswith(b", 1 takeovers"), "the takeover is told")
        stopped.send_signal(signal.SIGTERM)
        until(lambda: manager.recv(4096).startswith(b"STOPPING=1"), "the end is told")
        assert stopped.end() == 0


@pytest.mark.parametrize("process", ["", "1"])
def test_passed_sockets_not_ours(process: str) -> None:
    """Variables for another process are not believed, and go no further."""
    environment = {"LISTEN_PID": process, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "nfs"}
    assert passed_sockets(environment) == [] and not environment


def test_passed_sockets_senseless() -> None:
    """A number that is none is an error, not a guess."""
    with pytest.raises(ValueError):
        passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


def test_watchdog_interval() -> None:
    """Seconds, if the variable is for this process."""
    assert watchdog_s({}) is None
    assert watchdog_s({"WATCHDOG_USEC": "2500000"}) == 2.5
    assert watchdog_s({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}) is None


def test_notifier_without_manager(tmp_path: Path) -> None:
    """Nobody to tell, or nobody who listens, is no error."""
    Notifier({}).tell("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell("READY=1")


def test_notifier_abstract_address() -> None:
    """A name that begins with @ lies in the abstract name space."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"understudy-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1", "STATUS=x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"
