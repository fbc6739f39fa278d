"""The rules that every judge shares: each lets pass what is right, and finds what is not."""

from __future__ import annotations

import pytest

from tests.support.judge import ALARMS, FAULT_LINE, faults, introductions, longest_gap, stall, went_on


def test_introductions() -> None:
    """Ordinary work is none, however much of it there is; each of the others is."""
    assert introductions({"READ": 7, "EXCHANGE_ID": 0, "OPEN": 1}) == {}
    assert introductions({"READ": 7, "EXCHANGE_ID": 2, "DESTROY_SESSION": 1}) == {
        "EXCHANGE_ID": 2,
        "DESTROY_SESSION": 1,
    }


def test_longest_gap() -> None:
    """Gaps that overlap the span count in full."""
    assert longest_gap([0.0, 1.0, 5.0, 5.5], 0.5, 4.0) == 4.0
    assert longest_gap([0.0, 1.0, 5.0, 5.5], 5.1, 9.0) == 0.5
    assert longest_gap([], 0.0, 1.0) == longest_gap([3.0], 0.0, 9.0) == 0.0


def test_stall() -> None:
    """What is beyond the longest gap of a quiet time; a shorter one is none."""
    moments = [0.0, 1.0, 2.0, 5.0, 6.0]
    assert stall(moments, (0.0, 1.5), (2.5, 3.0)) == 2.0
    assert stall(moments, (0.0, 5.0), (5.5, 6.0)) == 0.0


def test_went_on() -> None:
    """Work that did its last step before a moment stood still for good."""
    assert went_on([1.0, 2.0], 1.5)
    assert not went_on([1.0, 2.0], 2.0) and not went_on([], 0.0)


def test_faults() -> None:
    """Warnings are none; errors are, in a log as in loose output."""
    rows = [{"event": "a", "level": level} for level in ("info", "warning", "error", "critical")]
    assert [row["level"] for row in faults(rows)] == ["error", "critical"]
    assert FAULT_LINE.search('{"event":"x","level":"error"}') and FAULT_LINE.search(
        "Traceback (most recent call last):"
    )
    assert not FAULT_LINE.search('{"event":"x","level":"warning","reason":"error"}')


@pytest.mark.parametrize("line", [
    "NFS: state manager: lease expired failed on NFSv4 server", "nfs: server 10.0.0.1 not responding, still trying",
    "nfs4_reclaim_open_state: Lock reclaim failed!", "INFO: task dd blocked for more than 120 seconds",
])  # fmt: skip
def test_alarms(line: str) -> None:
    """What a kernel says of trouble is heard."""
    assert ALARMS.search(line)


def test_alarms_quiet() -> None:
    """What it says of ordinary life is not."""
    assert not ALARMS.search("NFS: Registering the id_resolver key type")
