"""A pair of one's own for each test; and nothing of it is left when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pair.process import PairProcess


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[PairProcess]:
    """A pair that the test starts itself."""
    pair = PairProcess(tmp_path)
    yield pair
    pair.close()


@pytest.fixture
def pair(stopped: PairProcess) -> PairProcess:
    """A pair that serves, the warm worker included."""
    stopped.start()
    stopped.settled()
    return stopped
