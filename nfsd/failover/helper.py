"""The helper: a process beside a node's worker, with the privileges that the worker has given up.

Owns that process and the calls to it: the administrator's commands, the end of a holder on this machine, and what is
told to the network. It is forked from its worker before the worker gives anything up, and asked by name only: which
commands and which address are meant it knows from the configuration of that moment. Must not know when anything is
done, nor why.

A call is one line of JSON, {"id": N, "call": NAME, "arguments": [...]}. It is answered by {"id": N, "result": ...} or
{"id": N, "error": [CLASS, TEXT, ERRNO]}, and before that by {"id": N, "group": PID} as soon as a command runs. When its
worker closes the connection, or dies, what runs is killed and the helper ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from nfsd import log as logging_
from nfsd.config import Config
from nfsd.config.model import FENCES
from nfsd.durable.faults import EXIT_FAULT
from nfsd.failover import announce
from nfsd.failover.holder import HolderLives, end_holder, read_holder
from nfsd.failover.hooks import HookFailed, run_hook
from nfsd.log import get_logger
from statestore import LOCK_NAME

HOOKS: Final = ("fence", "mount", "unmount", "address_up", "address_down", "handover")
CALLS: Final = ("hook", "end_holder", "announce", "tickle")
REASONS: Final = ("promote", "demote", "handover", "stop", "fenced")
LINE_SIZE_MAX: Final = 64 << 20
"""The addresses of 1,000,000 connections."""

_ERRORS: Final[dict[str, Callable[[str, int | None], Exception]]] = {
    "HookFailed": lambda text, _number: HookFailed(text),
    "HolderLives": lambda text, _number: HolderLives(text),
    "OSError": lambda text, number: OSError(number, text) if number else OSError(text),
    "ValueError": lambda text, _number: ValueError(text),
}

Peers = list[tuple[str, int]]

log = get_logger()


class Helper:
    """A worker's side. Where the helper has died each call raises OSError, `hook` HookFailed."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self.pid = pid
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[asyncio.Future[Any], Callable[[int], None]]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter

    @classmethod
    def start(cls, config: Config) -> Helper:
        """Fork the helper of this process, which MUST have no threads, and all its privileges yet.  Raises OSError."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _be_helper(config, theirs)
        theirs.close()
        return cls(ours, pid)

    async def hook(self, name: str, reason: str, runs: Callable[[int], None]) -> None:
        """Run one of the configuration's commands; see `run_hook`.  Raises HookFailed."""
        try:
            await self._call("hook", name, reason, runs=runs)
        except OSError as error:
            raise HookFailed(f"the {name} hook has no result: {error}") from error
        finally:
            runs(0)

    async def end_holder(self) -> None:
        """End the last holder of the state directory if it runs on this machine.  Raises HolderLives, OSError."""
        await self._call("end_holder")

    async def announce(self) -> str:
        """Tell the neighbours once that the service address is here; by which interface.  Raises OSError."""
        return str(await self._call("announce"))

    async def tickle(self, peers: Peers) -> int:
        """Wake old connections of the service address; how many were sent to.  Raises OSError."""
        return int(await self._call("tickle", peers))

    async def _call(self, call: str, *arguments: Any, runs: Callable[[int], None] = lambda _group: None) -> Any:
        if self._hearing is None:
            reader, self._writer = await asyncio.open_connection(sock=self._connection, limit=LINE_SIZE_MAX)
            self._hearing = asyncio.create_task(self._hear(reader))
        elif self._hearing.done():
            raise _gone()
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer, runs
        try:
            self._writer.write(json.dumps({"id": number, "call": call, "arguments": arguments}).encode() + b"\n")
            return await answer
        finally:
            del self._waiting[number]

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self._take(json.loads(line))
        for answer, _runs in self._waiting.values():
            if not answer.done():
                answer.set_exception(_gone())

    def _take(self, said: dict[str, Any]) -> None:
        # Who asked may have been cancelled meanwhile.
        answer, runs = self._waiting.get(said["id"], (None, None))
        if answer is None or runs is None or answer.done():
            return
        if "group" in said:
            runs(said["group"])
        elif "error" in said:
            kind, text, number = said["error"]
            answer.set_exception(_ERRORS[kind](text, number))
        else:
            answer.set_result(said["result"])


