"""Cuts an XDR interface description (RFC 4506 section 6) into tokens.

This file owns characters: identifiers, numbers, punctuation, comments, and pragma lines, which start with a
percent sign (rpcgen's pass-through lines, used here for hints such as %view). It MUST NOT know the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r]+)
  | (?P<newline>\n)
  | (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<pragma>%[^\n]*)
  | (?P<number>-?(?:0[xX][0-9a-fA-F]+|[0-9]+))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<punctuation>[{}()\[\]<>*,;:=])
    """,
    re.VERBOSE | re.DOTALL,
)


class DescriptionError(Exception):
    """An interface description is wrong; the message has the file's name and line."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token: kind is name, number, punctuation, pragma or end; line counts from 1."""

    kind: str
    text: str
    line: int


def tokens(text: str, origin: str) -> Iterator[Token]:
    """Yield the tokens of a description, then one of kind end. Raises DescriptionError."""
    position = 0
    line = 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise DescriptionError(f"{origin}:{line}: {text[position]!r} starts no token")
        kind = match.lastgroup or ""
        if kind in ("name", "number", "punctuation"):
            yield Token(kind, match.group(), line)
        elif kind == "pragma":
            yield Token(kind, match.group()[1:].strip(), line)
        line += match.group().count("\n")
        position = match.end()
    yield Token("end", "", line)
