"""Where in a TOML text a key stands, so that an error can name the line.

Owns a line scanner, no more: the parsing itself is the standard library's.
Must not know any setting.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*(?:\"([^\"]+)\"|'([^']+)'|([A-Za-z0-9_-]+))\s*=")
_FENCES = ('"""', "'''")


class Locator:
    """The lines of the tables and keys of one TOML text. Lines count from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, int, str], int] = {}
        table, index = "", 0
        tables_seen: dict[str, int] = {}
        fence = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if fence:
                fence = "" if fence in line else fence
                continue
            header = _HEADER.match(line)
            if header:
                table = header.group(2)
                index = tables_seen.get(table, -1) + 1
                tables_seen[table] = index
                self._lines.setdefault((table, index, ""), number)
                continue
            key = _KEY.match(line)
            if key:
                name = key.group(1) or key.group(2) or key.group(3)
                self._lines.setdefault((table, index, name), number)
            fence = next((mark for mark in _FENCES if line.count(mark) == 1), "")

    def line(self, table: str, key: str = "", index: int = 0) -> int:
        """The line of `key` in the `index`-th table of that name; else the table's own line; else 1.

        The empty table name is the top of the file.
        """
        found = self._lines.get((table, index, key))
        if found is None and not table:
            found = self._lines.get((key, 0, ""))
        return found or self._lines.get((table, index, ""), 1)
