"""What an interface description declares, as the parser reads it and the emitter uses it.

This file owns the shapes of declarations, nothing else; it MUST NOT know tokens or Python text.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared field, arm or typedef. form: plain, fixed, variable, optional or void.

    size: the length of a fixed form, the limit of a variable one (None: no limit but the data).
    """

    type: str
    name: str
    form: str = "plain"
    size: int | None = None
    pragmas: frozenset[str] = frozenset()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Enum:
    """An enumeration: members in the order of the description."""

    name: str
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct: fields in the order of the wire."""

    name: str
    fields: tuple[Declaration, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a union: its labels as written, their values, and what it carries."""

    labels: tuple[str, ...]
    values: tuple[int, ...]
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class Union:
    """A discriminated union; default is None where the description has no default arm."""

    name: str
    discriminant: Declaration
    arms: tuple[Arm, ...]
    default: Declaration | None


@dataclass(slots=True)
class Description:
    """A whole description. definitions keeps the order of the file; constants has enum members too."""

    origin: str
    constants: dict[str, int] = field(default_factory=dict)
    definitions: dict[str, Enum | Struct | Union | Declaration] = field(default_factory=dict)
