"""python -m tests.bench: measure Understudy beside nfs-ganesha, in turns, and print the ratios.

Owns the command line and the order of the runs; must not know the wire or the arithmetic.
Exit codes: 0 every workload gave figures, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from . import servers
from .figures import Row, Sample, as_json, compare, sample_from, table
from .generator import BenchError, Load, Target, build, command, run, workloads

GENERATOR_BUSY_MAX = 0.9
"""Share of a processor above which the generator, not the server, may be what was measured."""


def measure(
    program: Path, workload: str, targets: dict[str, Target], load: Load, rounds: int
) -> tuple[dict[str, list[Sample]], dict[str, str], int]:
    """Run one workload on the servers in turns; a server that fails is not asked again for it."""
    samples: dict[str, list[Sample]] = {name: [] for name in targets}
    errors: dict[str, str] = {}
    size = 0
    for _ in range(rounds):
        for name, target in targets.items():
            if name in errors:
                continue
            try:
                result = run(command(program, workload, target, load), load)
            except BenchError as failure:
                errors[name] = str(failure)
                continue
            size = result["bytes_per_cycle"]
            samples[name].append(sample_from(result, with_cpu=bool(target.pids)))
    return samples, errors, size


@contextlib.contextmanager
def started(
    scratch: Path, subject: str, peer: str, external: Target | None, durability: str, extra: str
) -> Iterator[dict[str, Target]]:
    """Start the servers asked for; the first one is the one whose figures are divided by the other's."""
    with contextlib.ExitStack() as stack:
        targets: dict[str, Target] = {}
        if external is not None:
            targets["server"] = external
        elif subject == "understudy":
            context = servers.understudy(scratch / "understudy", durability, shlex.split(extra))
            targets["understudy"] = stack.enter_context(context)
        if peer == "ganesha":
            targets["ganesha"] = stack.enter_context(servers.ganesha(scratch / "ganesha"))
        yield targets


def choose(known: list[str], only: str | None) -> list[str]:
    """Return the workloads to run; a word that ends with * stands for all that begin so.

    Raises:
        click.UsageError: a name is unknown.
    """
    if only is None:
        return known
    chosen: list[str] = []
    for word in only.split(","):
        fits = [name for name in known if name == word or (word.endswith("*") and name.startswith(word[:-1]))]
        if not fits:
            raise click.UsageError(f"no workload {word!r}; there are: {', '.join(known)}")
        chosen += [name for name in fits if name not in chosen]
    return chosen


def external_target(address: str | None, path: str, server_pid: str | None) -> Target | None:
    """Return the server that runs already, with its children, or None."""
    if address is None:
        return None
    pids: list[int] = []
    for word in (server_pid or "").split(","):
        if word:
            pids += servers.process_tree(int(word))
    return Target(address, path, tuple(dict.fromkeys(pids)))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that the servers are stopped."""
    raise KeyboardInterrupt


def _report(rows: list[Row], names: list[str], output: str, load: Load, rounds: int) -> None:
    if output == "json":
        machine = {"processors": os.cpu_count(), "system": " ".join(os.uname()[::2])}
        about = {"machine": machine, "rounds": rounds, "seconds": load.seconds}
        click.echo(json.dumps({**about, "workloads": [as_json(row) for row in rows]}, indent=2))
        return
    click.echo(table(rows, names))
    for row in rows:
        for name, why in row.errors.items():
            click.echo(f"{row.workload}, {name}: {why}")
        for name, summary in row.servers.items():
            if summary.generator_busy > GENERATOR_BUSY_MAX:
                click.echo(f"{row.workload}, {name}: the generator itself was busy: the server may be faster")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--subject", type=click.Choice(["understudy", "none"]), default="understudy", show_default=True)
@click.option("--peer", type=click.Choice(["ganesha", "none"]), default="ganesha", show_default=True)
@click.option("--only", metavar="NAME,...", help="These workloads; read* stands for all that begin so.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.05, 600), default=1.5, show_default=True)
@click.option("--warmup", type=click.FloatRange(0, 60), default=0.3, show_default=True)
@click.option("--connections", type=click.IntRange(1, 64), help="Default: 2, and 1 for reads and writes.")
@click.option("--slots", type=click.IntRange(1, 256), help="Of each connection. Default: 16, and 8.")
@click.option("--share", type=click.Choice(["client", "session", "nothing"]), default="client", show_default=True)
@click.option("--one-owner", is_flag=True, help="One open owner for a connection instead of one for a slot.")
@click.option("--minor", type=click.IntRange(1, 2), default=1, show_default=True)
@click.option("--durability", type=click.Choice(["process", "power"]), default="process", show_default=True)
@click.option("--serve-options", default="", help="Further options for understudy serve.")
@click.option("--directory", type=click.Path(file_okay=False, exists=True), help="For exports and state.")
@click.option("--address", metavar="HOST:PORT", help="Measure the server that runs there already.")
@click.option("--path", default="/", show_default=True, help="Its exported directory.")
@click.option("--server-pid", metavar="PID,...", help="Its processes, for the CPU time.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def main(
    subject: str,
    peer: str,
    only: str | None,
    rounds: int,
    seconds: float,
    warmup: float,
    connections: int | None,
    slots: int | None,
    share: str,
    one_owner: bool,
    minor: int,
    durability: str,
    serve_options: str,
    directory: str | None,
    address: str | None,
    path: str,
    server_pid: str | None,
    output: str,
) -> None:
    """Measure Understudy beside nfs-ganesha, in turns (A B A B), and print the ratios of their rates."""
    signal.signal(signal.SIGTERM, _interrupt)
    load = Load(seconds, warmup, connections, slots, share, one_owner, minor)
    rows: list[Row] = []
    try:
        program = build()
        names = choose(workloads(program), only)
        external = external_target(address, path, server_pid)
        with (
            tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as scratch,
            started(Path(scratch), subject, peer, external, durability, serve_options) as targets,
        ):
            if not targets:
                raise click.UsageError("nothing to measure: give --subject, --peer or --address")
            for name in names:
                samples, errors, size = measure(program, name, targets, load, rounds)
                rows.append(compare(name, size, samples, errors))
                if sys.stderr.isatty():
                    click.echo(f"{name} done", err=True)
    except BenchError as failure:
        click.echo(f"bench: {failure}", err=True)
        sys.exit(1)
    _report(rows, list(targets), output, load, rounds)
    sys.exit(1 if any(row.errors for row in rows) else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
