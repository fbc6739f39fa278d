"""Fixtures of the kernel tests: one lab and one server a session, two guests for each minor version.

The server is Understudy; `--peer ganesha` (or UNDERSTUDY_PEER=ganesha) runs the same tests against Debian's
nfs-ganesha, which shows that they ask for nothing peculiar to us.
"""

import os
import random
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.waiting import watch

from .clients import Clients, Site, place_for
from .cluster import Cluster, Service, make_group
from .lab import Lab
from .nodes import Plan
from .packages import complaint
from .server import SERVERS, Server

TEST_TIMEOUT_S = 300
RELEASE_TIMEOUT_S = 10.0
VERSIONS = ("4.0", "4.1", "4.2")
GANESHA_LACKS = {
    "test_copies[4.2]": "nfs-ganesha 4.3 copies nothing in the server",
    "test_extended_attributes[4.2]": "nfs-ganesha 4.3 has no extended attributes on its VFS back end",
}
SERVER_KEY = pytest.StashKey[Server]()
CLIENTS_KEY = pytest.StashKey[Clients]()
SERVICE_KEY = pytest.StashKey[Service]()
NODES_CLIENTS_KEY = pytest.StashKey[Clients]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --peer, --kills and --seed."""
    parser.addoption("--peer", choices=sorted(SERVERS), default=None, help="the server that guests mount")
    parser.addoption("--kills", type=int, default=None, help="how often test_kills.py kills the active worker")
    parser.addoption("--seed", type=int, default=None, help="what decides when; a run prints its own")


def peer_name(config: pytest.Config) -> str:
    """Return which server is tested."""
    chosen = config.getoption("--peer", default=None) or os.environ.get("UNDERSTUDY_PEER") or "understudy"
    if chosen not in SERVERS:
        raise pytest.UsageError(f"unknown peer {chosen!r}: one of {', '.join(SERVERS)}")
    return str(chosen)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limit what needs a guest; expect of a peer that it fails where it lacks something."""
    lacks = GANESHA_LACKS if peer_name(config) == "ganesha" else {}
    for item in items:
        if item.path.parent != Path(__file__).parent or "machine" not in getattr(item, "fixturenames", ()):
            continue
        if config.pluginmanager.hasplugin("timeout"):
            # By signal, because the other method ends the run without the lab's tear-down.
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S, method="signal"))
        if reason := lacks.get(item.name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> None:
    """Skip what this machine cannot run, saying what to install; in CI that is a failure."""
    reason = complaint(peer_name(request.config))
    if reason is None:
        return
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def lab(machine: None) -> Iterator[Lab]:
    """The network namespace and the run's directory."""
    with Lab() as opened:
        yield opened


@pytest.fixture(scope="session")
def server(lab: Lab, pytestconfig: pytest.Config) -> Iterator[Server]:
    """The server, listening."""
    started = SERVERS[peer_name(pytestconfig)](lab)
    pytestconfig.stash[SERVER_KEY] = started
    started.start()
    yield started
    started.stop()
    assert not started.state_problems()


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """The minor version; pytest runs all tests of one before the next."""
    return str(request.param)


def left_over(server: Server) -> dict[str, int]:
    """Return what state the server holds once that is nothing, or after a while what it is."""
    return watch(server.left_over, lambda held: not held, RELEASE_TIMEOUT_S, poll_s=0.2)


@pytest.fixture(scope="session")
def clients(lab: Lab, server: Server, version: str, pytestconfig: pytest.Config) -> Iterator[Clients]:
    """The two guests of one minor version."""
    pair = Clients(lab, server, version)
    pytestconfig.stash[CLIENTS_KEY] = pair
    yield pair
    try:
        if not pair.replaced and server.alive():
            assert left_over(server) == {}, "the server holds state of files that nobody has open"
    finally:
        pair.close()


@pytest.fixture
def site(clients: Clients, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A place for a test, served by one node."""
    yield from place_for(request.node.name, clients)


@pytest.fixture(scope="session")
def several_nodes(machine: None, pytestconfig: pytest.Config) -> None:
    """Skip what needs more than one node with a peer that has no other."""
    if peer_name(pytestconfig) != "understudy":
        pytest.skip("only understudy goes on on another node")


@pytest.fixture(scope="session")
def service(several_nodes: None, pytestconfig: pytest.Config) -> Iterator[Service]:
    """A service group on two nodes with keepalived, in a lab of its own."""
    with Lab() as lab:
        cluster = Cluster(lab, Plan((make_group(lab.directory, "one", 1),)))
        started = cluster.services["one"]
        pytestconfig.stash[SERVICE_KEY] = started
        try:
            cluster.start()
            yield started
            cluster.stop()
            assert not started.state_problems()
        finally:
            cluster.power_off()


@pytest.fixture(scope="session")
def nodes_clients(service: Service, version: str, pytestconfig: pytest.Config) -> Iterator[Clients]:
    """Two guests that mount the service group's address."""
    pair = Clients(service.lab, service, version)
    pytestconfig.stash[NODES_CLIENTS_KEY] = pair
    yield pair
    pair.close()


@pytest.fixture
def nodes_site(nodes_clients: Clients, service: Service, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A place for a test, served by whichever of two nodes; both are whole before and after."""
    service.cluster.restore()
    yield from place_for(request.node.name, nodes_clients)


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What decides when the server dies and what files hold; every run has another unless --seed is given."""
    given = pytestconfig.getoption("--seed", default=None)
    return random.SystemRandom().randrange(1 << 31) if given is None else int(given)


def sections(stash: pytest.Stash, used: Sequence[str]) -> list[tuple[str, str]]:
    """What the servers and the guests' kernels of the fixtures in use said, each with a heading."""
    found: list[tuple[str, str]] = []
    servers: tuple[Server | None, ...] = (
        stash.get(SERVER_KEY, None) if "site" in used else None,
        stash.get(SERVICE_KEY, None) if "service" in used else None,
    )
    pairs = (
        stash.get(CLIENTS_KEY, None) if "site" in used else None,
        stash.get(NODES_CLIENTS_KEY, None) if "nodes_site" in used else None,
    )
    found += [(f"log of {server.name}", server.report()) for server in servers if server is not None]
    for pair in pairs:
        found += pair.reports() if pair is not None else []
    return found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    """Attach what the server and the guests' kernels said to the report of a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        report.sections.extend(sections(item.config.stash, getattr(item, "fixturenames", ())))
