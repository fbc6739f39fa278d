"""What the file system layer costs: each operation by itself, in this process, with nothing above it.

    python tests/bench/vfs_bench.py [--directory DIR] [--handles auto|kernel|table] [--passes N]

Prints a Markdown table for docs/performance.md. Each figure is the least of its passes, in microseconds. "one
caller" keeps its identity between operations; "two callers" take turns, so each operation switches.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import Credentials, Node, prepare_process

ALICE = Credentials(1000, 1000, (2000,))
BOB = Credentials(1001, 1001, (2000, 3000))
FILE_COUNT = 2000


def least_us(call: Callable[[], object], passes: int, count: int) -> float:
    """Return the least time of a call over some passes."""
    best = float("inf")
    for _ in range(passes):
        begin = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - begin) / count)
    return best * 1e6


class Bench:
    """An export with some files, and the operations on it."""

    def __init__(self, directory: Path, handles: str) -> None:
        directory.chmod(0o777)
        self.directory = directory
        self.namespace = Namespace(parse_exports([parse_export(f"{directory}=/")]), b"bench", handles=handles)  # type: ignore[arg-type]
        self.root = self.namespace.root()
        self.fs = self.root.fs
        self.many = self.fs.mkdir(self.root, b"many", ALICE, 0o777)
        self.names = [b"file-%d" % number for number in range(FILE_COUNT)]
        for name in self.names:
            self.fs.release(self.fs.create(self.many, name, ALICE, 0o644)[0])
        self.node = self.fs.lookup(self.many, self.names[0], ALICE)
        self.turn = False

    def lookup_in_turns(self) -> Node:
        """Look up as one caller and then as the other."""
        self.turn = not self.turn
        return self.fs.lookup(self.many, self.names[0], ALICE if self.turn else BOB)

    def lookup_cold(self) -> None:
        """Look up files that are not cached."""
        for name in self.names:
            self.fs.lookup(self.many, name, ALICE)

    def forget_all(self) -> None:
        """Empty the cache of what can be found again."""
        for node in list(self.namespace.cache.nodes.values()):
            if not node.busy and node is not self.many:
                self.namespace.cache.drop(node)

    def create_remove(self) -> None:
        """Make a file, close it, remove it."""
        node, _created = self.fs.create(self.root, b"made", ALICE, 0o644)
        self.fs.release(node)
        self.fs.remove(self.root, b"made", ALICE)

    def mkdir_rmdir(self) -> None:
        """Make a directory and remove it."""
        self.fs.mkdir(self.root, b"made", ALICE, 0o755)
        self.fs.remove(self.root, b"made", ALICE)

    def open_data(self) -> None:
        """Open a file's data for the first time, and let it go."""
        self.fs.open_data(self.node, True)
        self.fs.release(self.node)

    def set_mode(self) -> None:
        """Change a file's mode."""
        self.fs.setattr(self.node, ALICE, mode=0o644)

    def read_directory(self) -> int:
        """Read all names."""
        return sum(1 for _entry in self.fs.readdir(self.many, 0, ALICE))


def run(bench: Bench, passes: int) -> list[tuple[str, float]]:
    """Measure everything."""
    fs, node, name = bench.fs, bench.node, bench.names[0]
    st, page = fs.stat(node), bytes(4096)

    def quick(call: Callable[[], object], count: int = 20_000) -> float:
        return least_us(call, passes, count)

    rows = [
        ("resolve, cached", quick(lambda: bench.namespace.resolve(node.handle))),
        ("stat", quick(lambda: fs.stat(node))),
        ("change", quick(lambda: fs.change(node, st))),
        ("touch", quick(lambda: fs.touch(node))),
        ("lookup, cached, one caller", quick(lambda: fs.lookup(bench.many, name, ALICE))),
        ("lookup, cached, two callers", quick(bench.lookup_in_turns)),
        ("access rw, allowed", quick(lambda: fs.access(node, 6, ALICE))),
        ("access rwx of a plain file", quick(lambda: fs.access(node, 7, ALICE))),
        ("open_data, open already", quick(lambda: fs.open_data(node, True))),
        ("open_data, opened and released", quick(bench.open_data, 2000)),
        ("write 4 KiB", quick(lambda: fs.write(node, 0, page, ALICE))),
        ("read_cached 4 KiB", quick(lambda: fs.read_cached(node, 0, len(page)))),
        ("setattr mode", quick(bench.set_mode, 2000)),
        ("create + release + remove", quick(bench.create_remove, 1000)),
        ("mkdir + rmdir", quick(bench.mkdir_rmdir, 1000)),
        ("readdir, per name", quick(bench.read_directory, 5) / FILE_COUNT),
    ]
    cold = float("inf")
    for _ in range(passes):
        bench.forget_all()
        begin = time.perf_counter()
        bench.lookup_cold()
        cold = min(cold, (time.perf_counter() - begin) * 1e6 / FILE_COUNT)
    rows.insert(6, ("lookup, not cached", cold))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directory", type=Path, default=None, help="where to make the files (default: /tmp)")
    parser.add_argument("--handles", choices=("auto", "kernel", "table"), default="auto")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        bench = Bench(Path(name), arguments.handles)
        rows = run(bench, arguments.passes)
        mode = bench.namespace.modes()[0][1]
        caller = "as the caller" if bench.namespace.acts_as_caller else "as the server's user"
        bench.namespace.close()
    print(f"Handles: {mode}, {caller}; kernel {os.uname().release}, Python {sys.version.split()[0]}\n")
    print("| operation | us |\n|---|---|")
    for label, value in rows:
        print(f"| {label} | {value:.2f} |")


if __name__ == "__main__":
    main()
