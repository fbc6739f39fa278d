"""The control socket: who may use it, what it answers, and what happens to bad requests and stale files."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfsd.admin import control
from nfsd.admin.control import ControlError, ControlServer, NoServer, ask
from tests.cli.fake import FakeServer


def serve(path: Path, work: Callable[[], Any], target: FakeServer | None = None) -> Any:
    """The value of `work`, done in a thread while a control server runs on `path`."""

    async def main() -> Any:
        server = ControlServer(path, target or FakeServer())
        await server.start()
        try:
            return await asyncio.to_thread(work)
        finally:
            await server.stop()

    return asyncio.run(main())


def exchange(path: Path, data: bytes) -> bytes:
    """Everything the server says to `data`, until it closes or a line is complete."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        with connection.makefile("rb") as stream:
            return stream.readline()


def test_control_status(tmp_path: Path) -> None:
    """The target's answer arrives as it is."""
    path = tmp_path / "control"
    assert serve(path, lambda: ask(path, "status"))["recovery"] == {"load": 0.25}


def test_control_long_listing(tmp_path: Path) -> None:
    """A listing of several pieces arrives whole; an empty one is empty."""
    path = tmp_path / "control"
    assert serve(path, lambda: ask(path, "opens")) == list(FakeServer().opens())
    assert serve(path, lambda: ask(path, "locks")) == []


def test_control_expire(tmp_path: Path) -> None:
    """The clientid reaches the server, and its word comes back."""
    path, target = tmp_path / "control", FakeServer()
    assert serve(path, lambda: ask(path, "expire", clientid=2), target) is True
    assert serve(path, lambda: ask(path, "expire", clientid=1 << 63), target) is False
    assert target.expired == [2, 1 << 63]


def test_control_mode(tmp_path: Path) -> None:
    """Only the owner may connect; the file goes when the server stops."""
    path = tmp_path / "control"
    mode = serve(path, lambda: os.lstat(path).st_mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not path.exists()


def test_control_long_path(tmp_path: Path) -> None:
    """A path longer than a socket's name may be works."""
    path = tmp_path / ("d" * 120) / "control"
    path.parent.mkdir()
    assert serve(path, lambda: ask(path, "status"))["role"] == "active"
    assert not path.exists()


def test_control_several_requests(tmp_path: Path) -> None:
    """One connection carries one request after the other."""
    path = tmp_path / "control"

    def work() -> list[bytes]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            stream = connection.makefile("rwb")
            answers = []
            for _ in range(3):
                stream.write(b'{"command": "locks"}\n')
                stream.flush()
                answers.append(stream.readline())
            return answers

    assert serve(path, work) == [b'{"ok": true, "result": []}\n'] * 3


@pytest.mark.parametrize(
    ("request_line", "error"),
    [
        (b"nonsense\n", b"no JSON"),
        (b"[1]\n", b"no JSON object"),
        (b'{"command": "__init__"}\n', b"unknown command"),
        (b'{"command": "stop"}\n', b"unknown command"),
        (b'{"command": ["status"]}\n', b"unknown command"),
        (b'{"command": "expire"}\n', b"needs the argument clientid"),
        (b'{"command": "expire", "arguments": {"clientid": true}}\n', b"needs the argument clientid"),
        (b'{"command": "expire", "arguments": []}\n', b"needs the argument clientid"),
        (b'{"command": "blackout"}\n', b"needs the argument action"),
        (b'{"command": "blackout", "arguments": {"action": 1}}\n', b"needs the argument action"),
        (b'{"command": "blackout", "arguments": []}\n', b"needs the argument action"),
    ],
)
def test_control_bad_request(tmp_path: Path, request_line: bytes, error: bytes) -> None:
    """A bad request is answered with what is wrong, and only the listed commands can be reached."""
    path = tmp_path / "control"
    answer = serve(path, lambda: exchange(path, request_line))
    assert b'"ok": false' in answer
    assert error in answer


def test_control_request_too_long(tmp_path: Path) -> None:
    """A line beyond the limit ends that connection only."""
    path = tmp_path / "control"

    def work() -> dict[str, Any]:
        with pytest.raises((ConnectionError, AssertionError)):
            assert exchange(path, b"x" * (control.REQUEST_SIZE_MAX * 4))
        return dict(ask(path, "status"))

    assert serve(path, work)["role"] == "active"


def test_control_stale_socket_replaced(tmp_path: Path) -> None:
    """A socket file that a killed server left is replaced."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert serve(path, lambda: ask(path, "status"))["role"] == "active"


def test_control_second_server_refused(tmp_path: Path) -> None:
    """A second server does not take the socket from a living one."""
    path = tmp_path / "control"

    def second() -> dict[str, Any]:
        with pytest.raises(ControlError, match="another server answers"):
            serve(path, lambda: None)
        return dict(ask(path, "status"))

    assert serve(path, second)["role"] == "active"


def test_control_no_socket_file_kept(tmp_path: Path) -> None:
    """A file that is no socket is not removed."""
    path = tmp_path / "control"
    path.write_text("precious")
    with pytest.raises(ControlError, match="is no socket"):
        serve(path, lambda: None)
    assert path.read_text() == "precious"


def test_control_directory_missing(tmp_path: Path) -> None:
    """A directory that is not there is an error that names the path."""
    with pytest.raises(ControlError, match="cannot make the control socket"):
        serve(tmp_path / "none" / "control", lambda: None)


def test_ask_no_server(tmp_path: Path) -> None:
    """Nobody there: the message says so and what to do."""
    with pytest.raises(NoServer, match="no server runs on this state directory"):
        ask(tmp_path / "control", "status")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "in the middle"),
        (b'{"ok": true', "in the middle"),
        (b"hello\n", "no JSON"),
        (b"[]\n", "not understood"),
        (b'{"ok": false, "error": "because"}\n', "because"),
    ],
)
def test_ask_broken_answer(tmp_path: Path, answer: bytes, error: str) -> None:
    """Whatever comes back, the client says what was wrong with it."""
    path = tmp_path / "control"

    async def main() -> None:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(reply, path):
            with pytest.raises(ControlError, match=error):
                await asyncio.to_thread(ask, path, "status")

    asyncio.run(main())


def test_ask_no_answer_in_time(tmp_path: Path) -> None:
    """A server that hangs is told from one that is not there."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ControlError, match=r"no answer on .* within 0.1 s"):
            ask(path, "status", timeout_s=0.1)
