"""Fixtures of the failover tests: what they need of the machine, said in one line where it is missing."""

import os

import pytest

from tests.kernel.packages import Need

NEEDS = (Need("ip", "iproute2"), Need("setpriv", "util-linux"))


def refuse(reason: str) -> None:
    """Skip, saying why; in continuous integration that is a failure."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Root, and the commands that make a network."""
    if os.geteuid() != 0:
        refuse("network namespaces need root: run the tests as root")
    missing = [need.package for need in NEEDS if not need.present()]
    if missing:
        refuse("apt-get install --no-install-recommends " + " ".join(dict.fromkeys(missing)))
