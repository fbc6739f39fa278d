"""The control socket: how the command line asks a running server.

Owns the socket file (mode 0600), one JSON line in and one JSON line out, and the client's side of both.
Must not know what the answers mean; it only carries what the target's functions return.

A request is `{"command": NAME, "arguments": {...}}`; a reply `{"ok": true, "result": ...}` or
`{"ok": false, "error": TEXT}`. A connection may carry several requests, one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nfsd.log import get_logger
from nfsd.vfs.credentials import as_itself

REQUEST_SIZE_MAX = 64 * 1024
"""No command needs more; a longer line ends the connection."""
REPLY_SIZE_MAX = 1024 * 1024 * 1024
"""A listing of some millions of opens; the client gives up beyond it."""
CONNECTIONS_MAX = 16
IDLE_TIME_S = 30.0
STOP_TIME_S = 1.0
"""How long stop waits for conversations to end."""
RETRY_TIME_S, RETRY_POLL_S = 1.0, 0.02
"""How long a command waits for a takeover."""
ROWS_AT_ONCE = 256
"""Rows made and encoded before the loop may serve somebody else again."""
SOCKET_PATH_SIZE_MAX = 107
"""sockaddr_un.sun_path has 108 bytes with its final NUL (unix(7))."""

LISTINGS = ("status", "clients", "opens", "locks", "delegations")
MOVES = ("promote", "demote", "handover")

log = get_logger()


class ControlError(Exception):
    """The command was not carried out; the text names the cause and the remedy."""


class NoServer(ControlError):
    """Nobody answers on the control socket."""


class NobodyAnswers(NoServer):
    """There is a socket, but its server has died."""


class Interrupted(ControlError):
    """The server ended the conversation: perhaps it has died."""


class Resuming(ControlError):
    """The server is taking over and cannot tell yet."""


@runtime_checkable
class Movable(Protocol):
    """What a target can do besides if its node is one of several. Every one raises ControlError."""

    async def promote(self, *, released: bool) -> None:
        """Serve; done when it does."""

    async def demote(self) -> None:
        """Serve no longer; done when everything is let go."""

    async def handover(self) -> None:
        """Serve no longer, and have the other node chosen; done when everything is let go."""


class ControlTarget(Protocol):
    """The server, as the control socket sees it. Every result MUST be JSON-able, and every row of one."""

    def status(self) -> dict[str, Any]:
        """The keys of `status -o json`."""

    def clients(self) -> Iterable[dict[str, Any]]:
        """One row a client."""

    def opens(self) -> Iterable[dict[str, Any]]:
        """One row an open."""

    def locks(self) -> Iterable[dict[str, Any]]:
        """One row a byte range."""

    def delegations(self) -> list[dict[str, Any]]:
        """One row a delegation."""

    def expire(self, clientid: int) -> bool:
        """Remove a client and all it holds; False if there is no such client."""

    def blackout(self, action: str, arguments: dict[str, Any]) -> Any:
        """`list`, `set` or `lift` of blackouts: rows, a row, or whether there was one.  Raises ControlError."""


@contextlib.contextmanager
def _socket_path(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a sockaddr_un, by way of its directory's descriptor if it must."""
    if len(os.fsencode(path)) <= SOCKET_PATH_SIZE_MAX:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Serves the control socket in the running event loop."""

    def __init__(self, path: Path, target: ControlTarget) -> None:
        self._path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._conversations: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen. A socket file that nobody answers on is replaced.

        Raises: ControlError if another server answers on it, or if the path is no socket.
        """
        listener = self._bind()
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_SIZE_MAX)

    def _bind(self) -> socket.socket:
        as_itself()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # It gets its name when it is complete and takes that over in one step: at a takeover there is never none.
        made = self._path.with_name(self._path.name + ".new")
        try:
            self._check_path()
            made.unlink(missing_ok=True)
            with _socket_path(made) as name:
                # The mode is set on the socket before it has a name, so no moment is open to others.
                os.fchmod(listener.fileno(), 0o600)
                listener.bind(name)
            listener.listen(CONNECTIONS_MAX)
            os.chmod(made, 0o600)
            os.rename(made, self._path)
            about = os.lstat(self._path)
        except OSError as error:
            listener.close()
            raise ControlError(f"cannot make the control socket {self._path}: {error.strerror}") from error
        except ControlError:
            listener.close()
            raise
        self._identity = (about.st_dev, about.st_ino)
        return listener

    def _check_path(self) -> None:
        """Make sure that nobody else's is replaced: a socket that a dead server left behind may be."""
        try:
            about = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(about.st_mode):
            raise ControlError(f"{self._path} is no socket: remove it, or choose another with --control")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _socket_path(self._path) as name:
            probe.settimeout(1.0)
            try:
                probe.connect(name)
            except ConnectionRefusedError:
                return
        raise ControlError(f"another server answers on {self._path}: stop it, or choose another --control")

    async def stop(self, *, leave: bool = False) -> None:
        """Stop listening, end the connections, and remove the socket file if it is still ours.

        It is left where another process is about to take its place: who asks meanwhile then tries again.
        """
        if self._server is not None:
            self._server.close()
            if self._answering:
                await asyncio.wait(self._answering, timeout=STOP_TIME_S)
            for writer in self._conversations.values():
                writer.close()
            conversations = [task for task in self._conversations if task is not None]
            if conversations:
                await asyncio.wait(conversations, timeout=STOP_TIME_S)
            self._server = None
        if leave:
            return
        with contextlib.suppress(FileNotFoundError):
            about = os.lstat(self._path)
            if (about.st_dev, about.st_ino) == self._identity:
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._conversations) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._conversations[asyncio.current_task()] = writer
        try:
            while line := await self._next_line(reader):
                answering = asyncio.create_task(self._answer(line, writer))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)
                await answering
        except (TimeoutError, ConnectionError, ValueError) as error:
            # ValueError is readline's word for a line beyond REQUEST_SIZE_MAX.
            log.debug("control.closed", reason=str(error) or type(error).__name__)
        finally:
            self._conversations.pop(asyncio.current_task(), None)
            writer.close()

    async def _next_line(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(IDLE_TIME_S):
            return await reader.readline()

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(IDLE_TIME_S):
            await writer.drain()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            result = self._carry_out(line)
            if inspect.isawaitable(result):
                result = await result
        except ControlError as error:
            refusal = {"ok": False, "error": str(error)} | ({"resuming": True} if isinstance(error, Resuming) else {})
            writer.write(json.dumps(refusal).encode() + b"\n")
        else:
            if isinstance(result, list | Iterator):
                await self._write_rows(result, writer)
            else:
                writer.write(json.dumps({"ok": True, "result": result}).encode() + b"\n")
        await self._drain(writer)

    async def _write_rows(self, rows: Iterable[Any], writer: asyncio.StreamWriter) -> None:
        """A long listing, made and written in pieces, so that clients of the server do not wait for it."""
        writer.write(b'{"ok": true, "result": [')
        rows = iter(rows)
        separator = b""
        while piece := list(islice(rows, ROWS_AT_ONCE)):
            writer.write(separator + json.dumps(piece)[1:-1].encode())
            separator = b", "
            await self._drain(writer)
            await asyncio.sleep(0)
        writer.write(b"]}\n")

    def _carry_out(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
        except ValueError as error:
            raise ControlError(f"the request is no JSON: {error}") from error
        if not isinstance(request, dict):
            raise ControlError("the request is no JSON object")
        command, arguments = request.get("command"), request.get("arguments", {})
        if command in LISTINGS:
            return getattr(self._target, command)()
        if command == "expire":
            clientid = arguments.get("clientid") if isinstance(arguments, dict) else None
            if not isinstance(clientid, int) or isinstance(clientid, bool):
                raise ControlError("expire needs the argument clientid, a whole number")
            log.info("control.expire", client=f"{clientid:#x}")
            return self._target.expire(clientid)
        if command == "blackout":
            action = arguments.get("action") if isinstance(arguments, dict) else None
            if not isinstance(action, str):
                raise ControlError("blackout needs the argument action: list, set or lift")
            if action != "list":
                log.info("control.blackout", **{key: str(value) for key, value in arguments.items()})
            return self._target.blackout(action, arguments)
        if command in MOVES:
            if not isinstance(self._target, Movable):
                raise ControlError(f"{command}: this server is the only node. 'understudy standby' runs one of several")
            released = isinstance(arguments, dict) and arguments.get("released") is True
            return self._target.promote(released=released) if command == "promote" else getattr(self._target, command)()
        known = f"{', '.join((*LISTINGS, *MOVES))}, expire, blackout"
        raise ControlError(f"unknown command {command!r}: this server knows {known}")


def ask(path: Path, command: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
    """The server's result for one command, over the control socket at `path`; blocks.

    A socket on which nobody answers may be that of a worker which has just died: for a short time it is tried
    again, and so is a server that is taking over.

    Raises: NoServer if nobody listens there; ControlError if the answer is late, broken or a refusal.
    """
    end_s = time.monotonic() + min(timeout_s, RETRY_TIME_S)
    while True:
        try:
            return _ask_once(path, command, timeout_s, arguments)
        except (NobodyAnswers, Resuming, Interrupted) as error:
            # What only asks may ask twice.
            again = command in LISTINGS or not isinstance(error, Interrupted)
            if not again or time.monotonic() >= end_s:
                raise
        time.sleep(RETRY_POLL_S)


def _ask_once(path: Path, command: str, timeout_s: float, arguments: dict[str, Any]) -> Any:
    request = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _socket_path(path) as name:
            connection.settimeout(timeout_s)
            connection.connect(name)
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                line = stream.readline(REPLY_SIZE_MAX)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        message = f"no server runs on this state directory: nobody answers on {path}"
        kind = NobodyAnswers if isinstance(error, ConnectionRefusedError) else NoServer
        raise kind(f"{message}. Start 'understudy serve', or give its --state or --control") from error
    except PermissionError as error:
        raise ControlError(f"{path} is not for this user: run as the server's user or as root") from error
    except TimeoutError as error:
        raise ControlError(f"no answer on {path} within {timeout_s:g} s: see the server's log") from error
    except OSError as error:
        raise Interrupted(f"the server on {path} ended the conversation: {error.strerror}") from error
    return _result(line, path)


def _result(line: bytes, path: Path) -> Any:
    if not line.endswith(b"\n"):
        raise Interrupted(f"the server on {path} stopped in the middle of its answer: see its log")
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise ControlError(f"the answer on {path} is no JSON: is it this program's socket?") from error
    if not isinstance(reply, dict) or not reply.get("ok"):
        error_text = reply.get("error") if isinstance(reply, dict) else None
        if isinstance(reply, dict) and reply.get("resuming"):
            raise Resuming(str(error_text))
        raise ControlError(str(error_text or f"the answer on {path} is not understood"))
    return reply.get("result")
