"""One serving process: alone, or as one of a supervisor's two workers.

Owns what stands around the server in its process: signals, the control socket, the figures, and the order in
which they start and stop; and a worker's side of the channel to its supervisor. Must not know how a request is
served.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from nfsd import log as logging_
from nfsd.admin.control import ControlServer, ControlTarget
from nfsd.admin.metrics import MetricsServer, Snapshot
from nfsd.config import Config, as_plain
from nfsd.failover.service import Notifier
from nfsd.failover.stand import Stand
from nfsd.log import get_logger
from nfsd.resume.turn import Turn
from nfsd.vfs.process import confine

MESSAGE_SIZE_MAX = 64 * 1024

log = get_logger()


class Measured(ControlTarget, Protocol):
    """What can be asked, and has figures."""

    def metrics(self) -> Snapshot:
        """The figures at this moment."""


class Served(Protocol):
    """The server, as the process that runs it sees it; `target` is what can be asked of it, at any time."""

    @property
    def target(self) -> Measured: ...

    async def start(self) -> None:
        """Open the store and listen; on return requests are answered."""

    async def stop(self) -> None:
        """Finish what runs, make it durable, close the store. May be called after a failed start."""


class Resumable(Served, Protocol):
    """A server that can be prepared before it is its turn."""

    def prepare(self, *, mounted: bool = True) -> None:
        """Do all that needs neither the store nor the event loop. Never raises: `start` does, for what is wrong."""

    def take_turn(self, turn: Turn, lock: int | None = None) -> None:
        """Let the server serve next, before `start`; `lock` is the state directory's, if it was taken for that."""


async def run(
    config: Config, server: Served, notifier: Notifier | None = None, watchdog_s: float | None = None
) -> None:
    """Start `server` with its control socket and figures, wait for SIGTERM or SIGINT, stop it all.

    A second signal ends the process at once. SIGHUP opens the log file again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stop(number: signal.Signals) -> None:
        log.info("server.stopping", signal=number.name)
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    loop.add_signal_handler(signal.SIGHUP, logging_.reopen)
    log.info("server.starting", config=as_plain(config))
    # Each part's stop() is safe before or after a failed start, so one order serves every ending.
    control = ControlServer(config.control, server.target)
    figures = Figures(config, server.target)
    try:
        await server.start()
        await control.start()
        await figures.start()
        _say_ready(config, server)
        tell = (notifier or Notifier({})).tell
        tell("READY=1", "STATUS=serving")
        await until(stop, lambda: tell("WATCHDOG=1"), watchdog_s and watchdog_s / 4)
        tell("STOPPING=1")
    finally:
        await figures.stop()
        await control.stop()
        await server.stop()
    log.info("server.stopped")


class Figures:
    """The figures' socket, if one is asked for."""

    def __init__(self, config: Config, target: Measured) -> None:
        self._server = MetricsServer(config.metrics, target.metrics) if config.metrics is not None else None

    async def start(self) -> None:
        """Listen.  Raises OSError."""
        if self._server is not None:
            log.info("metrics.listening", address=str(await self._server.start()))

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop()


def _say_ready(config: Config, server: Served, *, aloud: bool = True) -> None:
    """One line on standard output for whoever started us; the log has it for the record."""
    # The server knows the port that the kernel chose when 0 was asked for.
    listen = server.target.status().get("listen", str(config.listen))
    log.info("server.ready", listen=listen)
    if aloud:
        names = ", ".join(export.pseudo for export in config.exports)
        print(f"understudy serves {names} on {listen}; Ctrl-C stops it", flush=True)


