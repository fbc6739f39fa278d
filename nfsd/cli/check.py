"""`understudy check-config`: read the settings as `serve` would, and say what they come to.

Owns the check of a configuration before it is used. Must not start, open or change anything.
"""

from __future__ import annotations

from pathlib import Path

import click

from nfsd.cli.options import config_from, output_option, serve_options
from nfsd.cli.show import print_json, print_record
from nfsd.config import Config, ConfigError, ExportSpec, Problem, as_plain
from nfsd.config.places import warnings_of
from nfsd.exports import ExportError, parse_exports


def check_exports(config: Config) -> None:
    """Read every export's option texts, each by itself and then all together.

    Raises: ConfigError with each one that is wrong, or with what is wrong between them.
    """
    problems = [problem for spec in config.exports for problem in _problems_of((spec,), spec.where)]
    problems = problems or _problems_of(config.exports, "exports")
    if problems:
        raise ConfigError(problems)


def _problems_of(specs: tuple[ExportSpec, ...], where: str) -> list[Problem]:
    on_command_line = any(spec.where == "--export" for spec in specs)
    try:
        # Host names are looked up when the server starts; a check must not wait for them.
        parse_exports(specs, resolver=lambda _name: ())
    except ExportError as error:
        return [Problem(where, str(error), on_command_line)]
    return []


@click.command("check-config")
@serve_options
@output_option
def check_config(
    config_file: Path | None, exports: tuple[str, ...], no_pair: bool, output: str, **settings: str | None
) -> None:
    """Check the settings and print what they come to; every error is listed."""
    try:
        config = config_from(config_file, exports, no_pair, settings)
        check_exports(config)
    except ConfigError as error:
        raise click.ClickException(f"{len(error.problems)} wrong:\n{error}") from error
    for warning in warnings_of(config.state):
        click.echo(f"warning: {warning}", err=True)
    plain = as_plain(config)
    if output == "json":
        print_json(plain)
        return
    click.echo("ok")
    exports_plain, limits = plain.pop("exports"), plain.pop("limits")
    clients_plain = plain.pop("clients")
    print_record(plain, output)
    for export in exports_plain:
        click.echo(f"\nexport {export.pop('path')}")
        print_record(export, output)
    for client in clients_plain:
        click.echo(f"\nclient {client.pop('match')}")
        print_record(client, output)
    click.echo("\nlimits")
    print_record(limits, output)
