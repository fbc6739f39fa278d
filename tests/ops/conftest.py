"""What the tests of operations on files leave open is closed behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ops import files


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the namespaces that a test has made."""
    yield
    while files.made:
        files.made.pop().close()