def _gone() -> OSError:
    return ConnectionError("the helper process has died; see its end in the log of the system")


# -- the helper's side ------------------------------------------------------------------------------------------


def _be_helper(config: Config, connection: socket.socket) -> None:
    """The rest of a helper's life; never returns."""
    try:
        # The lock, the listening sockets and the supervisor's channel end with their owners, not with this one.
        kept = {0, 1, 2, connection.fileno(), logging_.descriptor()}
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor not in kept:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Its worker decides what they mean, and runs commands because of them. Commands begin with the defaults.
            signal.signal(number, lambda *_: None)
        asyncio.run(_serve(Calls(config), connection))
    except BaseException:
        # Nothing above this frame belongs to a helper.
        traceback.print_exc()
        os._exit(EXIT_FAULT)
    finally:
        os._exit(0)


async def _serve(calls: Calls, connection: socket.socket) -> None:
    """Carry out what the worker asks for until it has gone."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_SIZE_MAX)
    running: set[asyncio.Task[None]] = set()
    with contextlib.suppress(OSError):
        while line := await reader.readline():
            task = asyncio.create_task(_answer(calls, json.loads(line), writer))
            running.add(task)
            task.add_done_callback(running.discard)
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    # A thread of a call may still wait for something: it ends with the process.
    os._exit(0)


async def _answer(calls: Calls, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    number, name = asked["id"], asked["call"]

    def say(**said: Any) -> None:
        writer.write(json.dumps({"id": number, **said}).encode() + b"\n")

    try:
        work = getattr(calls, name) if name in CALLS else _refuse(name)
        say(result=await work(*asked["arguments"], runs=lambda group: say(group=group)))
    except OSError as error:
        say(error=["OSError", error.strerror or str(error), error.errno])
    except (HookFailed, HolderLives, ValueError) as error:
        say(error=[type(error).__name__, str(error), None])
    except Exception as error:
        # A fault of ours: whoever asked hears that nobody is there any more.
        log.critical("server.fault", operation=f"helper {name}", reason=repr(error), exc_info=error)
        os._exit(EXIT_FAULT)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no call")


class Calls:
    """What a helper does, a function for each of CALLS; `runs` is told the process group of a command, then 0."""

    def __init__(self, config: Config) -> None:
        assert config.cluster is not None
        self._config = config
        self._cluster = config.cluster
        self._commands = {name: command for name in HOOKS if (command := getattr(self._cluster, name)) not in FENCES}

    def hook(self, name: str, reason: str, *, runs: Callable[[int], None]) -> Awaitable[None]:
        """Run a command of the configuration.  Raises ValueError for one that is not there, HookFailed."""
        command = self._commands.get(name)
        if command is None or reason not in REASONS:
            raise ValueError(f"no command for {name} because of {reason}")
        config, cluster = self._config, self._cluster
        environment = {
            "UNDERSTUDY_NODE": config.node,
            "UNDERSTUDY_GROUP": cluster.notify_name or config.node,
            "UNDERSTUDY_ADDRESS": config.listen.host,
            "UNDERSTUDY_STATE": str(config.state),
            "UNDERSTUDY_REASON": reason,
        }
        return run_hook(name, command, environment=environment, limit_s=cluster.hook_time_s, runs=runs)

    async def end_holder(self, *, runs: Callable[[int], None]) -> None:
        """End whoever the state directory's `holder` file names, if that is on this machine.  Raises HolderLives."""
        state, limit_s = self._config.state, float(self._cluster.hook_time_s)
        holder = read_holder(state)
        if holder is not None:
            await asyncio.to_thread(end_holder, holder, state / LOCK_NAME, limit_s)

    async def announce(self, *, runs: Callable[[int], None]) -> str:
        """Tell the neighbours where the service address is; the interface.  Raises OSError."""
        address = self._config.listen.host
        interface = self._cluster.interface or announce.interface_of(address)
        await asyncio.to_thread(announce.announce, address, interface)
        return interface

    async def tickle(self, peers: Peers, *, runs: Callable[[int], None]) -> int:
        """Send each peer a tickle from the service address; how many were sent.  Raises OSError."""
        local = self._config.listen.host, self._config.listen.port
        return await asyncio.to_thread(announce.tickle, local, [(host, port) for host, port in peers])
