"""Cores that end with their test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compound.core import Core


@pytest.fixture
def core() -> Iterator[Core]:
    """A server in memory."""
    made = Core()
    yield made
    made.close()
