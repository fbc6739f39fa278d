"""The log: one JSON object a line, fixed keys first, levels, rotation, and a full disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfsd import log as logging_

NOW_NS = 1_700_000_000_123_456_789


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A log file with the level info and a clock that stands still."""
    path = tmp_path / "log"
    logging_.configure(node="n1", level="info", file=path, clock_ns=lambda: NOW_NS)
    yield path
    logging_.set_epoch(0)
    logging_.configure(node="", level="info")


def lines(path: Path) -> list[dict[str, Any]]:
    """The log's lines, decoded."""
    return [json.loads(line) for line in path.read_text().splitlines()]


log = logging_.get_logger()


def test_log_line_keys(file: Path) -> None:
    """event, ts, level, node and epoch come first, then the event's own; bytes are hexadecimal."""
    logging_.set_epoch(7)
    log.info("open.granted", client=b"\x01\xff", file="a\nb", xid=5)
    (line,) = lines(file)
    assert list(line) == ["event", "ts", "level", "node", "epoch", "client", "file", "xid"]
    assert line == {
        "event": "open.granted",
        "ts": "2023-11-14T22:13:20.123456Z",
        "level": "info",
        "node": "n1",
        "epoch": 7,
        "client": "01ff",
        "file": "a\nb",
        "xid": 5,
    }


def test_log_level_off(file: Path) -> None:
    """Lines below the level are not written, and the flags say so."""
    log.debug("request", operations=[1])
    assert lines(file) == []
    assert not logging_.flags.debug
    assert logging_.flags.info


def test_log_level_changes(file: Path) -> None:
    """A logger made before `configure` follows it."""
    logging_.configure(node="n1", level="debug", file=file)
    assert logging_.flags.debug
    log.debug("request")
    logging_.configure(node="n1", level="error", file=file)
    log.warning("nothing")
    assert not logging_.flags.info
    assert [line["event"] for line in lines(file)] == ["request"]


def test_log_bound_values(file: Path) -> None:
    """A logger carries its own values on every line."""
    logging_.get_logger(client="c").bind(session="s").warning("lock.denied")
    (line,) = lines(file)
    assert (line["client"], line["session"], line["level"]) == ("c", "s", "warning")


def test_log_exception(file: Path) -> None:
    """An exception's traceback stays on its line, whose level is error."""
    try:
        raise RuntimeError("why")
    except RuntimeError:
        log.exception("server.failed")
    (line,) = lines(file)
    assert line["level"] == "error"
    assert "RuntimeError: why" in line["exception"]


def test_log_reopen_after_rotation(file: Path) -> None:
    """SIGHUP opens the path again: later lines are in the new file."""
    log.info("before")
    os.rename(file, f"{file}.1")
    logging_.reopen()
    log.info("after")
    assert [line["event"] for line in lines(file)] == ["after"]
    assert [line["event"] for line in lines(Path(f"{file}.1"))] == ["before"]


def test_log_follows_rotation_by_itself(file: Path) -> None:
    """A file that was renamed or removed is noticed within a second of the log's clock, without a signal."""
    now_ns = [NOW_NS]
    logging_.configure(node="n1", file=file, clock_ns=lambda: now_ns[0])
    log.info("first")
    os.rename(file, f"{file}.1")
    log.info("same second")
    now_ns[0] += 1_000_000_000
    log.info("next second")
    assert [line["event"] for line in lines(file)] == ["next second"]


def test_log_full_disk() -> None:
    """A line that cannot be written is counted, and nothing is raised."""
    logging_.configure(node="n1", file=Path("/dev/full"))
    log.info("lost")
    assert logging_.lines_lost() == 1
    logging_.configure(node="")


def test_log_file_cannot_be_opened(tmp_path: Path) -> None:
    """The old place stays in use when the new file cannot be opened."""
    with pytest.raises(FileNotFoundError):
        logging_.configure(node="n1", file=tmp_path / "none" / "log")
