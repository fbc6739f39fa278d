"""Reads an XDR/RPC interface description (RFC 4506 section 6.3, RFC 5531 section 12.2) into a Description.

This file owns the grammar. Programs become constants: the program's number, its versions', its procedures'.
It MUST NOT know anything about Python output. Two liberties beside the RFCs: `unsigned` alone means unsigned
int, and a pragma (a line that starts with %) belongs to the declaration that follows it.
"""

from __future__ import annotations

from pathlib import Path

from xdr.compiler.lexer import DescriptionError, Token, tokens
from xdr.compiler.model import Arm, Declaration, Description, Enum, Struct, Union

PRAGMAS = frozenset({"view", "buffer", "bitmap", "open"})
_BASE = frozenset({"int", "hyper", "float", "double", "bool", "opaque", "string"})


def parse_file(path: Path) -> Description:
    """Parse a description file. Raises DescriptionError, with file and line."""
    return Parser(path.read_text(encoding="utf-8"), path.name).description()


class Parser:
    """A recursive descent parser with one token of look-ahead."""

    def __init__(self, text: str, origin: str) -> None:
        self._tokens = list(tokens(text, origin))
        self._index = 0
        self._pragmas: set[str] = set()
        self._struct_name = ""
        self._result = Description(origin)
        self._result.constants.update(FALSE=0, TRUE=1)

    def description(self) -> Description:
        """Parse everything."""
        readers = {
            "const": self._const,
            "enum": self._enum,
            "struct": self._struct,
            "union": self._union,
            "typedef": self._typedef,
            "program": self._program,
        }
        while self._peek().kind != "end":
            token = self._next()
            reader = readers.get(token.text)
            if reader is None:
                raise self._error(token, f"a definition cannot start with {token.text!r}")
            reader()
            self._expect(";")
        return self._result

    def _error(self, token: Token, what: str) -> DescriptionError:
        return DescriptionError(f"{self._result.origin}:{token.line}: {what}")

    def _peek(self) -> Token:
        while self._tokens[self._index].kind == "pragma":
            token = self._tokens[self._index]
            if token.text not in PRAGMAS:
                raise self._error(token, f"no such pragma: %{token.text}")
            self._pragmas.add(token.text)
            self._index += 1
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._peek()
        self._index += 1
        return token

    def _take(self, text: str) -> bool:
        if self._peek().text != text:
            return False
        self._index += 1
        return True

    def _expect(self, text: str) -> None:
        token = self._next()
        if token.text != text:
            raise self._error(token, f"{text!r} expected, {token.text or 'the end'!r} found")

    def _name(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise self._error(token, f"a name expected, {token.text or 'the end'!r} found")
        return token.text

    def _value(self) -> int:
        token = self._next()
        if token.kind == "number":
            return int(token.text, 0)
        if token.text in self._result.constants:
            return self._result.constants[token.text]
        raise self._error(token, f"{token.text!r} is neither a number nor a constant defined above")

    def _constant(self, name: str, value: int) -> None:
        if self._result.constants.setdefault(name, value) != value:
            raise self._error(self._peek(), f"{name} is defined twice, with different values")

    def _define(self, definition: Enum | Struct | Union | Declaration) -> None:
        if definition.name in self._result.definitions:
            raise self._error(self._peek(), f"the type {definition.name} is defined twice")
        self._result.definitions[definition.name] = definition

    def _const(self) -> None:
        name = self._name()
        self._expect("=")
        self._constant(name, self._value())

    def _enum(self) -> None:
        name = self._name()
        self._expect("{")
        members = []
        while True:
            member = self._name()
            self._expect("=")
            value = self._value()
            self._constant(member, value)
            members.append((member, value))
            if not self._take(","):
                break
        self._expect("}")
        self._define(Enum(name, tuple(members)))

    def _struct(self) -> None:
        self._struct_name = name = self._name()
        self._expect("{")
        fields = []
        while not self._take("}"):
            fields.append(self._declaration())
            self._expect(";")
        self._struct_name = ""
        self._define(Struct(name, tuple(fields)))

    def _union(self) -> None:
        name = self._name()
        self._expect("switch")
        self._expect("(")
        discriminant = self._declaration()
        self._expect(")")
        self._expect("{")
        arms: list[Arm] = []
        default: Declaration | None = None
        while not self._take("}"):
            labels: list[str] = []
            values: list[int] = []
            while self._take("case"):
                labels.append(self._peek().text)
                values.append(self._value())
                self._expect(":")
            if labels:
                arms.append(Arm(tuple(labels), tuple(values), self._declaration()))
            else:
                self._expect("default")
                self._expect(":")
                default = self._declaration()
            self._expect(";")
        self._define(Union(name, discriminant, tuple(arms), default))

    def _typedef(self) -> None:
        self._define(self._declaration())

    def _program(self) -> None:
        name = self._name()
        self._expect("{")
        while not self._take("}"):
            self._expect("version")
            version = self._name()
            self._expect("{")
            while not self._take("}"):
                self._type()
                procedure = self._name()
                self._expect("(")
                self._type()
                self._expect(")")
                self._expect("=")
                self._constant(procedure, self._value())
                self._expect(";")
            self._expect("=")
            self._constant(version, self._value())
            self._expect(";")
        self._expect("=")
        self._constant(name, self._value())

    def _type(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise self._error(token, f"a type expected, {token.text or 'the end'!r} found")
        if token.text == "unsigned":
            base = self._next().text if self._peek().text in ("int", "hyper") else "int"
            return f"unsigned {base}"
        known = token.text in _BASE or token.text == "void" or token.text in self._result.definitions
        # A pointer to the struct itself makes a list; one to a later type could make decoders recurse.
        if not known and not (token.text == self._struct_name and self._peek().text == "*"):
            raise self._error(token, f"the type {token.text!r} is not defined above")
        return token.text

    def _declaration(self) -> Declaration:
        line = self._peek().line
        pragmas = frozenset(self._pragmas)
        self._pragmas.clear()
        type_name = self._type()
        if type_name == "void":
            return Declaration("void", "", "void", None, pragmas, line)
        if self._take("*"):
            return Declaration(type_name, self._name(), "optional", None, pragmas, line)
        name = self._name()
        if self._take("["):
            size = self._value()
            self._expect("]")
            return Declaration(type_name, name, "fixed", size, pragmas, line)
        if self._take("<"):
            limit = None if self._peek().text == ">" else self._value()
            self._expect(">")
            return Declaration(type_name, name, "variable", limit, pragmas, line)
        if type_name in ("opaque", "string"):
            raise self._error(self._peek(), f"{type_name} {name} needs a length in [] or <>")
        return Declaration(type_name, name, "plain", None, pragmas, line)
