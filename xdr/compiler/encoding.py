"""Writes the Python statements that encode one type.

This file owns the body of pack methods: the mirror of decoding.py. Runs of fixed-size fields become one
struct.Struct.pack; opaques are added to the packer's parts by reference. It MUST NOT know how decoding works.

Locals of the generated code: add appends a part, v is the value to pack.
"""

from __future__ import annotations

from collections.abc import Callable

from xdr.compiler.decoding import opaque_format, struct_format
from xdr.compiler.layout import (
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


class Encoder:
    """Collects the statements of one pack method."""

    def __init__(self, layout: Layout, what: str, formats: Callable[[str], str]) -> None:
        self.lines: list[str] = []
        self._layout = layout
        self._what = what
        self._formats = formats
        self._run: list[tuple[str, str]] = []
        self._variables = 0
        self._indent = ""

    def method(self, wire: Type) -> list[str]:
        """Return the statements of a method that packs its argument v."""
        if isinstance(wire, Reference) and isinstance(wire.definition, Union):
            self._union(wire.definition)
        else:
            self.write(wire, "v", "value")
            self._flush()
        body = "\n".join(self.lines)
        head = ["add = self._add"] if "add(" in body else []
        if "_p_" not in body and "_pack(" not in body:
            return head + (self.lines or ["pass"])
        error = f'raise unpackable("{self._what}", error) from None'
        return [
            *head,
            "try:",
            *("    " + line for line in self.lines),
            "except _struct_error as error:",
            "    " + error,
        ]

    def _line(self, text: str) -> None:
        self.lines.append(self._indent + text)

    def _fresh(self, letter: str) -> str:
        self._variables += 1
        return f"{letter}{self._variables}"

    def _local(self, letter: str, expression: str) -> str:
        """Keep an expression in a local variable, unless it is one."""
        if expression.isidentifier():
            return expression
        name = self._fresh(letter)
        self._line(f"{name} = {expression}")
        return name

    def _flush(self) -> None:
        if self._run:
            writer = self._formats(struct_format([code for code, _ in self._run]))
            self._line(f"add(_p_{writer}({', '.join(expression for _, expression in self._run)}))")
            self._run = []

    def write(self, wire: Type, expression: str, what: str) -> None:
        """Add the statements that pack the value of an expression."""
        if isinstance(wire, Scalar):
            value = f"1 if {expression} else 0" if wire.check == "bool" else expression
            self._run.append((wire.format, value))
        elif isinstance(wire, FixedOpaque):
            value = self._local("s", expression)
            self._line(
                f'if len({value}) != {wire.size}: raise bad_size("{self._what}.{what}", len({value}), {wire.size})'
            )
            self._run.append((opaque_format(wire.size), value))
        elif isinstance(wire, Opaque):
            self._opaque(wire, expression, what)
        elif isinstance(wire, Array):
            self._array(wire, expression, what)
        elif isinstance(wire, Reference) and isinstance(wire.definition, Struct):
            value = self._local("o", expression)
            for name, field in self._layout.fields(wire.definition):
                self.write(field, f"{value}.{name}", name)
        elif isinstance(wire, Reference):
            self._call(f"self.pack_{wire.definition.name}({expression})")
        elif isinstance(wire, Bitmap):
            self._call(f"self.pack_bitmap({expression}, {wire.words_max})")
        elif isinstance(wire, Linked):
            self._call(f"self.pack_list({expression}, self.pack_{wire.name})")
        elif isinstance(wire, Optional):
            self._optional(wire, expression)

    def _call(self, text: str) -> None:
        self._flush()
        self._line(text)

    def _limit(self, count: str, limit: int | None, what: str) -> None:
        if limit is not None:
            self._line(f'if {count} > {limit}: raise bad_size("{self._what}.{what}", {count}, {limit})')

    def _opaque(self, wire: Opaque, expression: str, what: str) -> None:
        value = self._local("s", expression)
        count = self._fresh("n")
        self._line(f"{count} = len({value})")
        self._limit(count, wire.limit, what)
        self._run.append(("I", count))
        self._flush()
        self._line(f"add({value})")
        self._line(f"if {count} & 3: add(PADDING[{count} & 3])")

    def _array(self, wire: Array, expression: str, what: str) -> None:
        value = self._local("s", expression)
        if wire.size is None:
            count = self._fresh("n")
            self._line(f"{count} = len({value})")
            self._limit(count, wire.limit, what)
            self._run.append(("I", count))
        else:
            count = str(wire.size)
            self._line(f'if len({value}) != {count}: raise bad_size("{self._what}.{what}", len({value}), {count})')
        self._flush()
        element = wire.element
        if isinstance(element, Scalar):
            items = f"(1 if x else 0 for x in {value})" if element.check == "bool" else value
            self._line(f'add(_pack(f">{{{count}}}{element.format}", *{items}))')
        else:
            self._line(f"for x in {value}: self.pack_{wire.name}(x)")

    def _optional(self, wire: Optional, expression: str) -> None:
        value = self._local("s", expression)
        self._call(f"self.pack_bool({value} is not None)")
        self._line(f"if {value} is not None: self.pack_{wire.name}({value})")

    def _union(self, union: Union) -> None:
        wire = self._layout.type_of(union.discriminant)
        assert isinstance(wire, Scalar)
        self._line(f"d = v.{union.discriminant.name}")
        keyword = "if"
        for arm in union.arms:
            test = f"d == {arm.values[0]}" if len(arm.values) == 1 else f"d in {arm.values}"
            self._line(f"{keyword} {test}:")
            self._arm(wire, arm.declaration.name, self._layout.type_of(arm.declaration))
            keyword = "elif"
        self._line("else:")
        if union.default is None:
            self._line(f'    raise bad_enum("{union.name}", d)')
        else:
            self._arm(wire, union.default.name, self._layout.type_of(union.default))

    def _arm(self, tag: Scalar, name: str, wire: Type) -> None:
        self._indent += "    "
        self.write(tag, "d", "discriminant")
        if not isinstance(wire, Void):
            self.write(wire, f"v.{name}", name)
        self._flush()
        self._indent = self._indent[:-4]
