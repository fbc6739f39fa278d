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
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from nfsd.origins import origin_of

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
            with _context.opening(), contextlib.suppress(OSError):
                self._open(self.path)

    def write(self, line: str, now_s: int) -> None:
        """Append one line. Once a second at most it looks whether the file was renamed away."""
        if self.path is not None and now_s != self._checked_s:
            self._checked_s = now_s
            with _context.opening():
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

    @property
    def descriptor(self) -> int:
        """The file's descriptor, the same for as long as the file is used; -1 for standard error."""
        return self._descriptor

    def close(self) -> None:
        """Close the file; later lines go to standard error."""
        self.path = None
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Context:
    """What every line carries, and where lines go."""

    __slots__ = ("_second", "clock_ns", "epoch", "file", "level", "node", "now_s", "opening")

    def __init__(self) -> None:
        self.node = ""
        self.level = "info"
        self.epoch = 0
        self.file = LogFile()
        self.clock_ns: Callable[[], int] = time.time_ns
        self.now_s = 0
        self.opening: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
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


def open_within(manager: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Open the log file within `manager()` from now on: for a process whose threads are not always its own user."""
    _context.opening = manager


def descriptor() -> int:
    """The log file's descriptor, for a process that closes what it has inherited; -1 for standard error."""
    return _context.file.descriptor


def lines_lost() -> int:
    """Lines that could not be written since `configure`."""
    return _context.file.lines_lost


def get_logger(**values: Any) -> FilteringBoundLogger:
    """A logger whose lines carry `values`; may be made before `configure` and follows it."""
    return cast(FilteringBoundLogger, structlog.get_logger(**values))


WINDOW_NS = 60_000_000_000
"""How long the lines about one address are counted together."""
_SECOND_NS = 1_000_000_000
ADDRESSES_MAX = 1024
"""Addresses that are told apart at a time."""


class _Window:
    """What has been said about one address since the window began: lines written and left out, by event."""

    __slots__ = ("began_ns", "lines", "written", "left_out")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.lines = 0
        self.written: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()


class Limiter:
    """Writes lines that a peer can bring about, so that none can fill the disk with them, nor all together.

    About one address (of IPv6: one network of 64 bits) there are at most `lines_per_address_max` a minute, of one event
    at most half of them; about all at most `lines_max` a second.  What is left out is counted, and the counts are
    logged when the minute is over.
    """

    def __init__(self, *, lines_per_address_max: int = 240, lines_max: int = 100) -> None:
        self.suppressed = 0
        """Lines that were left out."""
        self._windows: dict[str, _Window] = {}
        self._second = _Window(0)
        self._log = get_logger()
        self.configure(lines_per_address_max=lines_per_address_max, lines_max=lines_max)

    def configure(self, *, lines_per_address_max: int, lines_max: int) -> None:
        """Other limits from now on."""
        self._lines_per_address_max = lines_per_address_max
        self._lines_of_event_max = max(1, lines_per_address_max // 2)
        self._lines_max = lines_max

    def write(self, level: str, event: str, *, about: str, **values: Any) -> None:
        """Write the line, or count it. `about` is the peer's address without its port, empty if it is nobody's."""
        now_ns = _context.clock_ns()
        origin = origin_of(about)
        window = self._windows.get(origin)
        if window is None or now_ns - window.began_ns > WINDOW_NS:
            if window is not None:
                self._close(origin)
            elif len(self._windows) >= ADDRESSES_MAX:
                self._close(next(iter(self._windows)))
            window = self._windows[origin] = _Window(now_ns)
        if window.lines >= self._lines_per_address_max or window.written[event] >= self._lines_of_event_max:
            window.left_out[event] += 1
            self.suppressed += 1
            return
        window.lines += 1
        window.written[event] += 1
        if self._has_room(now_ns):
            getattr(self._log, level)(event, **values)
        else:
            self._second.left_out[event] += 1
            self.suppressed += 1

    def flush(self) -> None:
        """Log what was left out in every window, and forget them all."""
        for origin in list(self._windows):
            self._close(origin)
        self._tell("", self._second.left_out)

    def expire(self) -> None:
        """Close the windows that are over; to be called every second or so."""
        now_ns = _context.clock_ns()
        while self._windows:
            origin, oldest = next(iter(self._windows.items()))
            if now_ns - oldest.began_ns <= WINDOW_NS:
                break
            self._close(origin)
        self._tell("", self._second.left_out)

    def _has_room(self, now_ns: int) -> bool:
        """Whether one more line may be written in this second."""
        second = self._second
        if now_ns - second.began_ns >= _SECOND_NS:
            second.began_ns, second.lines = now_ns, 0
        second.lines += 1
        return second.lines <= self._lines_max

    def _close(self, origin: str) -> None:
        left_out = self._windows.pop(origin).left_out
        if left_out and self._has_room(_context.clock_ns()):
            self._tell(origin, left_out)
        else:
            self._second.left_out += left_out

    def _tell(self, about: str, left_out: Counter[str]) -> None:
        for event, count in left_out.items():
            self._log.warning("log.suppressed", suppressed=event, about=about, count=count)
        left_out.clear()


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