class Channel:
    """A worker's side of the channel: the supervisor's word as events, its own as messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.stop = asyncio.Event()
        self.turn: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self.stand: asyncio.Future[Stand] = asyncio.get_running_loop().create_future()
        self.prepare: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.let_go = asyncio.Event()
        self.warm_pid: int | None = None
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection, self._hear)

    def say(self, **message: Any) -> None:
        """Tell the supervisor. If it has died, so do we, at once."""
        try:
            self._connection.send(json.dumps(message).encode())
        except OSError as error:
            log.warning("worker.unheard", reason=str(error))

    def pass_on(self, descriptor: int, **message: Any) -> None:
        """Tell the supervisor, and give it a descriptor.  Raises OSError."""
        socket.send_fds(self._connection, [json.dumps(message).encode()], [descriptor])

    def _hear(self) -> None:
        data = self._connection.recv(MESSAGE_SIZE_MAX)
        if not data:
            asyncio.get_running_loop().remove_reader(self._connection)
            self.stop.set()
            return
        message = json.loads(data)
        if "go" in message:
            self.turn.set_result(Turn(**message["go"]))
        if "stand" in message:
            self.stand.set_result(Stand(**message["stand"]))
        if "warm_pid" in message:
            self.warm_pid = message["warm_pid"]
            if self.turn.done():
                self.turn.result().warm_pid = self.warm_pid
        if "prepare" in message:
            self.prepare.set_result(True)
        if message.get("let_go"):
            self.let_go.set()
        if message.get("stop"):
            self.stop.set()
        if message.get("reopen"):
            logging_.reopen()


Life = Callable[[], Coroutine[Any, Any, int]]


def run_worker(config: Config, make_server: Callable[[], Resumable], connection: socket.socket) -> int:
    """Be a worker until the end; the exit code.  SIGTERM ends it in good order, as the supervisor's word does."""
    confine()
    return live(lambda: _worker(config, make_server(), connection))


def live(life: Life) -> int:
    """Run a worker's life; its exit code, 1 if it could not go on, which is said and logged."""
    try:
        return asyncio.run(life())
    except Exception as error:
        # The last place an error can be told.
        log.exception("server.failed", reason=str(error))
        print(f"understudy: cannot serve: {error or type(error).__name__}", file=sys.stderr, flush=True)
        return 1


async def _worker(config: Config, server: Resumable, connection: socket.socket) -> int:
    channel = Channel(connection)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, channel.stop.set)
    stopping = asyncio.create_task(channel.stop.wait())
    # At the first start there is nobody to wait for: what can be prepared is then done by start() itself.
    await asyncio.sleep(0)
    if not channel.turn.done():
        server.prepare()
        channel.say(warm=True)
    await asyncio.wait((channel.turn, stopping), return_when=asyncio.FIRST_COMPLETED)
    if channel.stop.is_set():
        return 0
    turn = channel.turn.result()
    server.take_turn(turn)
    control = ControlServer(config.control, server.target)
    figures = Figures(config, server.target)
    answering = None
    if turn.first:
        log.info("server.starting", config=as_plain(config))
    else:
        # It runs as soon as the server's start leaves it a moment, and can say then what keeps it. Clients go
        # first: without it they are served as well.
        answering = asyncio.create_task(start_side("control", control.start))
    if turn.delay_s:
        await asyncio.wait((stopping,), timeout=turn.delay_s)
    try:
        if not channel.stop.is_set():
            await server.start()
            if answering is None:
                await control.start()
            await (figures.start() if turn.first else start_side("metrics", figures.start))
            channel.say(serving=server.target.status()["recovery"])
            _say_ready(config, server, aloud=turn.first)
            await until(channel.stop, lambda: channel.say(beat=True), turn.beat_s)
    finally:
        await figures.stop()
        if answering is not None:
            await answering
        await control.stop()
        await server.stop()
    log.info("server.stopped")
    return 0


async def start_side(name: str, start: Callable[[], Any]) -> None:
    """Start what stands beside a server that takes over, or log why it could not be."""
    try:
        await start()
    except Exception as error:
        log.error("worker.without", part=name, reason=str(error))


async def until(stop: asyncio.Event, beat: Callable[[], None], beat_s: float | None) -> None:
    """Wait for the end, and say all the while that the event loop turns, if somebody wants to know."""
    while not stop.is_set():
        if beat_s is not None:
            beat()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), beat_s)
