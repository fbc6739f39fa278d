"""A worker process of a node that is one of several: its node's part, the control socket and the figures around it.

Owns the order in which these start and stop. Must not know what the part consists of (`nfsd.failover.part`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from nfsd.admin.control import ControlServer
from nfsd.config import Config
from nfsd.failover.helper import Helper
from nfsd.failover.part import Part, Playable
from nfsd.failover.worker import Channel, Figures, live, start_side, until
from nfsd.log import get_logger
from nfsd.vfs.process import confine

log = get_logger()


def run_standby_worker(config: Config, make_server: Callable[[], Playable], connection: socket.socket) -> int:
    """Be a worker until the end; the exit code."""
    helper = Helper.start(config)
    confine()
    return live(lambda: _worker(config, make_server(), connection, helper))


async def _worker(config: Config, server: Playable, connection: socket.socket, helper: Helper) -> int:
    channel = Channel(connection)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, channel.stop.set)
    stopping = asyncio.create_task(channel.stop.wait())
    await asyncio.wait((channel.prepare, channel.turn, channel.stand, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not channel.turn.done():
        # Where this node does not serve the volume may not be mounted yet.
        server.prepare(mounted=channel.prepare.done())
        channel.say(warm=channel.prepare.done())
    await asyncio.wait((channel.turn, channel.stand, stopping), return_when=asyncio.FIRST_COMPLETED)
    if channel.stop.is_set():
        return 0
    return await _play(config, Part(config, server, channel, helper), channel, stopping)


async def _play(config: Config, part: Part, channel: Channel, stopping: asyncio.Task[bool]) -> int:
    control = ControlServer(config.control, part)
    figures = Figures(config, part)
    turn = channel.turn.result() if channel.turn.done() else None
    beat_s = channel.stand.result().beat_s if turn is None else turn.beat_s
    if turn is None:
        # Two daemons of one node would both follow the manager's word.
        await control.start()
        beside = asyncio.create_task(start_side("metrics", figures.start))
    else:
        beside = asyncio.create_task(_start_beside(control, figures))
    delay_s = channel.stand.result().delay_s if turn is None else turn.delay_s
    if delay_s:
        await asyncio.wait((stopping,), timeout=delay_s)
    if turn is not None:
        await part.go_on(turn)
    following = asyncio.create_task(part.run())
    finishing = asyncio.create_task(part.finished.wait())
    beating = asyncio.create_task(until(part.finished, lambda: channel.say(beat=True), beat_s))
    try:
        if turn is None:
            await part.stand(channel.stand.result())
        await asyncio.wait((stopping, finishing, following), return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            # It ends only when it has nothing more to do, or by a fault of ours.
            following.result()
        if channel.stop.is_set():
            await part.stop()
    finally:
        beating.cancel()
        await beside
        await figures.stop()
        await control.stop(leave=not channel.stop.is_set())
    return 0


async def _start_beside(control: ControlServer, figures: Figures) -> None:
    await start_side("control", control.start)
    await start_side("metrics", figures.start)
