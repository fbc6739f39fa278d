"""Cores that end with their test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compound import core as cores
from tests.compound.core import Core


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """End the lives that a test has left."""
    yield
    while cores.running:
        cores.running[-1].close()


@pytest.fixture
def core() -> Core:
    """A server in memory."""
    return Core()
