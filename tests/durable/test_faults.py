"""The ways in which the process ends itself: with which exit code, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from nfsd.durable.faults import EXIT_FAULT, EXIT_FENCED, EXIT_LATE, Faults
from statestore import StoreFailed, StoreFenced
from tests.durable.fakes import new_loop


class Stopped(BaseException):
    """The process would have ended."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def stop(code: int) -> NoReturn:
    """End it."""
    raise Stopped(code)


@pytest.fixture
def faults() -> Faults:
    """Faults that only say that the process would end."""
    return Faults(stop)


def error_of(message: str = "why") -> RuntimeError:
    """A mistake of ours."""
    return RuntimeError(message)


@pytest.mark.parametrize(
    ("fault", "code", "event"),
    [
        (lambda faults: faults.store_failed(StoreFailed("full")), EXIT_FAULT, "store.failed"),
        (lambda faults: faults.store_failed(error_of()), EXIT_FAULT, "store.failed"),
        (lambda faults: faults.store_failed(StoreFenced("another")), EXIT_FENCED, "fenced"),
        (lambda faults: faults.fenced("another"), EXIT_FENCED, "fenced"),
        (lambda faults: faults.sync_failed(OSError(5, "disk")), EXIT_FAULT, "sync.failed"),
        (lambda faults: faults.fault("OPEN", "peer", error_of(), harmless=False), EXIT_FAULT, "server.fault"),
    ],
)
def test_stops(
    faults: Faults, capsys: pytest.CaptureFixture[str], fault: Callable[[Faults], None], code: int, event: str
) -> None:
    """Each ends the process, with one line in the log that says why."""
    with pytest.raises(Stopped) as caught:
        fault(faults)
    assert caught.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert len(lines) == 1 and f'"{event}"' in lines[0] and '"reason"' in lines[0]


def test_codes_differ() -> None:
    """Whoever started the process tells a fault, a fence and a late end by the code."""
    assert len({EXIT_FAULT, EXIT_FENCED, EXIT_LATE, 0, 1, 2}) == 6


def test_harmless_fault(faults: Faults, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault before anything was changed is logged, with operation and peer, and the process goes on."""
    faults.fault("READ", "192.0.2.1:700", error_of("a mistake"), harmless=True)
    said = capsys.readouterr().err
    assert all(word in said for word in ("server.fault", "READ", "192.0.2.1:700", "a mistake"))


def test_loop_fault(faults: Faults, capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody caught in the loop stops the process, unless it is of a connection's peer."""
    loop = new_loop()
    context: dict[str, Any] = {"exception": ConnectionResetError(104, "reset")}
    faults.loop_fault(loop, context)
    assert "connection.error" in capsys.readouterr().err
    for context in ({"exception": error_of(), "message": "in a callback"}, {"message": "no exception at all"}):
        with pytest.raises(Stopped) as caught:
            faults.loop_fault(loop, context)
        assert caught.value.code == EXIT_FAULT
    assert "server.fault" in capsys.readouterr().err
