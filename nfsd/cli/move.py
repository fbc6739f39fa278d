"""`understudy promote|demote|handover`: which node serves.

Owns their options, and waiting until the node is what was asked for. Must not know how it becomes that.
"""

from __future__ import annotations

from pathlib import Path

import click

from nfsd.admin.control import ask
from nfsd.cli.ask import wait_for_role
from nfsd.cli.options import control_path, move_options


@click.command()
@move_options
@click.option("--released", is_flag=True, help="No other node holds the state or the files: fence nobody.")
def promote(
    state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float, released: bool
) -> None:
    """Have this node serve: fence the other one, mount, load the state, take the address."""
    path = control_path(state, control, config_file)
    ask(path, "promote", timeout_s=timeout_s, released=released)
    wait_for_role(path, "active", timeout_s)
    click.echo("active")


@click.command()
@move_options
def demote(state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float) -> None:
    """Have this node let go of everything: what runs is finished first. A fenced node is a standby again."""
    path = control_path(state, control, config_file)
    ask(path, "demote", timeout_s=timeout_s)
    wait_for_role(path, "standby", timeout_s)
    click.echo("standby")


@click.command()
@move_options
def handover(state: Path | None, control: Path | None, config_file: Path | None, timeout_s: float) -> None:
    """Let go of everything, and have the cluster manager choose the other node."""
    path = control_path(state, control, config_file)
    ask(path, "handover", timeout_s=timeout_s)
    wait_for_role(path, "standby", timeout_s)
    click.echo("standby")
