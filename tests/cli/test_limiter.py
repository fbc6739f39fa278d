"""What peers can bring about is logged within bounds: of one address, of one event, of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd import log as logging_
from nfsd.log import ADDRESSES_MAX, WINDOW_NS, Limiter

SECOND_NS = 1_000_000_000


class Log:
    """A log file whose clock is the test's."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now_ns = 10**18
        logging_.configure(node="n", file=file, clock_ns=lambda: self.now_ns)

    def lines(self, event: str) -> list[dict[str, object]]:
        """The lines so far of one event."""
        found = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [line for line in found if line["event"] == event]

    def suppressed(self) -> list[tuple[object, object, object]]:
        """What the log says that was left out: event, address, count."""
        return [(line["suppressed"], line["about"], line["count"]) for line in self.lines("log.suppressed")]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log of one's own."""
    yield Log(tmp_path / "log")
    logging_.configure(node="n")


def test_limiter_of_one_event(log: Log) -> None:
    """Beyond half of an address's lines those of one event are counted; its other events and others are written."""
    limiter = Limiter(lines_per_address_max=40)
    for _ in range(27):
        limiter.write("warning", "rpc.garbage", about="192.0.2.1", reason="x")
    limiter.write("warning", "rpc.refused", about="192.0.2.1")
    limiter.write("warning", "rpc.garbage", about="192.0.2.2", reason="y")
    assert len(log.lines("rpc.garbage")) == 21 and log.lines("rpc.garbage")[-1]["reason"] == "y"
    assert len(log.lines("rpc.refused")) == 1
    assert limiter.suppressed == 7
    log.now_ns += WINDOW_NS
    limiter.expire()
    assert log.suppressed() == []
    log.now_ns += 1
    limiter.expire()
    assert log.suppressed() == [("rpc.garbage", "192.0.2.1", 7)]
    limiter.write("warning", "rpc.garbage", about="192.0.2.1", reason="again")
    assert log.lines("rpc.garbage")[-1]["reason"] == "again"


def test_limiter_of_one_address(log: Log) -> None:
    """About one address there is a largest number of lines a minute, whatever the events."""
    limiter = Limiter(lines_per_address_max=40, lines_max=1000)
    for number in range(100):
        limiter.write("warning", f"event.{number % 10}", about="192.0.2.1")
        log.now_ns += SECOND_NS // 10
    assert sum(len(log.lines(f"event.{number}")) for number in range(10)) == 40
    limiter.flush()
    assert log.suppressed() == [(f"event.{number}", "192.0.2.1", 6) for number in range(10)]


def test_limiter_of_an_ipv6_network(log: Log) -> None:
    """All addresses of an IPv6 network of 64 bits are one."""
    limiter = Limiter(lines_per_address_max=40)
    for last in range(30):
        limiter.write("warning", "rpc.garbage", about=f"2001:db8::{last:x}")
    assert len(log.lines("rpc.garbage")) == 20
    limiter.flush()
    assert log.suppressed() == [("rpc.garbage", "2001:db8::/64", 10)]


def test_limiter_of_all(log: Log) -> None:
    """About all addresses there is a largest number of lines a second; what is left out is told as a sum."""
    limiter = Limiter(lines_max=50)
    for number in range(80):
        limiter.write("warning", "rpc.garbage", about=f"192.0.2.{number}")
    assert len(log.lines("rpc.garbage")) == 50
    log.now_ns += SECOND_NS
    limiter.write("warning", "rpc.garbage", about="198.51.100.1")
    assert len(log.lines("rpc.garbage")) == 51
    limiter.expire()
    limiter.expire()
    assert log.suppressed() == [("rpc.garbage", "", 30)]


def test_limiter_counts_of_many_addresses(log: Log) -> None:
    """Counts of addresses are within the same bounds: in a flood they are told as a sum, and none is lost."""
    limiter = Limiter(lines_per_address_max=2, lines_max=50)
    for number in range(200):
        for _ in range(10):
            limiter.write("warning", "rpc.garbage", about=f"192.0.2.{number}")
    log.now_ns += WINDOW_NS + 1
    limiter.expire()
    assert len(log.file.read_text().splitlines()) <= 2 * 50 + 1
    written = len(log.lines("rpc.garbage"))
    assert written + sum(int(str(count)) for _event, _about, count in log.suppressed()) == 2000


def test_limiter_remembers_a_bounded_number(log: Log) -> None:
    """However many addresses there are, a bounded number is remembered, and the oldest makes room."""
    limiter = Limiter(lines_per_address_max=2)
    limiter.write("warning", "rpc.garbage", about="first")
    limiter.write("warning", "rpc.garbage", about="first")
    for number in range(3 * ADDRESSES_MAX):
        limiter.write("debug", "rpc.garbage", about=str(number))
        log.now_ns += SECOND_NS // 1000
    assert len(limiter._windows) == ADDRESSES_MAX
    assert ("rpc.garbage", "first", 1) in log.suppressed()
