"""Writes the Python statements that decode one type.

This file owns the body of unpack methods. Runs of fixed-size fields, across nested structs, become one
struct.Struct.unpack_from; opaques are cut out in place; unions, arrays and lists are calls. Every count is
compared with the bytes that remain first. It MUST NOT know how packing works.

Locals of the generated code: b the buffer, p the position, end the end of the data, r the object to return.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from xdr.compiler.layout import (
    FORMAT_SIZES,
    Array,
    Bitmap,
    FixedOpaque,
    Layout,
    Linked,
    Opaque,
    Optional,
    Reference,
    Scalar,
    Type,
    Void,
)
from xdr.compiler.model import Struct, Union


def struct_format(formats: list[str]) -> str:
    """Join struct codes, counting repetitions: I I I 12s becomes 3I12s."""
    result = ""
    index = 0
    while index < len(formats):
        code = formats[index]
        count = 1
        while len(code) == 1 and index + count < len(formats) and formats[index + count] == code:
            count += 1
        result += f"{count}{code}" if count > 1 else code
        index += count
    return result


def opaque_format(size: int) -> str:
    """Return the struct code of a fixed opaque and its padding."""
    return f"{size}s{-size & 3}x" if size & 3 else f"{size}s"


class Decoder:
    """Collects the statements of one unpack method."""

    def __init__(self, layout: Layout, what: str, formats: Callable[[str], str]) -> None:
        self.lines: list[str] = []
        self._layout = layout
        self._what = what
        self._formats = formats
        self._run: list[tuple[str, str]] = []
        self._run_size = 0
        self._after_run: list[str] = []
        self._local = True  # p is the position
        self._stored = True  # self.position is the position
        self._variables = 0
        self._indent = ""

    def method(self, wire: Type) -> list[str]:
        """Return the statements of a method that decodes and returns one value."""
        if isinstance(wire, Reference) and isinstance(wire.definition, Union):
            self._union(wire.definition)
        else:
            expression = self.read(wire, "value")
            self._finish()
            self._line(f"return {expression}")
        return self._framed()

    def _framed(self) -> list[str]:
        body = "\n".join(self.lines)
        locals_used = (("b", "b = self._buf"), ("p", "p = self.position"), ("end", "end = self._end"))
        head = [text for name, text in locals_used if re.search(rf"\b{name}\b", body)]
        if "_u_" not in body and "_unpack_from" not in body:
            return head + self.lines
        error = f'raise truncated("{self._what}", self) from None'
        indented = ["    " + line for line in self.lines]
        return [*head, "try:", *indented, "except _struct_error:", "    " + error]

    def _line(self, text: str) -> None:
        self.lines.append(self._indent + text)

    def _later(self, text: str) -> None:
        if self._run:
            self._after_run.append(text)
        else:
            self._line(text)

    def _fresh(self, letter: str) -> str:
        self._variables += 1
        return f"{letter}{self._variables}"

    def _flush(self) -> None:
        if not self._local:
            self._line("p = self.position")
            self._local = True
        if self._run:
            reader = self._formats(struct_format([code for code, _ in self._run]))
            targets = ", ".join(name for _, name in self._run)
            self._line(f"({targets},) = _u_{reader}(b, p)" if len(self._run) == 1 else f"{targets} = _u_{reader}(b, p)")
            self._line(f"p += {self._run_size}")
            self._run, self._run_size, self._stored = [], 0, False
            for text in self._after_run:
                self._line(text)
            self._after_run = []

    def _store(self) -> None:
        """Make self.position right before a method is called; it is the position's only holder afterwards."""
        if self._run or not self._stored:
            self._flush()
            self._line("self.position = p")
        self._stored, self._local = True, False

    def _finish(self) -> None:
        if self._run or not self._stored:
            self._flush()
            self._line("self.position = p")
            self._stored = True

    def _take(self, code: str, size: int, letter: str = "v") -> str:
        name = self._fresh(letter)
        self._run.append((code, name))
        self._run_size += size
        return name

    def read(self, wire: Type, what: str) -> str:
        """Add the statements that decode one value; return the expression that holds it afterwards."""
        if isinstance(wire, Scalar):
            return self._scalar(wire)
        if isinstance(wire, FixedOpaque):
            return self._take(opaque_format(wire.size), (wire.size + 3) & ~3)
        if isinstance(wire, Opaque):
            return self._opaque(wire, what)
        if isinstance(wire, Array):
            return self._array(wire, what)
        if isinstance(wire, Reference) and isinstance(wire.definition, Struct):
            return self._struct(wire.definition)
        if isinstance(wire, Reference):
            return self._call(f"self.unpack_{wire.definition.name}()")
        if isinstance(wire, Bitmap):
            return self._call(f"self.unpack_bitmap({wire.words_max})")
        if isinstance(wire, Linked):
            return self._call(f"self.unpack_list(self.unpack_{wire.name})")
        if isinstance(wire, Optional):
            return self._call(f"self.unpack_{wire.name}() if self.unpack_bool() else None")
        assert isinstance(wire, Void)
        return "None"

    def _call(self, expression: str) -> str:
        self._store()
        name = self._fresh("v")
        self._line(f"{name} = {expression}")
        return name

    def _scalar(self, wire: Scalar) -> str:
        name = self._take(wire.format, FORMAT_SIZES[wire.format])
        if wire.check == "bool":
            self._after_run.append(f"if {name} > 1: raise bad_bool({name})")
            return f"{name} == 1"
        if wire.check:
            refuse = f'raise bad_enum("{wire.check}", {name})'
            self._after_run.append(f"if {name} not in {wire.check}_names: {refuse}")
        return name

    def _opaque(self, wire: Opaque, what: str) -> str:
        count = self._take("I", 4, "n")
        self._flush()
        value = self._fresh("v")
        limit = "" if wire.limit is None else f" or {count} > {wire.limit}"
        self._line(f"e = p + {count} + (-{count} & 3)")
        refuse = f'raise bad_length("{self._what}.{what}", {count}, end - p, {wire.limit})'
        self._line(f"if e > end{limit}: {refuse}")
        if wire.view:
            self._line(f"{value} = memoryview(b)[p:p + {count}]")
        else:
            self._line(f"{value} = b[p:p + {count}]")
            self._line(f"if {value}.__class__ is not bytes: {value} = bytes({value})")
        self._line("p = e")
        self._stored = False
        return value

    def _array(self, wire: Array, what: str) -> str:
        element = wire.element
        if wire.size is None:
            count = self._take("I", 4, "n")
        else:
            count = str(wire.size)
        self._flush()
        limit = "" if wire.limit is None else f" or {count} > {wire.limit}"
        size = self._layout.size_min(element)
        self._line(
            f"if {count} * {size} > end - p{limit}: "
            f'raise bad_length("{self._what}.{what}", {count}, end - p, {wire.limit})'
        )
        if not isinstance(element, Scalar):
            self._store()
            self._line(f"f = self.unpack_{wire.name}")
            return self._call(f"[f() for _ in range({count})]")
        value = self._fresh("v")
        self._line(f'{value} = list(_unpack_from(f">{{{count}}}{element.format}", b, p))')
        self._line(f"p += {count} * {size}")
        self._stored = False
        if element.check:
            self._check_elements(element, value)
        return value

    def _check_elements(self, element: Scalar, value: str) -> None:
        self._line(f"for x in {value}:")
        if element.check == "bool":
            self._line("    if x > 1: raise bad_bool(x)")
            self._line(f"{value} = [x == 1 for x in {value}]")
        else:
            self._line(f'    if x not in {element.check}_names: raise bad_enum("{element.check}", x)')

    def _struct(self, struct: Struct) -> str:
        values = [(name, self.read(wire, name)) for name, wire in self._layout.fields(struct)]
        result = self._fresh("r")
        self._later(f"{result} = _new({struct.name})")
        for name, expression in values:
            self._later(f"{result}.{name} = {expression}")
        return result

    def _union(self, union: Union) -> None:
        wire = self._layout.type_of(union.discriminant)
        assert isinstance(wire, Scalar)
        tag = self._take(wire.format, 4, "d")
        self._flush()
        self._finish()
        self._line(f"r = _new({union.name})")
        if wire.check == "bool":
            self._line(f"if {tag} > 1: raise bad_bool({tag})")
        self._line(f"r.{union.discriminant.name} = {tag}" + (" == 1" if wire.check == "bool" else ""))
        names = list(self._layout.arms(union))
        if names:
            self._line(" = ".join(f"r.{name}" for name in names) + " = None")
        keyword = "if"
        for arm in union.arms:
            test = f"{tag} == {arm.values[0]}" if len(arm.values) == 1 else f"{tag} in {arm.values}"
            self._line(f"{keyword} {test}:")
            self._arm(arm.declaration.name, self._layout.type_of(arm.declaration))
            keyword = "elif"
        self._union_default(union, wire, tag)
        self._line("return r")

    def _union_default(self, union: Union, wire: Scalar, tag: str) -> None:
        refuse = f'    raise bad_enum("{union.name}", {tag})'
        if union.default is None:
            if wire.check != "bool" or len({v for arm in union.arms for v in arm.values}) < 2:
                self._line("else:")
                self._line(refuse)
            return
        if wire.check not in ("", "bool"):
            self._line(f"elif {tag} not in {wire.check}_names:")
            self._line(refuse)
        carried = self._layout.type_of(union.default)
        if not isinstance(carried, Void):
            self._line("else:")
            self._arm(union.default.name, carried)

    def _arm(self, name: str, wire: Type) -> None:
        self._indent += "    "
        self._local = self._stored = True
        if isinstance(wire, Void):
            self._line("pass")
        else:
            expression = self.read(wire, name)
            self._finish()
            self._line(f"r.{name} = {expression}")
        self._indent = self._indent[:-4]
