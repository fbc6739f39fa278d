"""The room knows no protocol and no other room, and its engine in one file."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / "statestore"
FILES = sorted(ROOM.rglob("*.py"))
WIRE_WORDS = re.compile(
    r"nfs|rpc|xdr|state_?id|client_?id|session|delegation|seq_?id|file_?handle|verifier|compound",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_word_of_a_protocol(path: Path) -> None:
    """Neutral nouns only, in code and comments."""
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if WIRE_WORDS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports(path: Path) -> None:
    """The standard library and this room; the engine in lmdbstore.py only."""
    allowed = set(sys.stdlib_module_names) | {"statestore"}
    if path.name == "lmdbstore.py":
        allowed.add("lmdb")
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            imported.add(node.module.split(".")[0])
    assert imported <= allowed
    assert len(path.read_text().splitlines()) <= 600


def test_room_is_there() -> None:
    """The checks above looked at something."""
    assert len(FILES) > 10
