"""`understudy store dump|verify|backup`: look at a state directory, beside a running server or without one.

Owns how the store's answers are printed. Must not change a store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import statestore
from nfsd.cli.options import output_option, state_path
from nfsd.cli.show import as_text, print_json, print_record

KINDS = tuple(statestore.KIND_NAMES.values())


class StoreCommandError(click.ClickException):
    """The store's own words, as a command's error."""


def store_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name a state directory, on a click command."""
    path = click.Path(path_type=Path)
    file_help = "The server's TOML file."
    function = click.option("--config", "config_file", type=path, metavar="FILE", help=file_help)(function)
    return click.option("--state", type=path, metavar="DIR", help="The server's state directory.")(function)


@click.group()
def store() -> None:
    """Look at the state that a server keeps on disk."""


@store.command()
@store_options
@output_option
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS, case_sensitive=False),
    metavar="KIND",
    help=f"Only records of this kind, one of {', '.join(KINDS)}; may be repeated.",
)
def dump(state: Path | None, config_file: Path | None, output: str, kinds: tuple[str, ...]) -> None:
    """Print every record, in the order of their kinds and keys."""
    # Only this command needs the server's modules, and they take a while to import.
    from nfsd.cli.records import DESCRIBERS
    from nfsd.state.records import UPGRADES

    separator = "["
    try:
        for record in statestore.dump(state_path(state, config_file), DESCRIBERS, UPGRADES):
            if kinds and record["kind"] not in kinds:
                continue
            if output == "json":
                click.echo(separator + json.dumps(record))
                separator = ","
            else:
                rest = {name: value for name, value in record.items() if name not in ("kind", "key")}
                click.echo(f"{record['kind']:<8} {record['key']}  {as_text(rest)}")
    except statestore.StoreError as error:
        raise StoreCommandError(str(error)) from error
    if output == "json":
        click.echo("]" if separator == "," else "[]")


@store.command()
@store_options
@output_option
@click.pass_context
def verify(context: click.Context, state: Path | None, config_file: Path | None, output: str) -> None:
    """Check every record's checksum and every reference; exit with 1 if anything is wrong."""
    try:
        report = statestore.verify(state_path(state, config_file))
    except statestore.StoreError as error:
        raise StoreCommandError(str(error)) from error
    problems = report.problems()
    summary = {
        "ok": report.ok,
        "directory": str(report.directory),
        "epoch": report.epoch,
        "file_size": report.file_size,
        "records": report.counts,
        "problems": problems,
    }
    if output == "json":
        print_json(summary)
    else:
        summary["problems"] = len(problems)
        print_record(summary, output)
        for problem in problems:
            click.echo(problem)
    if not report.ok:
        context.exit(1)


@store.command()
@store_options
@click.argument("directory", type=click.Path(path_type=Path))
def backup(state: Path | None, config_file: Path | None, directory: Path) -> None:
    """Write a copy of the store, of one moment, to the new or empty DIRECTORY.

    The copy has the store's secret: keep it as safe as the store.
    """
    try:
        with statestore.open_readonly(state_path(state, config_file)) as reader:
            reader.copy(directory)
    except (statestore.StoreError, OSError) as error:
        raise StoreCommandError(f"no backup was made: {error}") from error
    click.echo(f"the store is copied to {directory}; serve it with --state {directory}")
