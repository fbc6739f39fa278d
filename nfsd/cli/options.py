"""Options that several commands share.

Owns their spelling and help, and how they become a Config or a control socket's path.
Must not know what any command does with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nfsd.config import Config, load_config
from nfsd.config.model import DURABILITIES, LEVELS, RECOVERIES

# The option as typed -> the setting's name. Ranges are checked in one place, nfsd.config, for file and
# command line alike, so these options are plain texts here.
SETTINGS: dict[str, tuple[str, str, str]] = {
    "--state": ("state", "DIR", "Directory of the state store. Needed, here or in the file."),
    "--listen": ("listen", "HOST:PORT", "Address to serve on.  [default: 0.0.0.0:2049]"),
    "--durability": (
        "durability",
        "|".join(DURABILITIES),
        "What acknowledged state survives: the server's process, or the node's power.  [default: process]",
    ),
    "--recovery": ("recovery", "|".join(RECOVERIES), "What a returning client finds.  [default: resume]"),
    "--lease-time": ("lease_time_s", "SECONDS", "Lease of every client.  [default: 90]"),
    "--blackout": ("blackout_s", "SECONDS", "How long a file waits for its holders.  [default: 30]"),
    "--control": ("control", "SOCKET", "Control socket.  [default: DIR/control]"),
    "--metrics": ("metrics", "HOST:PORT", "Serve figures for Prometheus at /metrics.  [default: off]"),
    "--log-file": ("log_file", "FILE", "Write the log here, not to standard error."),
    "--log-level": ("log_level", "|".join(LEVELS), "Least severe lines to write.  [default: info]"),
}


def serve_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All options of `serve`, on a click command."""
    pair_help = "Run one process, without a warm second one."
    function = click.option("--no-pair", is_flag=True, help=pair_help)(function)
    for option, (name, metavar, text) in reversed(SETTINGS.items()):
        function = click.option(option, name, metavar=metavar, help=text)(function)
    path = click.Path(path_type=Path)
    file_help = "TOML file with these settings; options given here win over it."
    function = click.option("--config", "config_file", metavar="FILE", type=path, help=file_help)(function)
    return click.option(
        "--export",
        "exports",
        metavar="PATH[=PSEUDO][,OPTION...]",
        multiple=True,
        help="Directory to export; may be repeated. Option names are those of exports(5).",
    )(function)


def config_from(
    config_file: Path | None, exports: tuple[str, ...], no_pair: bool, settings: dict[str, str | None]
) -> Config:
    """The Config of one command line.

    Raises: ConfigError.
    """
    spelled = {name: option for option, (name, _, _) in SETTINGS.items()}
    given: dict[str, tuple[str, Any]] = {
        name: (spelled[name], value) for name, value in settings.items() if value is not None
    }
    if no_pair:
        given["pair"] = ("--no-pair", False)
    return load_config(config_file, options=given, exports=exports)


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-o table|json`, on a click command."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
    )(function)


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name a running server, on a click command."""
    return _named(function, 10.0)


def move_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ways to name a running server, on a click command that waits for what takes its time."""
    return _named(function, 60.0)


def _named(function: Callable[..., Any], timeout_s: float) -> Callable[..., Any]:
    path = click.Path(path_type=Path)
    function = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0.1, 3600),
        default=timeout_s,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for an answer.",
    )(function)
    function = click.option("--config", "config_file", type=path, metavar="FILE", help="The server's TOML file.")(
        function
    )
    control_help = "The server's control socket."
    function = click.option("--control", type=path, metavar="SOCKET", help=control_help)(function)
    return click.option("--state", type=path, metavar="DIR", help="The server's state directory.")(function)


def control_path(state: Path | None, control: Path | None, config_file: Path | None) -> Path:
    """The control socket that the options name.

    Raises: click.UsageError if they name none; ConfigError if the file is wrong.
    """
    if control is not None:
        return control
    if state is not None:
        return state / "control"
    if config_file is not None:
        return load_config(config_file, starts=False).control
    raise click.UsageError("which server? Give --state DIR, --control SOCKET or --config FILE")


def state_path(state: Path | None, config_file: Path | None) -> Path:
    """The state directory that the options name.

    Raises: click.UsageError if they name none; ConfigError if the file is wrong.
    """
    if state is not None:
        return state
    if config_file is not None:
        return load_config(config_file, starts=False).state
    raise click.UsageError("which store? Give --state DIR or --config FILE")
