"""The control socket of a server, as the suites ask it; the one place that says where nfsd has it."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from nfsd.admin.control import ControlError, ask

__all__ = ["ControlError", "ask", "status_of"]


def status_of(control: Path, timeout_s: float) -> dict[str, Any]:
    """What a server says of itself at this moment; nothing if none answers.

    In contrast to `ask` nothing is tried again: a socket on which nobody listens is answered at once.
    """
    with socket.socket(socket.AF_UNIX) as asking, contextlib.suppress(OSError, ValueError):
        asking.settimeout(timeout_s)
        asking.connect(str(control))
        asking.sendall(b'{"command": "status"}\n')
        with asking.makefile("rb") as answers:
            found: dict[str, Any] = json.loads(answers.readline()).get("result") or {}
            return found
    return {}
