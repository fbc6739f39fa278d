"""The commands that ask a running server: status, the listings, expire.

Owns their options and how their answers are printed. Must not touch the store's files.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from nfsd.admin.control import ControlError, Interrupted, NoServer, ask
from nfsd.cli.options import control_path, output_option, server_options
from nfsd.cli.show import print_record, print_rows

POLL_S = 0.05
EXIT_CODES = {"active": 0, "standby": 10, "resuming": 11, "draining": 12, "fenced": 13}
EXIT_CODES_TEXT = "Exit with " + ", ".join(f"{code} if {role}" for role, code in EXIT_CODES.items()) + "."


@click.command()
@server_options
@output_option
@click.option("--wait", type=click.Choice(list(EXIT_CODES)), help="Return once the server has this role, or fail.")
@click.option("--exit-code", is_flag=True, help=EXIT_CODES_TEXT)
def status(
    state: Path | None,
    control: Path | None,
    config_file: Path | None,
    timeout_s: float,
    output: str,
    wait: str | None,
    exit_code: bool,
) -> None:
    """Say what the server is and how much it holds."""
    path = control_path(state, control, config_file)
    answer = wait_for_role(path, wait, timeout_s) if wait else ask(path, "status", timeout_s=timeout_s)
    print_record(answer, output)
    if exit_code:
        raise SystemExit(EXIT_CODES.get(answer["role"], 1))


def wait_for_role(path: Path, role: str, timeout_s: float) -> dict[str, Any]:
    """Ask until the server has that role; a server that does not run yet is waited for as well."""
    end_s = time.monotonic() + timeout_s
    seen = "there was no server"
    while True:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise ControlError(f"the server on {path} was not {role} within {timeout_s:g} s: {seen}")
        try:
            answer: dict[str, Any] = ask(path, "status", timeout_s=left_s)
        except (NoServer, Interrupted):
            seen = "there was no server"
        else:
            if answer.get("role") == role:
                return answer
            seen = f"it was {answer.get('role')}"
        time.sleep(min(POLL_S, max(left_s, 0.0)))


def _listing(name: str, text: str) -> click.Command:
    """A command that prints one listing."""

    @click.command(name, help=text)
    @server_options
    @output_option
    def command(
        state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float, output: str
    ) -> None:
        rows = ask(control_path(state, control, config_file), name, timeout_s=timeout_s)
        print_rows(rows, output, f"no {name}")

    return command


clients = _listing("clients", "List the clients.")
opens = _listing("opens", "List the open files.")
locks = _listing("locks", "List the byte-range locks.")
delegations = _listing("delegations", "List the delegations.")


class ClientId(click.ParamType[int]):
    """A clientid as the listing shows it (0x...), or in decimal digits."""

    name = "clientid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a value outside 64 bits is wrong usage."""
        try:
            number = value if isinstance(value, int) else int(value, 0)
        except ValueError:
            text = f"{value!r} is no clientid: write it as 'understudy clients' shows it, e.g. 0x5f"
            self.fail(text, param, ctx)
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} is no clientid: it must fit into 64 bits", param, ctx)
        return number


@click.command()
@click.argument("clientid", type=ClientId())
@server_options
def expire(clientid: int, state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float) -> None:
    """Remove the client CLIENTID with all its opens and locks, as if its lease had ended."""
    if not ask(control_path(state, control, config_file), "expire", timeout_s=timeout_s, clientid=clientid):
        raise ControlError(f"there is no client {clientid:#x}: 'understudy clients' lists them")
    click.echo(f"client {clientid:#x} is expired")
