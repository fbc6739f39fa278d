"""Every flood at both levels of durability, each against a server of its own: `python -m tests.hostile --all`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from nfsd.config.model import DURABILITIES
from tests.hostile.flooder import CONTROL, FLOODS
from tests.hostile.run import HEAD, one
from tests.hostile.server import TargetServer


def main() -> None:
    """The command line: prints the table row by row; exit code 1 where a bound did not hold."""
    names = [flood.__name__ for flood in (CONTROL, *FLOODS)]
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description="Flood servers of its own.")
    parser.add_argument("flood", nargs="*", choices=[*names, []], help="which ones")
    parser.add_argument("--all", action="store_true", help="all of them, and the control")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each lasts [20]")
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds that are measured before [5]")
    parser.add_argument("--durability", choices=DURABILITIES, action="append", help="only at this level [both]")
    options = parser.parse_args()
    if not options.all and not options.flood:
        parser.error("which floods? --all, or some of their names")
    wanted = [flood for flood in (CONTROL, *FLOODS) if options.all or flood.__name__ in options.flood]
    failed = False
    print(HEAD, flush=True)
    for durability in options.durability or DURABILITIES:
        for flood in wanted:
            with tempfile.TemporaryDirectory(prefix="understudy-hostile-") as directory:
                figures = one(TargetServer(Path(directory), durability), flood, options.seconds, options.quiet)
            print(figures.row(), flush=True)
            failed = failed or bool(figures.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
