"""Fixtures of the failover tests: what they need of the machine, said in one line where it is missing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.packages import Need

from . import packages

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def require(needs: tuple[Need, ...]) -> None:
    """Skip, saying why, if the machine lacks something; in continuous integration that is a failure."""
    reason = packages.complaint(needs)
    if reason is None:
        return
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Root, and the commands that make a network."""
    require(packages.NAMESPACES)


@pytest.fixture(scope="session")
def keepalived() -> None:
    """Root, a network and keepalived."""
    require(packages.KEEPALIVED)


@pytest.fixture(scope="session")
def pacemaker() -> None:
    """Root, and what pacemaker's agents are tested with."""
    require(packages.PACEMAKER)


@pytest.fixture(scope="session")
def systemd() -> None:
    """The commands that check unit files; root only because everything here asks for it."""
    require(packages.SYSTEMD)


@pytest.fixture
def usual_mask() -> Iterator[None]:
    """New files are writable by their owner alone, as keepalived wants its scripts to be.

    A server that another test has had in this process wants to choose modes itself, and has set the mask to 0.
    """
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def room(usual_mask: None) -> Iterator[Path]:
    """A directory with a short name that every user can read."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def examples(room: Path) -> Path:
    """A copy of docs/examples, where a test may change what belongs to a site."""
    return Path(shutil.copytree(EXAMPLES, room / "examples"))
