"""System calls on files are made in nfsd/vfs alone: what is above it knows nodes.

Must not import the rooms: it reads their source.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABOVE = ("nfsd/ops", "nfsd/compound", "nfsd/compound.py", "nfsd/state", "nfsd/attributes", "nfsd/exports")
FORBIDDEN_MODULES = frozenset({"ctypes", "fcntl", "glob", "mmap", "shutil", "tempfile"})
# Numbers, records and what is known without asking about any file.
HARMLESS = frozenset({
    "fsdecode", "fsencode", "geteuid", "major", "makedev", "minor", "stat_result", "statvfs_result", "strerror",
})  # fmt: skip


def sources() -> list[Path]:
    """Every Python file above the file systems."""
    found = [ROOT / name for name in ABOVE]
    return sorted(file for path in found for file in ([path] if path.is_file() else path.rglob("*.py")))


def is_harmless(name: str) -> bool:
    """Whether a name of the os module is a constant, or known to touch no file."""
    return name in HARMLESS or isinstance(getattr(os, name), int)


def calls_in(text: str) -> Iterator[str]:
    """Where a source touches files: line and name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in FORBIDDEN_MODULES or alias.name == "os.path":
                    yield f"{node.lineno} imports {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").partition(".")[0]
            if module in FORBIDDEN_MODULES or (module == "os" and not node.level):
                yield f"{node.lineno} imports from {node.module}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if not is_harmless(node.attr):
                yield f"{node.lineno} uses os.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield f"{node.lineno} calls open()"


def test_no_system_calls_above_the_file_systems() -> None:
    """Operations, compounds, state, attributes and exports make no system call on any file."""
    files = sources()
    assert len(files) > 30
    found = [f"{file.relative_to(ROOT)}:{place}" for file in files for place in calls_in(file.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    ["os.pread(fd, 1, 0)", "import fcntl", "from ctypes import CDLL", "from os import stat", "os.path.exists(p)",
     "f = os.fstat", "open(p)", "import os.path"],
)  # fmt: skip
def test_system_calls_are_seen(text: str) -> None:
    """Each way to touch a file is noticed."""
    assert list(calls_in(text))


def test_harmless_names_are_not_seen() -> None:
    """Constants and records of the os module are everybody's."""
    assert not list(calls_in("os.R_OK | os.XATTR_CREATE\nos.makedev(1, 2)\nst: os.stat_result"))
