"""Seeds: a new one for each run, printed so that a failure can be repeated; UNDERSTUDY_SEED sets it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def new_seed() -> int:
    """The seed of this run."""
    text = os.environ.get("UNDERSTUDY_SEED")
    seed = int(text) if text else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}: repeat it with UNDERSTUDY_SEED={seed}")
    return seed
