"""Who may import whom: the rooms, and the layers inside nfsd.

Must not import the rooms: it reads their source. A layer that is not written yet is simply not there.
"""

from __future__ import annotations

import sys

import pytest

from tests.style.graph import LAYERS, RANKS, files, graph, imports_of, layer_of, module_of

STANDARD = sys.stdlib_module_names

ROOT_OF_COMPOSITION = "nfsd.server"
ENGINE_FILES_MAX = 1


def outside(room: str, allowed: frozenset[str]) -> list[str]:
    """Imports of a room that are neither its own, nor the standard library's, nor allowed."""
    return [
        f"{module_of(file)}:{line} imports {name}"
        for file in files(room)
        for line, name in imports_of(file)
        if (top := name.partition(".")[0]) != room and top not in STANDARD and top not in allowed
    ]


def test_xdr_imports() -> None:
    """xdr imports the standard library and xdrlib3."""
    assert not outside("xdr", frozenset({"xdrlib3"}))


def test_statestore_imports() -> None:
    """statestore imports the standard library and its engine, the engine in one file."""
    assert not outside("statestore", frozenset({"lmdb"}))
    users = {
        module_of(file)
        for file in files("statestore")
        for _, name in imports_of(file)
        if name.partition(".")[0] == "lmdb"
    }
    assert len(users) <= ENGINE_FILES_MAX, f"the engine is imported by {', '.join(sorted(users))}"


def test_nfsd_imports() -> None:
    """nfsd imports the other rooms and the libraries that docs/dependencies.md names."""
    libraries = frozenset({"click", "greenlet", "prometheus_client", "structlog", "tabulate"})
    assert not outside("nfsd", libraries | {"xdr", "statestore"})


def test_nfsd_libraries_in_their_place() -> None:
    """Each library has one home, so that it can be replaced there."""
    homes = {
        "click": "nfsd.cli",
        "greenlet": "nfsd.apart.tasks",
        "tabulate": "nfsd.cli.show",
        "structlog": "nfsd.log",
        "prometheus_client": "nfsd.admin.metrics",
    }
    strays = [
        f"{module_of(file)}:{line} imports {name}"
        for file in files("nfsd")
        for line, name in imports_of(file)
        if (home := homes.get(name.partition(".")[0])) and not module_of(file).startswith(home)
    ]
    assert not strays


def test_nfsd_every_module_has_a_layer() -> None:
    """A new module says where it stands."""
    unknown = {layer_of(module_of(file)) for file in files("nfsd")} - set(RANKS) - {""}
    assert not unknown, f"give {', '.join(sorted(unknown))} a layer in LAYERS"


def test_nfsd_never_upward() -> None:
    """cli -> failover, server -> admin -> resume -> compound -> ops -> state -> rpc, exports -> vfs; never upward."""
    upward = [
        f"{module_of(file)}:{line} imports {name}"
        for file in files("nfsd")
        for line, name in imports_of(file)
        if name.startswith("nfsd.") and RANKS.get(layer_of(name), 0) > RANKS.get(layer_of(module_of(file)), len(LAYERS))
    ]
    assert not upward, "\n".join(upward)


SHALLOW = {
    # Rooms' cores that a simulation must be able to run: no sockets, threads, clocks or randomness.
    "nfsd/state": frozenset({"socket", "threading", "asyncio", "random", "secrets", "time"}),
    "nfsd/ops": frozenset({"socket", "threading", "asyncio", "random", "secrets", "time"}),
    "nfsd/attributes": frozenset({"socket", "threading", "asyncio", "random", "secrets", "time"}),
    "xdr": frozenset({"socket", "threading", "asyncio", "random", "secrets", "time"}),
}


@pytest.mark.parametrize("folder", SHALLOW)
def test_core_has_no_edge(folder: str) -> None:
    """Clocks, randomness, sockets and threads are the edge's, and injected."""
    found = [
        f"{module_of(file)}:{line} imports {name}"
        for file in files(folder)
        for line, name in imports_of(file)
        if name.partition(".")[0] in SHALLOW[folder]
    ]
    assert not found


def test_nobody_knows_the_server() -> None:
    """Only the command line makes one: whatever the server is made of does without it."""
    knows = {
        module_of(file)
        for file in files("nfsd")
        for _line, name in imports_of(file)
        if name == ROOT_OF_COMPOSITION or name.startswith(f"{ROOT_OF_COMPOSITION}.")
    }
    assert knows <= {"nfsd.cli.serve"}


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that import each other, by way of any number of others (Tarjan's algorithm)."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lows[module] = len(numbers)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in numbers:
                visit(other)
                lows[module] = min(lows[module], lows[other])
            elif other in stack:
                lows[module] = min(lows[module], numbers[other])
        if lows[module] == numbers[module]:
            at = stack.index(module)
            together = set(stack[at:])
            del stack[at:]
            if len(together) > 1:
                found.append(together)

    for module in sorted(edges):
        if module not in numbers:
            visit(module)
    return found


def test_no_circles() -> None:
    """No module imports itself by way of others, annotations included."""
    found = circles(graph("xdr", "statestore", "nfsd"))
    assert not found, "\n".join(", ".join(sorted(circle)) for circle in found)


def test_circles_are_found() -> None:
    """A circle of two, one of three, and a chain that is none."""
    edges = {"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"e"}, "e": {"c", "f"}, "f": {"a"}}
    assert sorted(map(sorted, circles(edges))) == [["a", "b"], ["c", "d", "e"]]
