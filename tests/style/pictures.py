"""The pictures of docs/design.md: who imports whom, and the way of one request, drawn from the code itself.

    python -m tests.style.pictures          # write them
    python -m tests.style.pictures --check  # exit code 1 if they are not what the code is

Owns the text between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. The rooms are drawn from the imports. The way is
what a server in this process does for one request: every file that it comes into, in the order of the first time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from nfsd import log as logging
from nfsd.config import load_config
from nfsd.rpc.listeners import open_listeners
from nfsd.server import Server
from tests.style.graph import LAYERS, ROOT, graph, layer_of
from tests.support import operations as ops
from tests.support.client import Connection, mount

DESIGN = ROOT / "docs/design.md"
# What everybody uses; arrows to these would hide the others.
COMMON = frozenset({"log", "errors", "config", "counters"})
EDGE = "nfsd"


def room_edges() -> dict[str, set[str]]:
    """Each room of nfsd, and xdr and statestore, with the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for module, others in graph("nfsd", "statestore", "xdr").items():
        room = room_of(module)
        found.setdefault(room, set()).update(room_of(other) for other in others)
        found[room].discard(room)
    return found


def room_of(module: str) -> str:
    """nfsd.ops.open -> ops; statestore.filter -> statestore."""
    return layer_of(module) or EDGE if module.split(".")[0] == "nfsd" else module.split(".")[0]


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without arrows that other arrows say already: a -> c where a -> b -> c."""
    below: dict[str, set[str]] = {}

    def all_below(room: str) -> set[str]:
        if room not in below:
            below[room] = set().union(*({other} | all_below(other) for other in edges.get(room, ())))
        return below[room]

    return {room: {o for o in others if not any(o in all_below(p) for p in others)} for room, others in edges.items()}


def rooms() -> str:
    """The picture of the rooms, from the top down."""
    edges = {room: others - COMMON for room, others in room_edges().items() if room not in COMMON | {EDGE}}
    lines = ["```mermaid", "flowchart TD"]
    for names in reversed(LAYERS):
        lines += [f"    {name}[{name}]" for name in names if name in edges]
    lines += ["    statestore[(statestore)]", "    xdr[/xdr/]"]
    for room, others in sorted(reduced(edges).items()):
        lines += [f"    {room} --> {other}" for other in sorted(others)]
    return "\n".join([*lines, "```"])


# Everybody's helpers: what they are asked says nothing about a request's way.
HIDDEN = ("log.py", "errors.py", "counters.py")
# What the event loop does once a second besides.
PERIODIC = frozenset({"Server._reap", "Connections._sweep_on"})


class Tracer:
    """Notes each file of the rooms that is called into, with who did it first and the function that was called."""

    def __init__(self) -> None:
        self.visited: dict[str, tuple[str, str]] = {}

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """What sys.setprofile wants."""
        visited = file_of(frame)
        if event != "call" or visited is None or visited in HIDDEN or visited in self.visited:
            return
        above: FrameType | None = frame
        while above is not None:
            if above.f_code.co_qualname in PERIODIC:
                return
            above = above.f_back
        above = frame.f_back
        while above is not None and file_of(above) in (None, visited, *HIDDEN):
            above = above.f_back
        caller = file_of(above) if above is not None else None
        self.visited[visited] = caller or "the event loop", frame.f_code.co_qualname.replace(".<locals>.<lambda>", "")


def file_of(frame: FrameType) -> str | None:
    """The file of a frame below its room's folder; None outside the rooms."""
    try:
        path = Path(frame.f_code.co_filename).relative_to(ROOT)
    except ValueError:
        return None
    if path.parts[0] == "nfsd":
        return "/".join(path.parts[1:])
    return "/".join(path.parts) if path.parts[0] in ("statestore", "xdr") else None


async def traced(path: Path) -> Tracer:
    """What a server does when a client that has been there for a while creates a file."""
    (path / "export").mkdir()
    config = load_config(
        options={"state": (str(path / "state"),) * 2, "listen": ("127.0.0.1:0",) * 2},
        exports=[f"{path}/export=/export,rw,insecure,no_root_squash"],
    )
    server = Server(config, listeners=(listeners := open_listeners("127.0.0.1", 0)))
    await server.start()
    port = listeners[0].getsockname()[1]
    session = await asyncio.to_thread(lambda: mount(Connection(port)))
    create = (ops.putfh(session.directory), ops.open_(b"first", how=ops.unchecked()), ops.getfh())
    again = (ops.putfh(session.directory), ops.open_(b"second", how=ops.unchecked()), ops.getfh())
    await asyncio.to_thread(lambda: session.ok(*create))
    tracer = Tracer()
    sys.setprofile(tracer)
    try:
        await asyncio.to_thread(lambda: session.ok(*again))
    finally:
        sys.setprofile(None)
    await server.stop()
    return tracer


def way() -> str:
    """One request's way as a table, in the order of the calls."""
    with tempfile.TemporaryDirectory() as directory:
        tracer = asyncio.run(traced(Path(directory)))
    lines = ["| | file | called by | for |", "|---:|---|---|---|"]
    for number, (visited, (caller, name)) in enumerate(tracer.visited.items(), 1):
        lines.append(f"| {number} | {visited} | {caller} | `{name}` |")
    return "\n".join(lines)


PICTURES = {"rooms": rooms, "way": way}


def drawn(text: str) -> str:
    """The document with every picture in its place.  Raises ValueError where a place is missing."""
    for name, draw in PICTURES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise ValueError(f"no place for {name}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{draw()}\n\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Write the pictures, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    logging.configure(node="", level="error")
    before = DESIGN.read_text(encoding="utf-8")
    after = drawn(before)
    if given.check:
        return before != after
    DESIGN.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
