"""Decides how each declared type lies on the wire and which Python type stands for it.

This file owns the resolution of names: typedefs are followed down to scalars, opaques, bitmaps, structs,
unions, arrays and lists; sizes are computed. It MUST NOT write any Python statements.

A struct whose last field is an optional pointer to its own kind is a node of a linked list: that pointer is
no field of the Python class, and every pointer to such a struct is a Python list. So no decoder recurses; any
other recursion is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdr.codec import BITMAP_WORDS_MAX
from xdr.compiler.lexer import DescriptionError
from xdr.compiler.model import Declaration, Description, Enum, Struct, Union

_SCALARS = {
    "int": ("i", "int"),
    "unsigned int": ("I", "int"),
    "hyper": ("q", "int"),
    "unsigned hyper": ("Q", "int"),
    "float": ("f", "float"),
    "double": ("d", "float"),
    "bool": ("I", "bool"),
}
FORMAT_SIZES = {"i": 4, "I": 4, "q": 8, "Q": 8, "f": 4, "d": 8}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number in one struct format; check: empty, bool, or the enumeration that it must belong to."""

    format: str
    python: str
    check: str = ""


@dataclass(frozen=True, slots=True)
class FixedOpaque:
    """Opaque bytes of a fixed size, in bytes."""

    size: int
    python: str = "bytes"


@dataclass(frozen=True, slots=True)
class Opaque:
    """Opaque bytes of a variable length; view: decoded as a memoryview."""

    limit: int | None
    view: bool
    python: str = "bytes"


@dataclass(frozen=True, slots=True)
class Bitmap:
    """A bitmap of at most that many words, one int in Python."""

    words_max: int
    python: str = "int"


@dataclass(frozen=True, slots=True)
class Reference:
    """A struct or union by its name."""

    definition: Struct | Union

    @property
    def python(self) -> str:
        """The class's name."""
        return self.definition.name


@dataclass(frozen=True, slots=True)
class Array:
    """An array: size for a fixed one, limit for a variable one; name: the method suffix of its element."""

    element: Type
    name: str
    size: int | None
    limit: int | None

    @property
    def python(self) -> str:
        """A list of the elements."""
        return f"list[{self.element.python}]"


@dataclass(frozen=True, slots=True)
class Optional:
    """A pointer: the element or None."""

    element: Type
    name: str

    @property
    def python(self) -> str:
        """The element's type or None."""
        return f"{self.element.python} | None"


@dataclass(frozen=True, slots=True)
class Linked:
    """A linked list of nodes."""

    element: Reference
    name: str

    @property
    def python(self) -> str:
        """A list of the nodes."""
        return f"list[{self.element.python}]"


@dataclass(frozen=True, slots=True)
class Void:
    """Nothing on the wire."""

    python: str = "None"


Type = Scalar | FixedOpaque | Opaque | Bitmap | Reference | Array | Optional | Linked | Void


class Layout:
    """Answers what lies on the wire for the declarations of one description."""

    def __init__(self, description: Description) -> None:
        self._origin = description.origin
        self._definitions = description.definitions

    def type_of(self, declaration: Declaration) -> Type:
        """Resolve a declaration. Raises DescriptionError for what the compiler does not support."""
        form, name = declaration.form, declaration.type
        if form == "void":
            return Void()
        if "bitmap" in declaration.pragmas:
            words_max = declaration.size or BITMAP_WORDS_MAX
            if form != "variable" or words_max > BITMAP_WORDS_MAX:
                what = f"a bitmap is an array <> of at most {BITMAP_WORDS_MAX} words"
                raise DescriptionError(f"{self._origin}:{declaration.line}: {what}")
            return Bitmap(words_max)
        if name in ("opaque", "string"):
            if form == "fixed":
                return FixedOpaque(declaration.size or 0)
            view = "view" in declaration.pragmas
            either = view or "buffer" in declaration.pragmas
            return Opaque(declaration.size, view, "bytes | memoryview" if either else "bytes")
        element = self._named(declaration)
        if form == "plain":
            if isinstance(element, Scalar) and element.check and "open" in declaration.pragmas:
                return Scalar(element.format, element.python)
            return element
        suffix = name.replace("unsigned ", "u")
        if form == "optional":
            if isinstance(element, Reference) and self.is_node(element.definition):
                return Linked(element, suffix)
            return Optional(element, suffix)
        if form == "fixed":
            return Array(element, suffix, declaration.size, None)
        return Array(element, suffix, None, declaration.size)

    def _named(self, declaration: Declaration) -> Type:
        name = declaration.type
        if name in _SCALARS:
            return Scalar(*_SCALARS[name], "bool" if name == "bool" else "")
        definition = self._definitions[name]
        if isinstance(definition, Enum):
            return Scalar("i", "int", name)
        if isinstance(definition, Declaration):
            return self.type_of(definition)
        return Reference(definition)

    def is_node(self, definition: Struct | Union) -> bool:
        """Say whether a struct is a node of a linked list."""
        if not isinstance(definition, Struct) or not definition.fields:
            return False
        last = definition.fields[-1]
        return last.form == "optional" and last.type == definition.name

    def fields(self, struct: Struct) -> list[tuple[str, Type]]:
        """Return the fields that the Python class has, in order."""
        declared = struct.fields[:-1] if self.is_node(struct) else struct.fields
        for declaration in declared:
            if declaration.form == "optional" and declaration.type == struct.name:
                where = f"{self._origin}:{declaration.line}"
                raise DescriptionError(f"{where}: only a last field may point to its own kind")
        return [(declaration.name, self.type_of(declaration)) for declaration in declared]

    def arms(self, union: Union) -> dict[str, Type]:
        """Return the arms that carry something: name to type. One name MUST have one type."""
        result: dict[str, Type] = {}
        every = [arm.declaration for arm in union.arms]
        if union.default is not None:
            every.append(union.default)
        for declaration in every:
            arm_type = self.type_of(declaration)
            if isinstance(arm_type, Void):
                continue
            if result.setdefault(declaration.name, arm_type) != arm_type:
                raise DescriptionError(f"{self._origin}:{declaration.line}: {declaration.name} has two types")
        return result

    def size_min(self, wire: Type) -> int:
        """Return the fewest bytes that a value of this type takes."""
        if isinstance(wire, Scalar):
            return FORMAT_SIZES[wire.format]
        if isinstance(wire, FixedOpaque):
            return (wire.size + 3) & ~3
        if isinstance(wire, Array) and wire.size is not None:
            return wire.size * self.size_min(wire.element)
        if isinstance(wire, Reference):
            return self._reference_size_min(wire.definition)
        return 0 if isinstance(wire, Void) else 4

    def _reference_size_min(self, definition: Struct | Union) -> int:
        if isinstance(definition, Struct):
            return sum(self.size_min(wire) for _, wire in self.fields(definition))
        sizes = [self.size_min(self.type_of(arm.declaration)) for arm in definition.arms]
        if definition.default is not None:
            sizes.append(self.size_min(self.type_of(definition.default)))
        return self.size_min(self.type_of(definition.discriminant)) + min(sizes)
