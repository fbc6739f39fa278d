"""The group of commands, and where every error becomes an exit code.

Owns `main`, the console script. Must not import the server: listing commands have to start quickly.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import click

from nfsd.admin.control import ControlError
from nfsd.cli.ask import clients, delegations, expire, locks, opens, status
from nfsd.cli.blackout import blackout
from nfsd.cli.check import check_config
from nfsd.cli.move import demote, handover, promote
from nfsd.cli.serve import serve, standby
from nfsd.cli.store import store
from nfsd.config import ConfigError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def installed_version() -> str:
    """The installed package's version, or "not installed" in a bare source tree."""
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "not installed"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(installed_version(), prog_name="understudy")
def understudy() -> None:
    """An NFSv4 server that keeps every client's state over its own death."""


SERVING = (serve, standby, promote, demote, handover)
ASKING = (status, clients, opens, locks, delegations, expire, blackout, store, check_config)
for command in (*SERVING, *ASKING):
    understudy.add_command(command)


def report(text: str) -> None:
    """Write an error for a person to standard error, each line with the program's name."""
    for line in text.splitlines() or [text]:
        print(f"understudy: {line}", file=sys.stderr)


def exit_code_of(error: ConfigError) -> int:
    """Wrong usage when the command line itself is at fault, else failed."""
    return EXIT_USAGE if any(problem.on_command_line for problem in error.problems) else EXIT_FAILED


def main() -> None:
    """Run the command in sys.argv and exit with its code."""
    try:
        code = understudy.main(prog_name="understudy", standalone_mode=False)
    except click.exceptions.Abort:
        code = EXIT_FAILED
    except click.UsageError as error:
        error.show()
        code = EXIT_USAGE
    except click.ClickException as error:
        report(error.format_message())
        code = EXIT_FAILED
    except ConfigError as error:
        report(str(error))
        code = exit_code_of(error)
    except ControlError as error:
        report(str(error))
        code = EXIT_FAILED
    except BrokenPipeError:
        # The reader of our standard output has gone; nothing may be written to it at exit either.
        sys.stdout = None
        code = EXIT_FAILED
    sys.exit(code if isinstance(code, int) else EXIT_DONE)
