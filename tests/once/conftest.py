"""The boundaries around everything that a server of these tests does, and a place for its directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.once.harness import Boundaries, patched

IN_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def boundaries() -> Iterator[Boundaries]:
    """The boundaries around everything that a server of this file does."""
    found = Boundaries()
    with patched(found):
        yield found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the worlds are: in memory if possible, for the sake of speed."""
    return IN_MEMORY if IN_MEMORY.is_dir() else tmp_path


@pytest.fixture
def new_seed() -> int:
    """The seed of this run, printed so that a failure can be repeated; UNDERSTUDY_SEED sets it."""
    text = os.environ.get("UNDERSTUDY_SEED")
    seed = int(text) if text else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}: repeat it with UNDERSTUDY_SEED={seed}")
    return seed


@pytest.fixture(scope="session")
def cells() -> Iterator[dict[str, list[int]]]:
    """By scenario: boundaries of the request, and ways that were tried; printed at the end (pytest -s shows it)."""
    found: dict[str, list[int]] = {}
    yield found
    if found:
        print("\n| request, minor version, handles | boundaries | crashes tried |\n| :- | -: | -: |")
        for name, (points, tried) in found.items():
            print(f"| {name} | {points} | {tried} |")
        print(f"| all | {sum(row[0] for row in found.values())} | {sum(row[1] for row in found.values())} |")
