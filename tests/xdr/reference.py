"""A second, slow codec, driven by the descriptions and built on xdrlib3, and random values of every type.

It owns the tests' independent idea of the wire: it walks the layout of a type and calls xdrlib3 for every
single field. It must not use the generated packers and unpackers.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import xdrlib3

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
from xdr.compiler.model import Arm, Declaration, Description, Enum, Struct, Union
from xdr.compiler.parser import parse_file

DESCRIPTIONS = Path(__file__).resolve().parents[2] / "xdr" / "x"
_RANGES = {"i": (-(2**31), 2**31 - 1), "I": (0, 2**32 - 1), "q": (-(2**63), 2**63 - 1), "Q": (0, 2**64 - 1)}
_VERBS = {"i": "int", "I": "uint", "q": "hyper", "Q": "uhyper", "f": "float", "d": "double"}
# Lists get shorter on every level, so that values stay small.
ITEMS_MAX = 3
DEPTH_MAX = 5


@cache
def description(name: str) -> Description:
    """The parsed description of that name."""
    return parse_file(DESCRIPTIONS / f"{name}.x")


class Protocol:
    """All types of one description beside their generated module."""

    def __init__(self, name: str, module: ModuleType) -> None:
        self.description = description(name)
        self.layout = Layout(self.description)
        self.module = module

    def wire(self, name: str) -> Type:
        """The layout of a named type."""
        definition = self.description.definitions[name]
        if isinstance(definition, Enum):
            return Scalar("i", "int", name)
        if isinstance(definition, Declaration):
            return self.layout.type_of(definition)
        return Reference(definition)

    def sample(self, wire: Type, rng: random.Random, depth: int = 0) -> Any:
        """A random value of a type."""
        match wire:
            case Scalar():
                return self._sample_scalar(wire, rng)
            case FixedOpaque():
                return rng.randbytes(wire.size)
            case Opaque():
                return rng.randbytes(rng.randint(0, min(wire.limit or 30, 30)))
            case Bitmap():
                return rng.getrandbits(rng.choice((0, 5, 32, 64, 83, wire.words_max * 32)))
            case Reference(definition=Struct() as struct):
                fields = [self.sample(field, rng, depth + 1) for _, field in self.layout.fields(struct)]
                return getattr(self.module, struct.name)(*fields)
            case Reference(definition=Union() as union):
                return self._sample_union(union, rng, depth)
            case Array():
                most = ITEMS_MAX if depth < DEPTH_MAX else 0
                size = wire.size if wire.size is not None else rng.randint(0, min(wire.limit or most, most))
                return [self.sample(wire.element, rng, depth + 1) for _ in range(size)]
            case Linked():
                return [self.sample(wire.element, rng, depth + 1) for _ in range(rng.randint(0, ITEMS_MAX))]
            case Optional():
                return self.sample(wire.element, rng, depth + 1) if rng.random() < 0.5 else None
            case Void():
                return None

    def _sample_scalar(self, wire: Scalar, rng: random.Random) -> Any:
        if wire.check == "bool":
            return rng.random() < 0.5
        if wire.check:
            return rng.choice(list(getattr(self.module, f"{wire.check}_names")))
        low, high = _RANGES[wire.format]
        return rng.choice((low, high, 0, 1, rng.randint(low, high)))

    def _sample_union(self, union: Union, rng: random.Random, depth: int) -> Any:
        arms: list[Arm | None] = [*union.arms, *([None] if union.default is not None else [])]
        arm = rng.choice(arms)
        if arm is not None:
            tag, declaration = rng.choice(arm.values), arm.declaration
        else:
            assert union.default is not None
            taken = {value for each in union.arms for value in each.values}
            free = [value for value in self._tags(union) if value not in taken]
            if not free:
                return self._sample_union(union, rng, depth)
            tag, declaration = rng.choice(free), union.default
        carried = self.layout.type_of(declaration)
        tag = bool(tag) if self.layout.type_of(union.discriminant).python == "bool" else tag
        cls = getattr(self.module, union.name)
        if isinstance(carried, Void):
            return cls(tag)
        return cls(tag, **{declaration.name: self.sample(carried, rng, depth + 1)})

    def _tags(self, union: Union) -> list[int]:
        wire = self.layout.type_of(union.discriminant)
        assert isinstance(wire, Scalar)
        if wire.check == "bool":
            return [0, 1]
        return list(getattr(self.module, f"{wire.check}_names")) if wire.check else [0, 77, 2**31 - 1]

    def _arm(self, union: Union, tag: int) -> Declaration | None:
        """The declaration that a discriminant selects."""
        for arm in union.arms:
            if tag in arm.values:
                return arm.declaration
        return union.default

    def encode(self, packer: xdrlib3.Packer, wire: Type, value: Any) -> None:
        """Pack a value, field by field, with xdrlib3."""
        match wire:
            case Scalar(check="bool"):
                packer.pack_bool(value)
            case Scalar():
                getattr(packer, f"pack_{_VERBS[wire.format]}")(value)
            case FixedOpaque():
                packer.pack_fopaque(wire.size, value)
            case Opaque():
                packer.pack_opaque(bytes(value))
            case Bitmap():
                words = []
                while value:
                    words.append(value & 0xFFFFFFFF)
                    value >>= 32
                packer.pack_array(words, packer.pack_uint)
            case Reference(definition=Struct() as struct):
                for name, field in self.layout.fields(struct):
                    self.encode(packer, field, getattr(value, name))
            case Reference(definition=Union() as union):
                tag = getattr(value, union.discriminant.name)
                self.encode(packer, self.layout.type_of(union.discriminant), tag)
                declaration = self._arm(union, tag)
                if declaration is not None and declaration.form != "void":
                    self.encode(packer, self.layout.type_of(declaration), getattr(value, declaration.name))
            case Array() if wire.size is None:
                packer.pack_array(value, lambda item: self.encode(packer, wire.element, item))
            case Array(size=int(size)):
                packer.pack_farray(size, value, lambda item: self.encode(packer, wire.element, item))
            case Linked():
                packer.pack_list(value, lambda item: self.encode(packer, wire.element, item))
            case Optional():
                items = [] if value is None else [value]
                packer.pack_bool(value is not None)
                packer.pack_farray(len(items), items, lambda item: self.encode(packer, wire.element, item))

    def decode(self, unpacker: xdrlib3.Unpacker, wire: Type) -> Any:
        """Unpack a value, field by field, with xdrlib3; the data must be right."""
        match wire:
            case Scalar(check="bool"):
                return unpacker.unpack_bool()
            case Scalar():
                return getattr(unpacker, f"unpack_{_VERBS[wire.format]}")()
            case FixedOpaque():
                return unpacker.unpack_fopaque(wire.size)
            case Opaque():
                return unpacker.unpack_opaque()
            case Bitmap():
                words = unpacker.unpack_array(unpacker.unpack_uint)
                return sum(word << 32 * index for index, word in enumerate(words))
            case Reference(definition=Struct() as struct):
                fields = [self.decode(unpacker, field) for _, field in self.layout.fields(struct)]
                return getattr(self.module, struct.name)(*fields)
            case Reference(definition=Union() as union):
                tag = self.decode(unpacker, self.layout.type_of(union.discriminant))
                declaration = self._arm(union, tag)
                cls = getattr(self.module, union.name)
                if declaration is None or declaration.form == "void":
                    return cls(tag)
                carried = self.decode(unpacker, self.layout.type_of(declaration))
                return cls(tag, **{declaration.name: carried})
            case Array() if wire.size is None:
                return unpacker.unpack_array(lambda: self.decode(unpacker, wire.element))
            case Array(size=int(size)):
                return unpacker.unpack_farray(size, lambda: self.decode(unpacker, wire.element))
            case Linked():
                return unpacker.unpack_list(lambda: self.decode(unpacker, wire.element))
            case Optional():
                return self.decode(unpacker, wire.element) if unpacker.unpack_bool() else None
