"""The house style, as far as a machine can see it: sizes, words, docstrings, fresh generated code.

Must not import the rooms: it reads their source, so that a broken room still has its style checked.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("xdr", "statestore", "nfsd")
FILE_LINES_MAX = 600
COMPOSITION_LINES_MAX = 200
FUNCTION_LINES_MAX = 70

# Put together here, so that this file does not hold what it looks for.
_MARKER_WORDS = ("FIX" + "ME", "TO" + "DO", "X" + "XX", "ST" + "UB", "HA" + "CK")
MARKERS = re.compile(r"\b(" + "|".join(_MARKER_WORDS) + r")\b")
# The wire's nouns; a word that both worlds share (open, slot, range) is not among them.
WIRE_WORDS = re.compile(
    r"\b(nfs\w*|rpc\w*|xdr\w*|stateids?|clientids?|sessionids?|seqids?|slotids?|compounds?|delegations?|"
    r"filehandles?|lock_?owners?|open_?owners?|fattr\w*|4\.[012])\b",
    re.IGNORECASE,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_generated(file: Path) -> bool:
    """Whether a compiler wrote the file."""
    return "generated" in file.relative_to(ROOT).parts


def sources(*folders: str) -> list[Path]:
    """Every Python file of ours below the folders, generated ones left out."""
    found = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return sorted(file for file in found if not is_generated(file))


@cache
def tree_of(file: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def name_of(file: Path) -> str:
    """The file's path from the top, for a test's name and a message."""
    return str(file.relative_to(ROOT))


def functions(file: Path) -> Iterator[Function]:
    """Every function of the file, inner ones too."""
    return (node for node in ast.walk(tree_of(file)) if isinstance(node, Function))


ALL_SOURCES = sources(*ROOMS, "tests")
ROOM_SOURCES = sources(*ROOMS)


def lines_of(file: Path) -> list[str]:
    """The file's lines."""
    return file.read_text(encoding="utf-8").splitlines()


def test_file_size() -> None:
    """A file has 600 lines at most."""
    sizes = {name_of(file): len(lines_of(file)) for file in ALL_SOURCES}
    long = [f"{name} ({size})" for name, size in sizes.items() if size > FILE_LINES_MAX]
    assert not long, f"split {', '.join(long)}"


def test_composition_root_size() -> None:
    """nfsd/server.py puts parts together and does nothing else."""
    assert len((ROOT / "nfsd/server.py").read_text(encoding="utf-8").splitlines()) <= COMPOSITION_LINES_MAX


def test_function_size() -> None:
    """A function has 70 lines at most."""
    long = [
        f"{name_of(file)}:{function.lineno} {function.name}"
        for file in ALL_SOURCES
        for function in functions(file)
        if (function.end_lineno or function.lineno) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long, f"split {', '.join(long)}"


def test_module_docstring() -> None:
    """A module says what it owns; an empty file has nothing to say."""
    silent = [name_of(file) for file in ALL_SOURCES if tree_of(file).body and not ast.get_docstring(tree_of(file))]
    assert not silent, f"no docstring: {', '.join(silent)}"


def text_files() -> list[Path]:
    """Every text of ours: sources, documents, build files."""
    names = [ROOT / name for name in ("README.md", "Makefile", "setup.cfg", "pyproject.toml", ".ci/run")]
    for folder in (*ROOMS, "tests", "docs", "vagrant"):
        for pattern in ("*.py", "*.md", "*.x", "*.sh", "*.c", "*.toml"):
            names.extend((ROOT / folder).rglob(pattern))
    return sorted(file for file in names if file.is_file() and not is_generated(file))


def words_found(files: list[Path], pattern: re.Pattern[str]) -> list[str]:
    """Where a word stands that should not."""
    return [
        f"{name_of(file)}:{number} {word.group()}"
        for file in files
        for number, line in enumerate(lines_of(file), start=1)
        if (word := pattern.search(line))
    ]


def test_no_marker_words() -> None:
    """What is unfinished is an issue, not a word in a file."""
    found = words_found(text_files(), MARKERS)
    assert not found, f"marker words: {', '.join(found)}"


def test_statestore_words() -> None:
    """The state store has neutral nouns only, in its comments too."""
    found = words_found(sources("statestore"), WIRE_WORDS)
    assert not found, f"words of the wire: {', '.join(found)}"


def silent_handlers(file: Path) -> list[str]:
    """Handlers that catch everything and do nothing."""
    found = []
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        catches_all = node.type is None or (
            isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
        )
        if catches_all and all(isinstance(line, ast.Pass | ast.Continue) for line in node.body):
            found.append(f"{name_of(file)}:{node.lineno}")
    return found


def test_no_silent_except() -> None:
    """No handler hides every error."""
    assert not [place for file in ALL_SOURCES for place in silent_handlers(file)]


def sleeps(file: Path) -> list[str]:
    """Calls that let time pass: sleep, unless it only lets others run, and a select of nothing."""
    found = []
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        given = [ast.unparse(argument) for argument in node.args]
        if (name == "sleep" and given != ["0"]) or (name == "select" and given[:3] == ["[]"] * 3):
            found.append(f"{name_of(file)}:{node.lineno}")
    return found


def test_no_sleep() -> None:
    """No test waits by sleeping: tests.support.waiting waits, and lets time pass where time is what is tested."""
    found = [place for file in sources("tests", "vagrant") if not may_sleep(file) for place in sleeps(file)]
    assert not found, f"use tests.support.waiting: {', '.join(found)}"


def may_sleep(file: Path) -> bool:
    """The helper itself, and the work of clients, which is paced and runs where nothing else of ours is."""
    return name_of(file) in ("tests/support/waiting.py", "vagrant/failover/load.py") or (
        name_of(file).startswith("tests/kernel/workloads/")
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("time.sleep(1)", 1),
        ("from time import sleep\nsleep(x)", 1),
        ("asyncio.sleep(0.1)", 1),
        ("asyncio.sleep(0)", 0),
        ("select.select([], [], [], 1)", 1),
        ("select.select([a], [], [], 1)", 0),
    ],
)
def test_no_sleep_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, count: int) -> None:
    """Each way to let time pass is found, and nothing else."""
    file = tmp_path / "file.py"
    file.write_text(text)
    monkeypatch.setattr(sys.modules[__name__], "name_of", str)
    assert len(sleeps(file)) == count


