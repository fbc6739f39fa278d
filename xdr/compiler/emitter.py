"""Writes the Python module of one interface description.

This file owns the outline of a generated module: constants, name tables, classes, packer and unpacker with
a method for every type. The bodies of methods come from decoding.py and encoding.py. It MUST NOT parse
descriptions.
"""

from __future__ import annotations

import keyword

from xdr.compiler.decoding import Decoder
from xdr.compiler.encoding import Encoder
from xdr.compiler.layout import Layout, Reference, Scalar, Type, Void
from xdr.compiler.lexer import DescriptionError
from xdr.compiler.model import Declaration, Description, Enum, Struct, Union

# Unions with more labels than this are decoded through a table instead of a chain of comparisons.
CHAINED_LABELS_MAX = 16

_IMPORTS = """\
# ruff: noqa
# mypy: ignore-errors
from __future__ import annotations

import struct as _struct
from typing import Any as _Any, TypeAlias as _TypeAlias

from xdr.codec import (
    PADDING, Packer, Unpacker, XdrError, XdrValue, XdrWideUnion, bad_bool, bad_enum, bad_length, bad_size,
    truncated, unpackable,
)

_new = object.__new__
_pack = _struct.pack
_unpack_from = _struct.unpack_from
_struct_error = _struct.error
"""


def emit(description: Description, prefix: str) -> str:
    """Return the module's text; prefix begins the names of its packer and unpacker (Nfs4 -> Nfs4Packer)."""
    return Emitter(description, prefix).module()


