"""`understudy serve`: build a Config, and run one process or a supervisor with two until told to stop.

Owns the choice between the two, and what is prepared before the first process is made: the log, the store's
lock, the listening sockets. Must not know how a request is served.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from pathlib import Path
from typing import Any

import click

from nfsd import log as logging_
from nfsd.cli.check import check_exports
from nfsd.cli.options import config_from, serve_options
from nfsd.config import Config
from nfsd.failover.supervisor import Supervisor
from nfsd.failover.worker import Served, run, run_worker
from nfsd.log import get_logger
from nfsd.service import Notifier, passed_sockets, watchdog_s
from nfsd.sockets import open_listeners, text_of
from statestore import lock_directory

log = get_logger()


def make_server(config: Config, listeners: list[socket.socket] | None = None) -> Served:
    """The real server; imported late, so that the other commands start quickly."""
    from nfsd.server import Server

    return Server(config, listeners=listeners)


def serve_alone(config: Config) -> int:
    """One process."""
    listeners = passed_sockets()
    asyncio.run(run(config, make_server(config, listeners or None), Notifier(), watchdog_s()))
    return 0


def serve_as_pair(config: Config) -> int:
    """A supervisor, which holds the lock and the sockets for its workers; the exit code."""
    from nfsd.server import Server

    lock = lock_directory(config.state)
    listeners = passed_sockets()
    for given in listeners:
        log.info("service.socket", address=text_of(given))
    listeners = listeners or open_listeners(*config.listen)
    # Imported already, and shared by all workers.
    gc.collect()
    gc.freeze()

    def work(channel: socket.socket) -> int:
        return run_worker(config, lambda: Server(config, listeners=listeners, lock=lock), channel)

    return Supervisor(work, notifier=Notifier(), watchdog_s=watchdog_s()).run()


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
        code = serve_as_pair(config) if config.pair else serve_alone(config)
    except Exception as error:
        # The last place an error can be told: into the log with its traceback, and to whoever started us.
        log.exception("server.failed", reason=str(error))
        print(f"understudy: cannot serve: {error or type(error).__name__}", file=sys.stderr)
        raise SystemExit(1) from error
    raise SystemExit(code)