def is_overload(function: Function) -> bool:
    """Whether the function only repeats what stands elsewhere, or is a protocol's plain attribute."""
    names = [ast.unparse(decorator) for decorator in function.decorator_list]
    is_attribute = "property" in names and ast.unparse(function.body[-1]) == "..."
    return is_attribute or any(name.endswith(("overload", ".setter", "override")) for name in names)


def public_without_docstring(file: Path, promised: frozenset[str]) -> Iterator[str]:
    """Public functions, classes and methods that do not say what they promise.

    A method may leave that to the protocol or base class that has its name in `promised`.
    """
    for node in tree_of(file).body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{name_of(file)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                wanted = isinstance(method, Function) and not method.name.startswith("_")
                if not isinstance(method, Function) or not wanted or is_overload(method):
                    continue
                if not ast.get_docstring(method) and method.name not in promised:
                    yield f"{name_of(file)}:{method.lineno} {node.name}.{method.name}"


@cache
def promised_methods() -> frozenset[str]:
    """Names of methods that some class documents and others implement."""
    documented: set[str] = set()
    for file in ROOM_SOURCES:
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ClassDef):
                methods = (item for item in node.body if isinstance(item, Function))
                documented.update(method.name for method in methods if ast.get_docstring(method))
    return frozenset(documented)


def test_public_docstrings() -> None:
    """Every public function of a room says what it promises."""
    promised = promised_methods()
    missing = [place for file in ROOM_SOURCES for place in public_without_docstring(file, promised)]
    assert not missing, f"no docstring: {', '.join(missing)}"


# A docstring that begins so wants the one above it to be read first.
LEANING = re.compile(r"(The same\b|It |Its |As in\b|So is\b|So many\b|Likewise|Ditto|Those of them\b)")


def leaning_docstrings(file: Path) -> Iterator[str]:
    """Places of docstrings that cannot stand alone."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and LEANING.match(ast.get_docstring(node) or ""):
            yield f"{name_of(file)}:{getattr(node, 'lineno', 1)}"


def test_docstrings_stand_alone() -> None:
    """No docstring needs its neighbour to be understood."""
    found = [place for file in ALL_SOURCES for place in leaning_docstrings(file)]
    assert not found, ", ".join(found)


def test_generated_code_fresh() -> None:
    """The committed generated modules are what the compiler makes of the descriptions."""
    run = subprocess.run(
        [sys.executable, "-m", "xdr.compiler", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_top_level_files() -> None:
    """The top has only what tools look for there, and the README."""
    allowed = {
        ".ci",
        ".git",
        ".gitignore",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "docs",
        "nfsd",
        "pyproject.toml",
        "setup.cfg",
        "statestore",
        "tests",
        "vagrant",
        "xdr",
    }
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = {name.partition("/")[0] for name in tracked.split("\0") if name}
    assert found <= allowed
