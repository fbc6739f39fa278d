"""What a peer can bring about is logged within bounds."""

from __future__ import annotations

import json
from pathlib import Path

from nfsd import log as logging_
from nfsd.log import LIMITED_LINES_MAX, LIMITED_WINDOW_NS, Limiter


def lines(file: Path) -> list[dict[str, object]]:
    """The log so far."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_limiter_suppresses_and_counts(tmp_path: Path) -> None:
    """Beyond the limit lines of one event about one peer are counted; another peer's are still written."""
    now = [10**18]
    logging_.configure(node="n", file=tmp_path / "log", clock_ns=lambda: now[0])
    limiter = Limiter()
    for _ in range(LIMITED_LINES_MAX + 7):
        limiter.write("warning", "rpc.garbage", about="192.0.2.1", reason="x")
    limiter.write("warning", "rpc.garbage", about="192.0.2.2", reason="y")
    written = lines(tmp_path / "log")
    assert len(written) == LIMITED_LINES_MAX + 1
    assert written[-1]["reason"] == "y"
    now[0] += LIMITED_WINDOW_NS + 1
    limiter.expire()
    last = lines(tmp_path / "log")[-1]
    assert (last["event"], last["suppressed"], last["about"], last["count"]) == (
        "log.suppressed",
        "rpc.garbage",
        "192.0.2.1",
        7,
    )
    limiter.write("warning", "rpc.garbage", about="192.0.2.1", reason="again")
    assert lines(tmp_path / "log")[-1]["reason"] == "again"


def test_limiter_bounded_keys(tmp_path: Path) -> None:
    """However many peers there are, the limiter remembers a bounded number of them."""
    logging_.configure(node="n", file=tmp_path / "log")
    limiter = Limiter()
    for number in range(3 * logging_.LIMITED_KEYS_MAX):
        limiter.write("debug", "rpc.garbage", about=str(number))
    assert len(limiter._windows) <= logging_.LIMITED_KEYS_MAX
