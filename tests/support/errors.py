"""How much of each room the tests executed, and which of the operations' errors none of them has brought about.

    python -m tests.support.errors build/coverage/report.json      # what `make coverage` does at its end

An error is a place where an operation, the state or the compound makes an `Nfs4Error`. Each has to be executed by some
test, or to be named in uncovered.txt with the reason why it is not: a line `FUNCTION STATUS: REASON`, with `#2` behind
the status for the second of that status in one function. A line that is not needed any more is an error too. Names
have no path, so that they stay when a module moves. Reads sources and figures only: it must not import the rooms.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = ("nfsd/ops", "nfsd/state", "nfsd/compound", "nfsd/compound.py")
NAMED = Path(__file__).with_name("uncovered.txt")
ERROR = "Nfs4Error"


@dataclass(frozen=True, slots=True)
class Site:
    """One place that makes an error: what it is called, its file, the first line of its statement."""

    name: str
    file: str
    line: int


def sites_in(text: str, file: str) -> Iterator[Site]:
    """Every site of a source, in its order."""
    counts: Counter[str] = Counter()
    for function, statement, call in _calls(ast.parse(text), "", None):
        status = ast.unparse(call.args[0]).removeprefix("nfs4.") if call.args else "?"
        name = f"{function} {status}"
        counts[name] += 1
        yield Site(name if counts[name] == 1 else f"{name}#{counts[name]}", file, statement.lineno)


def _calls(node: ast.AST, function: str, statement: ast.stmt | None) -> Iterator[tuple[str, ast.stmt, ast.Call]]:
    """Calls that make an error below a node, with the function and the innermost statement that each stands in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    if isinstance(node, ast.stmt):
        statement = node
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == ERROR and statement is not None:
        yield function, statement, node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, function, statement)


def all_sites() -> list[Site]:
    """Every site in PLACES."""
    found: list[Site] = []
    for place in PLACES:
        path = REPOSITORY / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.exists():
            found += sites_in(file.read_text(encoding="utf-8"), file.relative_to(REPOSITORY).as_posix())
    return found


def named(text: str) -> dict[str, str]:
    """The reason for each site that is named as not covered.

    Raises:
        ValueError: a line has no reason.
    """
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            if not reason.strip():
                raise ValueError(f"no reason: {line}")
            found[name] = reason
    return found


def problems(sites: list[Site], executed: Mapping[str, set[int]], reasons: Mapping[str, str]) -> list[str]:
    """Sites that no test has executed and nobody has named, and names that are not needed."""
    bare = {site.name: site for site in sites if site.line not in executed.get(site.file, ())}
    found = [f"{site.file}:{site.line} {name}: no test" for name, site in bare.items() if name not in reasons]
    known = {site.name for site in sites}
    found += [f"{name}: named, but {'covered' if name in known else 'gone'}" for name in reasons if name not in bare]
    return found


def room_of(file: str) -> str:
    """The room that a file is counted in: nfsd's folders and single files are rooms of their own."""
    parts = file.split("/")
    return parts[0] if parts[0] != "nfsd" else "/".join(parts[:2]).removesuffix(".py")


def rooms(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line a room: how many statements it has, how many were executed, in per cent too."""
    totals: dict[str, list[int]] = {}
    for file, figures in files.items():
        total = totals.setdefault(room_of(file), [0, 0])
        total[0] += figures["summary"]["num_statements"]
        total[1] += figures["summary"]["covered_lines"]
    return [
        f"{room:20} {count:6} statements, {done:6} executed, {100 * done / count:5.1f} %"
        for room, (count, done) in sorted(totals.items())
        if count
    ]


def main(words: list[str]) -> int:
    """Print the figures of a report by coverage, and what is wrong; the exit code."""
    files = json.loads(Path(words[0]).read_text())["files"]
    print("\n".join(rooms(files)))
    sites = all_sites()
    executed = {file: set(figures["executed_lines"]) for file, figures in files.items()}
    wrong = problems(sites, executed, named(NAMED.read_text(encoding="utf-8")))
    print(f"errors of the operations: {len(sites)}, {len(wrong)} in question")
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
