"""The marks of all tests, the skip of those that need root, and how many examples hypothesis tries."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.marks import FREE_FOLDERS, KINDS, ROOT, TESTS, UNIT, Watch, kind_of, needs_root

# A busy machine is no failure: an example has no deadline of its own. The second is for `make quick`, by
# pytest --hypothesis-profile=quick; a test that names its own count keeps it.
settings.register_profile("usual", deadline=None)
settings.register_profile("quick", max_examples=10, deadline=None)
settings.load_profile("usual")
WATCH = pytest.StashKey[Watch]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch unit tests."""
    watch = config.stash[WATCH] = Watch()
    watch.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its marks."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if not any(item.get_closest_marker(kind) for kind in KINDS):
            item.add_marker(kind_of(item.path, getattr(item, "originalname", item.name), fixtures, parameters))
        if item.get_closest_marker(ROOT) and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="acting as other users needs root"))
        # These look after themselves: they can say more of what is missing.
        if needs_root(fixtures, parameters):
            item.add_marker(ROOT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watch a unit test from its set-up to the end of its call.

    Not its tear-down: with the last test of a kind ends what other tests had in common.
    """
    watch = item.config.stash[WATCH]
    free = item.path.relative_to(TESTS).parts[0] in FREE_FOLDERS
    watch.test = item.nodeid if item.get_closest_marker(UNIT) and not free else None
    try:
        return (yield)
    finally:
        watch.test = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What ends now may not be this test's own."""
    item.config.stash[WATCH].test = None
