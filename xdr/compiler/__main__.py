"""`python -m xdr.compiler` regenerates every module of xdr/generated; `--check` only compares.

This file owns which descriptions exist and where the modules go. Exit codes: 0 done or equal, 1 wrong or
stale, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xdr.compiler.emitter import emit
from xdr.compiler.lexer import DescriptionError
from xdr.compiler.parser import parse_file

ROOM = Path(__file__).resolve().parent.parent
# Description (without .x) and the prefix of its packer's and unpacker's names.
MODULES = {"rpc": "Rpc", "nfs4": "Nfs4", "stored": "Stored"}


def generate(name: str) -> str:
    """Return the fresh text of one generated module. Raises DescriptionError."""
    return emit(parse_file(ROOM / "x" / f"{name}.x"), MODULES[name])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xdr.compiler", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare with the committed modules")
    options = parser.parse_args(arguments)
    stale = []
    for name in MODULES:
        target = ROOM / "generated" / f"{name}.py"
        try:
            text = generate(name)
        except DescriptionError as error:
            print(error, file=sys.stderr)
            return 1
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            stale.append(target.name)
        else:
            target.write_text(text, encoding="utf-8")
            print(f"wrote xdr/generated/{target.name}")
    if stale:
        print(f"stale: {', '.join(stale)}; run `python -m xdr.compiler`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
