"""The fold: records in any order become the state that they were written from, step by step and all at once."""

from __future__ import annotations

import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nfsd.state import leftovers
from tests.state.history import ACTIONS, Action, History
from tests.state.world import fold_all

# Where a history fails, it takes minutes to find the shortest that does.
pytestmark = pytest.mark.timeout(900)

# As many as the profile says, fewer for `make quick`.
EXAMPLES = settings.default.max_examples if settings.default is not None else 100
# What makes something to work with comes more often.
_NAMES = [*ACTIONS, "confirm", "confirm", "open_file", "open_file", "lock", "lock", "lock", "add_session", "finish"]
_SMALL = some.integers(0, 23)
_ACTION: some.SearchStrategy[Action] = some.tuples(some.sampled_from(_NAMES), _SMALL, _SMALL, _SMALL)
# How much of a removed client is taken away at once.
_PORTIONS = some.sampled_from([0, 1, 128])
_BEGINNING: list[Action] = [
    ("confirm", 0, 0, 0), ("confirm", 1, 0, 0), ("add_session", 1, 3, 0), ("open_file", 0, 0, 2),
    ("open_file", 1, 0, 2),
]  # fmt: skip
_STEPS = some.lists(some.lists(_ACTION, min_size=1, max_size=4), min_size=10, max_size=30)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(_STEPS, some.randoms(use_true_random=False), _PORTIONS)
def test_follow_step_by_step(steps: list[list[Action]], shuffle: random.Random, portion: int) -> None:
    """A follower that folds each step's changes in any order has what the live state has, after each step."""
    world = History()
    follower = world.follower()
    for step in [_BEGINNING, *steps]:
        with mock.patch.object(leftovers, "PORTION", portion):
            entries = world.step(step)
        shuffle.shuffle(entries)
        fold_all(follower, entries)
        assert world.differences(follower) == []
        assert list(follower.orphans()) == []


@settings(max_examples=EXAMPLES, deadline=None)
@given(_STEPS, some.randoms(use_true_random=False), _PORTIONS)
def test_fold_everything_stored(steps: list[list[Action]], shuffle: random.Random, portion: int) -> None:
    """All stored records, in the order of their kinds or any other, are the live state."""
    world = History()
    with mock.patch.object(leftovers, "PORTION", portion):
        for step in [_BEGINNING, *steps]:
            world.step(step)
    stored = world.records()
    assert world.differences(world.follower(stored)) == []
    for _ in range(4):
        shuffle.shuffle(stored)
        follower = world.follower(stored)
        assert world.differences(follower) == []
        assert list(follower.orphans()) == []
