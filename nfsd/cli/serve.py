"""`understudy serve`: build a Config, run the server until it is told to stop.

Owns the process: signals, the log's configuration, and the order in which things start and stop.
Must not know how a request is served.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import click

from nfsd import log as logging_
from nfsd.cli.check import check_exports
from nfsd.cli.options import config_from, serve_options
from nfsd.config import Config, as_plain
from nfsd.control import ControlServer, ControlTarget
from nfsd.log import get_logger
from nfsd.metrics import MetricsServer, Snapshot

log = get_logger()


class Served(ControlTarget, Protocol):
    """The server, as the process that runs it sees it."""

    async def start(self) -> None:
        """Open the store and listen; on return requests are answered."""

    async def stop(self) -> None:
        """Finish what runs, make it durable, close the store. May be called after a failed start."""

    def metrics(self) -> Snapshot:
        """The figures at this moment."""


def make_server(config: Config) -> Served:
    """The real server; imported late, so that the other commands start quickly."""
    from nfsd.server import Server

    return Server(config)


async def run(config: Config, server: Served) -> None:
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
    control = ControlServer(config.control, server)
    figures = None
    try:
        await server.start()
        await control.start()
        if config.metrics is not None:
            figures = MetricsServer(config.metrics, server.metrics)
            log.info("metrics.listening", address=str(await figures.start()))
        _say_ready(config, server)
        await stop.wait()
    finally:
        if figures is not None:
            await figures.stop()
        await control.stop()
        await server.stop()
    log.info("server.stopped")


def _say_ready(config: Config, server: Served) -> None:
    """One line on standard output for whoever started us; the log has it for the record."""
    # The server knows the port that the kernel chose when 0 was asked for.
    listen = server.status().get("listen", str(config.listen))
    log.info("server.ready", listen=listen)
    names = ", ".join(export.pseudo for export in config.exports)
    print(f"understudy serves {names} on {listen}; Ctrl-C stops it", flush=True)


@click.command()
@serve_options
def serve(config_file: Path | None, exports: tuple[str, ...], no_pair: bool, **settings: Any) -> None:
    """Serve the exports until SIGTERM or SIGINT."""
    config = config_from(config_file, exports, no_pair, settings)
    check_exports(config)
    try:
        logging_.configure(node=config.node, level=config.log_level, file=config.log_file)
    except OSError as error:
        raise click.ClickException(f"cannot write the log {config.log_file}: {error.strerror}") from error
    try:
        asyncio.run(run(config, make_server(config)))
    except Exception as error:
        # The last place an error can be told: into the log with its traceback, and to whoever started us.
        log.exception("server.failed", reason=str(error))
        print(f"understudy: cannot serve: {error or type(error).__name__}", file=sys.stderr)
        raise SystemExit(1) from error
