"""`understudy serve` and `standby`: build a Config, and run one process or a supervisor with two until told to stop.

Owns the choice between them, and what is prepared before the first process is made: the log, the store's
lock, the listening sockets. Must not know how a request is served.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from nfsd import log as logging_
from nfsd.cli.check import check_exports
from nfsd.cli.options import config_from, serve_options
from nfsd.config import Cluster, Config
from nfsd.failover.group import StandbySupervisor
from nfsd.failover.service import Notifier, passed_sockets, watchdog_s
from nfsd.failover.standby import run_standby_worker
from nfsd.failover.supervisor import Supervisor
from nfsd.failover.worker import Served, run, run_worker
from nfsd.log import get_logger, limiter
from nfsd.rpc.listeners import open_listeners, text_of
from nfsd.vfs.process import confine
from statestore import lock_directory

log = get_logger()


def make_server(config: Config, listeners: list[socket.socket] | None = None) -> Served:
    """The real server; imported late, so that the other commands start quickly."""
    from nfsd.server import Server

    return Server(config, listeners=listeners)


def serve_alone(config: Config) -> int:
    """One process."""
    listeners = passed_sockets()
    confine()
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

    def work(channel: socket.socket, lock: int) -> int:
        return run_worker(config, lambda: Server(config, listeners=listeners, lock=lock), channel)

    return Supervisor(work, lock=lock, notifier=Notifier(), watchdog_s=watchdog_s()).run()


def stand_by(config: Config, cluster: Cluster) -> int:
    """A supervisor whose workers wait until it is this node's turn; the exit code."""
    from nfsd.server import Server

    listeners: list[socket.socket] = []
    passed = passed_sockets()

    def renew_sockets() -> None:
        if not passed:
            while listeners:
                listeners.pop().close()
            listeners.extend(open_listeners(*config.listen, elsewhere=True))

    listeners += passed
    renew_sockets()
    gc.collect()
    gc.freeze()

    def work(channel: socket.socket, lock: int) -> int:
        return run_standby_worker(config, lambda: Server(config, listeners=listeners, lock=lock), channel)

    supervisor = StandbySupervisor(
        work,
        renew_sockets=renew_sockets,
        pause_max_s=cluster.pause_max_s,
        notifier=Notifier(),
        watchdog_s=watchdog_s(),
    )
    return supervisor.run()


def begin(config: Config, run: Callable[[], int]) -> NoReturn:
    """Open the log and run until the end."""
    try:
        logging_.configure(node=config.node, level=config.log_level, file=config.log_file)
    except OSError as error:
        raise click.ClickException(f"cannot write the log {config.log_file}: {error.strerror}") from error
    limits = config.limits
    limiter.configure(lines_per_address_max=limits.log_lines_per_address_max, lines_max=limits.log_lines_max)
    try:
        code = run()
    except Exception as error:
        # The last place an error can be told: into the log with its traceback, and to whoever started us.
        log.exception("server.failed", reason=str(error))
        print(f"understudy: cannot serve: {error or type(error).__name__}", file=sys.stderr)
        raise SystemExit(1) from error
    raise SystemExit(code)


@click.command()
@serve_options
def serve(config_file: Path | None, exports: tuple[str, ...], no_pair: bool, **settings: Any) -> None:
    """Serve the exports until SIGTERM or SIGINT."""
    config = config_from(config_file, exports, no_pair, settings)
    check_exports(config)
    if config.cluster is not None:
        raise click.UsageError("the file has a [cluster] table: run 'understudy standby'; 'serve' is for a single node")
    begin(config, lambda: serve_as_pair(config) if config.pair else serve_alone(config))


@click.command()
@serve_options
def standby(config_file: Path | None, exports: tuple[str, ...], no_pair: bool, **settings: Any) -> None:
    """Be one node of several: wait for 'promote' or the cluster manager's word, then serve the exports."""
    config = config_from(config_file, exports, no_pair, settings)
    check_exports(config)
    cluster = config.cluster
    if cluster is None:
        raise click.UsageError("a standby needs a [cluster] table in its --config FILE; 'serve' runs a single node")
    if not config.pair:
        raise click.UsageError("a standby has always a pair of workers: leave out --no-pair and pair = false")
    begin(config, lambda: stand_by(config, cluster))
