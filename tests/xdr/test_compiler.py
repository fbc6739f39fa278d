"""The compiler: what it accepts, what it refuses and where it says so, and that its output is committed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xdr.compiler.__main__ as command
from xdr.codec import XdrError
from xdr.compiler.emitter import emit
from xdr.compiler.lexer import DescriptionError
from xdr.compiler.parser import Parser

ROOM = Path(command.__file__).resolve().parents[1]


def compiled(text: str) -> dict[str, Any]:
    """The namespace of the module that a description becomes."""
    namespace: dict[str, Any] = {"__name__": "compiled"}
    exec(compile(emit(Parser(text, "test.x").description(), "Test"), "test.py", "exec"), namespace)
    return namespace


def both_ways(module: dict[str, Any], name: str, value: object) -> bytes:
    """Pack a value, check that it is read back, return the bytes."""
    packer = module["TestPacker"]()
    getattr(packer, f"pack_{name}")(value)
    data: bytes = packer.get_buffer()
    source = module["TestUnpacker"](data)
    assert getattr(source, f"unpack_{name}")() == value
    source.done()
    return data


@pytest.fixture
def copied_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the descriptions and modules that may be spoilt."""
    for folder in ("x", "generated"):
        (tmp_path / folder).mkdir()
        for file in (ROOM / folder).glob("*.*"):
            (tmp_path / folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(command, "ROOM", tmp_path)
    yield tmp_path


def test_committed_modules_are_fresh() -> None:
    """`python -m xdr.compiler --check` passes on what is committed."""
    assert command.main(["--check"]) == 0


def test_check_finds_a_stale_module(copied_room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names the stale module, changes nothing, and a plain run repairs it."""
    target = copied_room / "generated" / "rpc.py"
    fresh = target.read_text(encoding="utf-8")
    target.write_text(fresh + "# edited\n", encoding="utf-8")
    assert command.main(["--check"]) == 1
    assert "stale: rpc.py" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8").endswith("# edited\n")
    assert command.main([]) == 0
    assert target.read_text(encoding="utf-8") == fresh
    assert command.main(["--check"]) == 0


def test_wrong_description(copied_room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A description that is wrong is named with its line, and exit code 1."""
    (copied_room / "x" / "rpc.x").write_text("const A = 1;\nstruct s { nothing a; };\n", encoding="utf-8")
    assert command.main([]) == 1
    assert "rpc.x:2: the type 'nothing' is not defined above" in capsys.readouterr().err


def test_every_kind_of_field() -> None:
    """Each form of declaration that RFC 4506 has becomes bytes and back."""
    module = compiled("""
        const TWO = 2;  // a comment to the end of the line
        enum colour { RED = 0x1, BLUE = -2 };
        typedef unsigned hyper wide;
        struct point { int x; unsigned y; };
        struct all {
            hyper a; wide b; float c; double d; bool e; colour f; point g;
            opaque h[3]; opaque i<5>; string j<>; int k<TWO>; bool l<>; colour m<>; hyper n[2];
            point o<>; point *p; point q[TWO];
        };
    """)
    point = module["point"]
    value = module["all"](
        -1,
        2**64 - 1,
        0.5,
        0.25,
        True,
        -2,
        point(-1, 1),
        b"abc",
        b"hello",
        b"s",
        [1, -2],
        [True, False],
        [1, -2],
        [5, -6],
        [point(0, 0)],
        point(3, 4),
        [point(5, 6), point(7, 8)],
    )
    assert both_ways(module, "all", value)[:16] == b"\xff" * 16
    value.p = None
    both_ways(module, "all", value)
    for field, wrong in (("h", b"ab"), ("i", b"123456"), ("k", [1, 2, 3]), ("n", [1]), ("q", [])):
        right = getattr(value, field)
        setattr(value, field, wrong)
        with pytest.raises(XdrError):
            both_ways(module, "all", value)
        setattr(value, field, right)


def test_union_forms() -> None:
    """Several labels, a default that carries something, boolean discriminants, no default."""
    module = compiled("""
        enum kind { A = 0, B = 1, C = 2, D = 3 };
        union u switch (kind k) { case A: case B: int number; case C: void; default: opaque rest<>; };
        union v switch (bool present) { case TRUE: hyper x; case FALSE: void; };
        union w switch (unsigned int n) { case 5: u inner; };
    """)
    u = module["u"]
    assert both_ways(module, "u", u(1, number=7)) == bytes.fromhex("00000001 00000007")
    assert both_ways(module, "u", u(2)) == bytes.fromhex("00000002")
    assert both_ways(module, "u", u(3, rest=b"ab")) == bytes.fromhex("00000003 00000002 61620000")
    assert both_ways(module, "v", module["v"](True, 1)) == bytes.fromhex("00000001 00000000 00000001")
    assert both_ways(module, "v", module["v"](False)) == bytes(4)
    both_ways(module, "w", module["w"](5, u(0, 1)))
    for name, word in (("u", 4), ("v", 2), ("w", 4)):
        with pytest.raises(XdrError):
            getattr(module["TestUnpacker"](word.to_bytes(4, "big") + bytes(20)), f"unpack_{name}")()


def test_linked_list() -> None:
    """A struct that ends in a pointer to its own kind is a node, and pointers to it are lists."""
    module = compiled("struct node { int n; node *next; }; struct head { node *nodes; int end; };")
    node = module["node"]
    assert node.__slots__ == ("n",)
    data = both_ways(module, "head", module["head"]([node(1), node(2)], 9))
    assert data == bytes.fromhex("00000001 00000001 00000001 00000002 00000000 00000009")


def test_pragmas() -> None:
    """%view, %open and %bitmap change the next declaration and no other."""
    module = compiled("""
        enum e { ONE = 1 };
        %bitmap
        typedef unsigned int bits<2>;
        struct s {
            %open
            e first;
            e second;
            %view
            opaque third<>;
            opaque fourth<>;
            bits fifth;
        };
    """)
    data = bytes.fromhex("00000009 00000001 00000001 61000000 00000000 00000000")
    value = module["TestUnpacker"](data).unpack_s()
    assert value == module["s"](9, 1, memoryview(b"a"), b"", 0)
    assert isinstance(value.third, memoryview)
    with pytest.raises(XdrError):
        module["TestUnpacker"](bytes.fromhex("00000001 00000009") + bytes(12)).unpack_s()


def test_program_numbers() -> None:
    """A program, its versions and procedures become constants."""
    module = compiled("program P { version V { void NULL(void) = 0; int F(unsigned int) = 1; } = 2; } = 300;")
    assert (module["P"], module["V"], module["NULL"], module["F"]) == (300, 2, 0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct s { int a }", "test.x:1: ';' expected"),
        ("struct s {\n  int 5;\n};", "test.x:2: a name expected"),
        ("const A = B;", "neither a number nor a constant"),
        ("const A = 1; const A = 2;", "defined twice"),
        ("struct s { int a; }; struct s { int a; };", "the type s is defined twice"),
        ("struct s { opaque a; };", "needs a length"),
        ("struct s { late a; }; struct late { int b; };", "'late' is not defined above"),
        ("struct s { late *a; int b; }; struct late { s *c; };", "'late' is not defined above"),
        ("union u switch (int a) { case 1: u *x; };", "'u' is not defined above"),
        ("struct s { s *a; int b; };", "only a last field may point to its own kind"),
        ("struct s { int class; };", "a keyword of Python"),
        ("struct s { };", "has no fields"),
        ("%faster\nstruct s { int a; };", "no such pragma: %faster"),
        ("%bitmap\ntypedef unsigned int b<33>;", "at most 32 words"),
        ("%bitmap\ntypedef unsigned int b[2];", "at most 32 words"),
        ("union u switch (int a) { case 1: int x; case 2: hyper x; };", "x has two types"),
        ("union u switch (int a) { int x; };", "'default' expected"),
        ("int x;", "a definition cannot start with 'int'"),
        ("const A = 1; @", "'@' starts no token"),
        ("struct s {", "'the end' found"),
        ("struct s { 5 a; };", "a type expected"),
    ],
)
def test_refused(text: str, message: str) -> None:
    """What is wrong in a description is said with its cause."""
    with pytest.raises(DescriptionError) as caught:
        emit(Parser(text, "test.x").description(), "Test")
    assert message in str(caught.value)


def imported(file: Path) -> set[str]:
    """The names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_imports_within_the_room() -> None:
    """Generated modules need the codec only; the codec needs nobody; the compiler no generated module."""
    for file in ROOM.rglob("*.py"):
        names = {name for name in imported(file) if name.startswith("xdr")}
        if file.parent.name == "generated":
            assert names <= {"xdr.codec"}, file
        elif file.parent.name == "compiler":
            assert not {name for name in names if name.startswith("xdr.generated")}, file
        else:
            assert not names, file
