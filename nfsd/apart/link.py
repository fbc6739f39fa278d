"""A server's end of the socket to a keeper: calls go out, answers come in, each to who waits for it.

Owns the keeper's process and the socket.  Must not know what is called.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from nfsd import log as logging_
from nfsd.apart.messages import RECEIVE_SIZE, Answer, Call, Stream, packed, raised, unpacked
from nfsd.apart.tasks import Task, step
from nfsd.log import get_logger
from nfsd.vfs.interface import Node
from statestore import ChangeSet

log = get_logger()

_BUFFER_SIZE = 4 << 20
_Received = Callable[[Answer], object]


class Link:
    """One keeper.  `node_of` gives the node of what stands for it in an answer; `gone` takes the handle of an object
    that is gone, `commit` new rows of the object table.

    `lost` is called when the keeper has ended, which it does not before the server: what it had been asked to do may
    have been done or not, so that `lost` MUST NOT return.
    """

    def __init__(
        self, node_of: Callable[[Any], Node], gone: Callable[[bytes], None], commit: Callable[[ChangeSet], None],
        lost: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Start the keeper.  Raises OSError."""
        self._node_of = node_of
        self._gone = gone
        self._commit = commit
        self._lost = lost
        self._stream = Stream()
        self._waiting: dict[int, _Received] = {}
        self._number = 0
        self._out: deque[memoryview] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sock, theirs = socket.socketpair()
        for sock in (self._sock, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_SIZE)
        settings = json.dumps(logging_.settings())
        command = [sys.executable, "-m", "nfsd.apart.keeper", str(theirs.fileno()), settings]
        with theirs:
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._sock.setblocking(False)

    # -- calls out ----------------------------------------------------------------------------------------

    def send(
        self, received: _Received, method: str, arguments: tuple[Any, ...], named: dict[str, Any],
        nodes: list[tuple[bytes, int, bool]],
    ) -> None:  # fmt: skip
        """Make a call; `received` is given the answer."""
        self._number += 1
        self._waiting[self._number] = received
        call = Call(self._number, method, arguments, named, nodes)
        self._out.append(memoryview(packed(call, _handle_of)))
        if len(self._out) == 1:
            self._write()

    def call(
        self, task: Task, method: str, arguments: tuple[Any, ...], named: dict[str, Any],
        nodes: list[tuple[bytes, int, bool]],
    ) -> Any:  # fmt: skip
        """Make a call, with the task put aside until the answer has come.  Raises OSError, and as the task does."""
        loop = self.attach()
        self.send(lambda answer: loop.call_soon(step, task, answer), method, arguments, named, nodes)
        answer = task.wait()
        task.go_on()
        return value_of(answer)

    def ask(
        self, method: str, arguments: tuple[Any, ...], named: dict[str, Any], nodes: list[tuple[bytes, int, bool]],
        limit_s: float,
    ) -> Any:  # fmt: skip
        """Make a call, and hold everything up until the answer has come.  Raises OSError, among them TimeoutError."""
        answers: list[Answer] = []
        self.send(answers.append, method, arguments, named, nodes)
        self.attend(lambda: bool(answers), limit_s)
        if not answers:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return value_of(answers[0])

    def attend(self, done: Callable[[], bool], limit_s: float) -> None:
        """Take answers until `done`, for `limit_s` at most, and hold everything else up."""
        end_s = time.monotonic() + limit_s
        while not done():
            left_s = end_s - time.monotonic()
            ready = select.select([self._sock], [self._sock] if self._out else [], [], max(left_s, 0))
            if ready[1]:
                self._write()
            if ready[0]:
                self._read()
            elif left_s <= 0:
                return

    def _write(self) -> None:
        out = self._out
        while out:
            try:
                sent = self._sock.send(out[0])
            except BlockingIOError:
                if self._loop is not None:
                    self._loop.add_writer(self._sock, self._write)
                return
            except OSError as error:
                self._ended(str(error))
                return
            if sent == len(out[0]):
                out.popleft()
            else:
                out[0] = out[0][sent:]
        if self._loop is not None:
            self._loop.remove_writer(self._sock)

    # -- answers in ---------------------------------------------------------------------------------------

    def attach(self) -> asyncio.AbstractEventLoop:
        """Have the event loop read answers from now on."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._sock, self._read)
            if self._out:
                self._loop.add_writer(self._sock, self._write)
        return self._loop

    def _read(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(str(error))
            return
        if not data:
            self._ended("the keeper has ended")
            return
        for message in self._stream.received(data):
            answer: Answer = unpacked(message, self._node_of)
            for changes in answer.rows:
                self._commit(changes)
            for handle in answer.gone:
                self._gone(handle)
            self._waiting.pop(answer.number)(answer)

    def _ended(self, reason: str) -> None:
        self.close()
        self._lost(reason)

    def close(self) -> None:
        """Let the keeper end, when what it does is done."""
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._loop = None
        self._sock.close()
        self.process.poll()
        self._out.clear()


def _handle_of(node: Node) -> bytes:
    return node.handle


def value_of(answer: Answer) -> Any:
    """What a call has returned.  Raises OSError."""
    if answer.error is not None:
        raise raised(*answer.error)
    return answer.value