class Emitter:
    """Builds the text of one module."""

    def __init__(self, description: Description, prefix: str) -> None:
        self._description = description
        self._prefix = prefix
        self._layout = Layout(description)
        self._formats: dict[str, None] = {}

    def module(self) -> str:
        """Return the whole text."""
        origin = self._description.origin
        packer = self._methods("Packer", self._pack_method)
        unpacker = self._methods("Unpacker", self._unpack_method)
        parts = [
            f'"""Generated from xdr/x/{origin} by `python -m xdr.compiler`: do not edit.\n\n'
            "Every constant is an int; every struct and union a class with the description's field names;\n"
            'opaques and strings are bytes, bitmaps are ints. Pack and unpack methods raise XdrError.\n"""\n',
            _IMPORTS,
            self._constants(),
            self._name_tables(),
            *self._classes(),
            self._format_lines(),
            packer,
            unpacker,
            self._tables(),
        ]
        return "\n".join(part for part in parts if part)

    def _constants(self) -> str:
        return "".join(f"{name} = {value}\n" for name, value in self._description.constants.items())

    def _name_tables(self) -> str:
        lines = []
        for definition in self._description.definitions.values():
            if isinstance(definition, Enum):
                lines.append(f"{definition.name}_names: dict[int, str] = {{")
                lines += [f'    {name}: "{name}",' for name, _ in definition.members]
                lines += ["}", f"{definition.name}: _TypeAlias = int", ""]
        return "\n".join(lines)

    def _classes(self) -> list[str]:
        result = []
        for definition in self._description.definitions.values():
            if isinstance(definition, Struct):
                fields = [(name, wire.python, "") for name, wire in self._layout.fields(definition)]
                result.append(self._class(definition.name, fields))
            elif isinstance(definition, Union) and self._is_wide(definition):
                result.append(self._wide_class(definition))
            elif isinstance(definition, Union):
                tag = self._layout.type_of(definition.discriminant)
                fields = [(definition.discriminant.name, tag.python, "")]
                for name, wire in self._layout.arms(definition).items():
                    hint = wire.python if wire.python.endswith("| None") else f"{wire.python} | None"
                    fields.append((name, hint, " = None"))
                result.append(self._class(definition.name, fields))
            elif isinstance(definition, Declaration):
                python = self._layout.type_of(definition).python
                result.append(f"{definition.name}: _TypeAlias = {python}\n")
        return result

    def _class(self, name: str, fields: list[tuple[str, str, str]]) -> str:
        if not fields:
            raise DescriptionError(f"{self._description.origin}: {name} has no fields")
        for field, _, _ in fields:
            if keyword.iskeyword(field):
                raise DescriptionError(f"{self._description.origin}: {name}.{field} is a keyword of Python")
        slots = "".join(f'"{field}", ' for field, _, _ in fields).rstrip()
        arguments = ", ".join(f"{field}: {hint}{default}" for field, hint, default in fields)
        lines = [f"class {name}(XdrValue):", f"    __slots__ = ({slots})"]
        lines += [f"    {field}: {hint}" for field, hint, _ in fields]
        lines.append(f"    def __init__(self, {arguments}) -> None:")
        lines += [f"        self.{field} = {field}" for field, _, _ in fields]
        return "\n".join(lines) + "\n"

    def _is_wide(self, union: Union) -> bool:
        return sum(len(arm.values) for arm in union.arms) > CHAINED_LABELS_MAX

    def _wide_class(self, union: Union) -> str:
        tag = union.discriminant.name
        lines = [
            f"class {union.name}(XdrWideUnion):",
            f'    __slots__ = ("{tag}", "arm")',
            f"    {tag}: int",
            "    arm: _Any",
            "    _arms = {",
        ]
        for arm in union.arms:
            name = f'"{arm.declaration.name}"' if arm.declaration.name else "None"
            lines += [f"        {label}: {name}," for label in arm.labels]
        lines += [
            "    }",
            "    _names = frozenset(name for name in _arms.values() if name is not None)",
            f"    def __init__(self, {tag}: int, arm: _Any = None, **named: _Any) -> None:",
            f"        super().__init__({tag}, arm, **named)",
        ]
        return "\n".join(lines) + "\n"

    def _format(self, code: str) -> str:
        self._formats[code] = None
        return code

    def _format_lines(self) -> str:
        lines = []
        for code in sorted(self._formats):
            lines.append(f'_u_{code} = (_s := _struct.Struct(">{code}")).unpack_from')
            lines.append(f"_p_{code} = _s.pack")
        return "\n".join(lines) + "\n"

    def _methods(self, base: str, method: object) -> str:
        lines = [f"class {self._prefix}{base}({base}):", "    __slots__ = ()"]
        for definition in self._description.definitions.values():
            lines += ["    " + line if line else "" for line in method(definition)]  # type: ignore[operator]
        return "\n".join(lines) + "\n"

    def _wire(self, definition: Enum | Struct | Union | Declaration) -> Type:
        if isinstance(definition, Enum):
            return Scalar("i", "int", definition.name)
        if isinstance(definition, Declaration):
            return self._layout.type_of(definition)
        return Reference(definition)

    def _alias(self, definition: Enum | Struct | Union | Declaration, verb: str) -> list[str]:
        """Return the line that lets a typedef of another named type share that type's method."""
        if isinstance(definition, Declaration) and definition.form == "plain":
            if definition.type in self._description.definitions:
                return [f"{verb}_{definition.name} = {verb}_{definition.type}"]
        return []

    def _pack_method(self, definition: Enum | Struct | Union | Declaration) -> list[str]:
        if alias := self._alias(definition, "pack"):
            return alias
        wire = self._wire(definition)
        head = f"def pack_{definition.name}(self, v: {wire.python}) -> None:"
        if isinstance(definition, Union) and self._is_wide(definition):
            tag = definition.discriminant.name
            return [
                head,
                f"    if v.{tag} not in {definition.name}._arms:",
                f'        raise bad_enum("{definition.name}", v.{tag})',
                f"    self.pack_uint(v.{tag})",
                f"    pack = _{definition.name}_packers[v.{tag}]",
                "    if pack is not None:",
                "        pack(self, v.arm)",
            ]
        body = Encoder(self._layout, definition.name, self._format).method(wire)
        return [head, *("    " + line for line in body)]

    def _unpack_method(self, definition: Enum | Struct | Union | Declaration) -> list[str]:
        if alias := self._alias(definition, "unpack"):
            return alias
        wire = self._wire(definition)
        head = f"def unpack_{definition.name}(self) -> {wire.python}:"
        if isinstance(definition, Union) and self._is_wide(definition):
            return [
                head,
                "    d = self.unpack_uint()",
                f"    if d not in {definition.name}._arms:",
                f'        raise bad_enum("{definition.name}", d)',
                f"    r = _new({definition.name})",
                f"    r.{definition.discriminant.name} = d",
                f"    unpack = _{definition.name}_unpackers[d]",
                "    r.arm = unpack(self) if unpack is not None else None",
                "    return r",
            ]
        body = Decoder(self._layout, definition.name, self._format).method(wire)
        return [head, *("    " + line for line in body)]

    def _tables(self) -> str:
        lines = []
        for definition in self._description.definitions.values():
            if isinstance(definition, Union) and self._is_wide(definition):
                if definition.default is not None:
                    raise DescriptionError(f"{definition.name}: too many arms beside a default one")
                for base, verb in (("Packer", "pack"), ("Unpacker", "unpack")):
                    lines.append(f"_{definition.name}_{verb}ers = {{")
                    for arm in definition.arms:
                        void = isinstance(self._layout.type_of(arm.declaration), Void)
                        target = "None" if void else f"{self._prefix}{base}.{verb}_{arm.declaration.type}"
                        lines += [f"    {label}: {target}," for label in arm.labels]
                    lines.append("}")
        return "\n".join(lines) + "\n" if lines else ""
