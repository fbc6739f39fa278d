"""The kernel's table of mounts: which kind of file system a path lies on.

Must not look at the path itself, which could hang.
"""

from __future__ import annotations

import os
from typing import Final

_MOUNTS: Final = "/proc/self/mountinfo"


def type_of(path: str, mounts: str | None = None) -> str:
    """The kind of file system that an absolute path lies on, by the table of mounts; "" where that does not tell.

    It goes by the path's text: looking at the path could hang.  Raises OSError where there is no table.
    """
    if mounts is None:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    wanted = os.path.normpath(path)
    found, length = "", -1
    for line in mounts.splitlines():
        left, _dash, right = line.partition(" - ")
        point = _unescaped(left.split(" ")[4])
        beneath = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if beneath and len(point) >= length:  # A later mount of one place covers the earlier ones.
            found, length = right.split(" ")[0], len(point)
    return found


def _unescaped(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text
