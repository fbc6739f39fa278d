"""The log: one JSON object a line, with stable event names.

Owns the line's shape (event, ts, level, node, epoch, then the event's own keys), the level, and the file.
Must not know any event; must not be asked to format anything on a hot path while the level is off.

Use: `log = get_logger()` at module level, then `log.info("open.granted", client=..., file=...)`. Where a
request's every microsecond counts, guard with `if flags.debug:`, one attribute read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_RANKS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def _plain(value: Any) -> Any:
    """Bytes as hexadecimal digits; anything else as its own text."""
    return value.hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode


class Flags:
    """Which levels are on, as plain attributes that hot paths read."""

    __slots__ = ("debug", "info")

    def __init__(self) -> None:
        self.debug = False
        self.info = True


flags = Flags()


class LogFile:
    """Where lines go: a file opened for appending, or standard error.

    Each line is one write, so that threads and processes may share the file. `write` never raises: a full
    disk must not stop the server, so a line that cannot be written is counted in `lines_lost` instead.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.lines_lost = 0
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._checked_s = 0
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        about = os.fstat(descriptor)
        if self._descriptor < 0:
            self._descriptor = descriptor
        else:
            # The number stays the same: a thread in the middle of a line writes to one file or the other.
            os.dup2(descriptor, self._descriptor, inheritable=False)
            os.close(descriptor)
        self._identity = (about.st_dev, about.st_ino)

    def reopen(self) -> None:
        """Open the path again, as after a rotation; on failure the old file goes on being used."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self._open(self.path)

    def write(self, line: str, now_s: int) -> None:
        """Append one line. Once a second at most it looks whether the file was renamed away."""
        if self.path is not None and now_s != self._checked_s:
            self._checked_s = now_s
            self._follow_rotation(self.path)
        try:
            if self._descriptor < 0:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            else:
                os.write(self._descriptor, (line + "\n").encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            # ValueError: standard error was closed.
            self.lines_lost += 1

    def _follow_rotation(self, path: Path) -> None:
        try:
            about = os.stat(path)
        except OSError:
            self.reopen()
            return
        if (about.st_dev, about.st_ino) != self._identity:
            self.reopen()

    def close(self) -> None:
        """Close the file; later lines go to standard error."""
        self.path = None
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Context:
    """What every line carries, and where lines go."""

    __slots__ = ("_second", "clock_ns", "epoch", "file", "level", "node", "now_s")

    def __init__(self) -> None:
        self.node = ""
        self.level = "info"
        self.epoch = 0
        self.file = LogFile()
        self.clock_ns: Callable[[], int] = time.time_ns
        self.now_s = 0
        self._second = (-1, "")

    def timestamp(self, now_ns: int) -> str:
        """ISO 8601 in UTC with microseconds; the seconds' text is kept, for it seldom changes."""
        now_s, rest_ns = divmod(now_ns, 1_000_000_000)
        self.now_s = now_s
        second, text = self._second
        if second != now_s:
            text = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (now_s, text)
        return f"{text}.{rest_ns // 1000:06d}Z"


_context = _Context()


def configure(
    *,
    node: str,
    level: str = "info",
    file: Path | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Set the level and the place of the log for the whole process; may be called again.

    `clock_ns` gives nanoseconds since 1970 UTC. Without a `file` lines go to standard error.
    Raises: OSError if the file cannot be opened for appending; KeyError for an unknown level.
    """
    rank = _RANKS[level]
    opened = LogFile(file)
    _context.file.close()
    _context.file, _context.node, _context.clock_ns, _context.level = opened, node, clock_ns, level
    flags.debug, flags.info = rank <= logging.DEBUG, rank <= logging.INFO
    _configure_structlog(rank)


def settings() -> dict[str, Any]:
    """What another process of this server has to `configure` for one log: node, level, file (a text, or None)."""
    file = _context.file.path
    return {"node": _context.node, "level": _context.level, "file": str(file) if file is not None else None}


def set_epoch(epoch: int) -> None:
    """Put the store's epoch on every line from now on."""
    _context.epoch = epoch


def reopen() -> None:
    """Open the log file again (SIGHUP)."""
    _context.file.reopen()


def lines_lost() -> int:
    """Lines that could not be written since `configure`."""
    return _context.file.lines_lost


def get_logger(**values: Any) -> FilteringBoundLogger:
    """A logger whose lines carry `values`; may be made before `configure` and follows it."""
    return cast(FilteringBoundLogger, structlog.get_logger(**values))


LIMITED_LINES_MAX = 20
"""Lines of one event about one peer in each window; the rest are counted, and the count is logged."""
LIMITED_WINDOW_NS = 10_000_000_000
LIMITED_KEYS_MAX = 1024
"""Pairs of event and peer that are told apart at a time."""


class _Window:
    """What one peer has brought about of one event since the window began."""

    __slots__ = ("began_ns", "count")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.count = 0


class Limiter:
    """Writes lines that a peer can bring about, so that none of them can fill the disk with them."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}
        self._log = get_logger()

    def write(self, level: str, event: str, *, about: str, **values: Any) -> None:
        """Write the line, or count it. `about` is the peer's address without its port."""
        now_ns = _context.clock_ns()
        key = (event, about)
        window = self._windows.get(key)
        if window is None or now_ns - window.began_ns > LIMITED_WINDOW_NS:
            if window is None and len(self._windows) >= LIMITED_KEYS_MAX:
                self.flush()
            self._close(key)
            window = self._windows[key] = _Window(now_ns)
        window.count += 1
        if window.count <= LIMITED_LINES_MAX:
            getattr(self._log, level)(event, **values)

    def flush(self) -> None:
        """Log what was suppressed in every window, and forget them all."""
        for key in list(self._windows):
            self._close(key)

    def expire(self) -> None:
        """Close the windows that are over; to be called every second or so."""
        now_ns = _context.clock_ns()
        for key, window in list(self._windows.items()):
            if now_ns - window.began_ns > LIMITED_WINDOW_NS:
                self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        window = self._windows.pop(key, None)
        if window is not None and window.count > LIMITED_LINES_MAX:
            event, about = key
            self._log.warning("log.suppressed", suppressed=event, about=about, count=window.count - LIMITED_LINES_MAX)


def _render(_logger: WrappedLogger, method: str, event: EventDict) -> str:
    """The line: the fixed keys first, in a fixed order, then the event's own."""
    now_ns = _context.clock_ns()
    line = {
        "event": event.pop("event", ""),
        "ts": _context.timestamp(now_ns),
        "level": "error" if method == "exception" else method,
        "node": _context.node,
        "epoch": _context.epoch,
    }
    line.update(event)
    return _encode(line)


class _Writer:
    """What structlog calls with the rendered line, whatever the level."""

    def msg(self, line: str) -> None:
        _context.file.write(line, _context.now_s)

    debug = info = warning = error = critical = exception = log = msg


def _configure_structlog(rank: int) -> None:
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.make_filtering_bound_logger(rank),
        logger_factory=lambda *_: _Writer(),
        cache_logger_on_first_use=False,
    )


_configure_structlog(logging.INFO)

limiter = Limiter()
"""The process's one limiter."""
