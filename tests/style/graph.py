"""The imports of the rooms, as their source has them, and the layers that they keep to.

Owns LAYERS.  Must not import the rooms: it reads their source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# From the bottom up. A module may import its own layer and those below, in its annotations too; never upward.
LAYERS: list[tuple[str, ...]] = [
    ("log", "config", "counters", "origins"),
    ("vfs",),
    ("apart",),
    ("errors", "exports", "durable"),
    ("rpc", "attributes"),
    ("state",),
    ("services",),
    ("ops",),
    ("compound",),
    ("resume",),
    ("admin",),
    ("server",),
    ("failover",),
    ("cli",),
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def module_of(file: Path) -> str:
    """The file's dotted name."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(body: list[ast.stmt], package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, those inside functions and those for annotations only too.

    What a module names in its annotations, it knows.
    """
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                    base = f"{start}.{base}".rstrip(".")
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


@cache
def imports_of(file: Path) -> list[tuple[int, str]]:
    """Every import of the file."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    module = module_of(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return list(imports_in(tree.body, package))


def files(room: str) -> list[Path]:
    """The room's Python files."""
    return sorted((ROOT / room).rglob("*.py"))


def layer_of(module: str) -> str:
    """The part of a dotted name that has a layer: nfsd.ops.open -> ops."""
    return module.split(".")[1] if module.count(".") else ""


def graph(*rooms: str) -> dict[str, set[str]]:
    """Every module of the rooms with the modules that it imports.

    A package's own module counts as the package: what it only hands on, its users import from there.
    """
    modules = {module_of(file): file for room in rooms for file in files(room)}
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        found[module] = {
            known
            for _line, name in imports_of(file)
            if (known := name if name in modules else name.rpartition(".")[0]) in modules and known != module
        }
    return found
