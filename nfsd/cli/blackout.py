"""`understudy blackout list|set|lift`: what nobody may use for a time.

Owns their options and how answers are printed. Must not know what a blackout refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nfsd.admin.control import ControlError, ask
from nfsd.cli.ask import ClientId
from nfsd.cli.options import control_path, output_option, server_options
from nfsd.cli.show import print_record, print_rows


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name what is blacked out, on a click command."""
    function = click.option("--client", type=ClientId(), metavar="CLIENTID", help="One client's access to every file.")(
        function
    )
    function = click.option("--export", metavar="PSEUDO", help="Every file of one export.")(function)
    return click.argument("file", required=False, metavar="[PATH|HANDLE]")(function)


def target_of(file: str | None, export: str | None, client: int | None) -> dict[str, Any]:
    """The one thing that was named, as the control socket's argument.

    Raises: click.UsageError if it is none, or several.
    """
    given = {"file": file, "export": export, "client": client}
    named = {what: said for what, said in given.items() if said is not None}
    if len(named) != 1:
        raise click.UsageError("name one thing: PATH or HANDLE, or --export PSEUDO, or --client CLIENTID")
    return named


@click.group()
def blackout() -> None:
    """Keep everybody from a file, an export, or one client from all files, for a time; no state is lost."""


@blackout.command("list")
@server_options
@output_option
def list_(state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float, output: str) -> None:
    """List what is blacked out: until when, why, whose return is waited for, and how much was refused."""
    rows = ask(control_path(state, control, config_file), "blackout", timeout_s=timeout_s, action="list")
    print_rows(rows, output, "no blackouts")


@blackout.command("set")
@target_options
@click.option(
    "--seconds",
    type=click.IntRange(1, 604_800),
    metavar="N",
    help="How long.  [default: as long as it would wait for its holders after a start]",
)
@click.option(
    "--response",
    type=click.Choice(["retry", "fail"]),
    default="retry",
    show_default=True,
    help="What requests are answered: retry lets clients wait, fail denies them.",
)
@server_options
@output_option
def set_(
    file: str | None, export: str | None, client: int | None, seconds: int | None, response: str,
    state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float, output: str,
) -> None:  # fmt: skip
    """Black out one file, or an export, or a client; set again, it begins anew.

    PATH is as clients see it, HANDLE as the listings show it.
    """
    arguments = target_of(file, export, client) | {"response": response}
    if seconds is not None:
        arguments["seconds"] = seconds
    path = control_path(state, control, config_file)
    print_record(ask(path, "blackout", timeout_s=timeout_s, action="set", **arguments), output)


@blackout.command()
@target_options
@server_options
def lift(
    file: str | None, export: str | None, client: int | None,
    state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float,
) -> None:  # fmt: skip
    """End a blackout before its time, also that of a file that waits for its holders after a start."""
    arguments = target_of(file, export, client)
    if not ask(control_path(state, control, config_file), "blackout", timeout_s=timeout_s, action="lift", **arguments):
        raise ControlError("it is not blacked out: 'understudy blackout list' says what is")
    click.echo("lifted")
