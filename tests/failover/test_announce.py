"""An address moves to another node, in network namespaces: who notices, and when."""

import errno
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfsd.failover.announce import announce, has_address, interface_of, tickle
from tests.support.waiting import until

from .network import Network

ROOT = Path(__file__).resolve().parents[2]
PORT = 2049
NOTICED_S = 0.2
SILENCE_S = 1.0
IP_FREEBIND = 15


@dataclass(frozen=True)
class Place:
    """Where the service lives, in one IP version."""

    family: socket.AddressFamily
    address: str
    prefix: int
    client: str


PLACES = {
    "ipv4": Place(socket.AF_INET, "10.77.0.10", 24, "10.77.0.3"),
    "ipv6": Place(socket.AF_INET6, "fd00:77::10", 64, "fd00:77::3"),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Both IP versions."""
    return PLACES[request.param]


@pytest.fixture
def network(namespaces: None) -> Iterator[Network]:
    """Nodes a and b, and a client; a has the service address."""
    with Network(
        a=("10.77.0.1/24", "fd00:77::1/64", "10.77.0.10/24", "fd00:77::10/64"),
        b=("10.77.0.2/24", "fd00:77::2/64"),
        client=("10.77.0.3/24", "fd00:77::3/64"),
    ) as opened:
        yield opened


def listen(place: Place) -> socket.socket:
    """Listen on the service address before it is there, as a standby does."""
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    sock.bind((place.address, PORT))
    sock.listen()
    return sock


def connect(network: Network, place: Place) -> tuple[socket.socket, socket.socket]:
    """An established connection: the client's end and node a's."""
    with network.nodes["a"].call(listen, place) as listener:
        client = network.nodes["client"].call(socket.create_connection, (place.address, PORT), 5.0)
        listener.settimeout(5.0)
        return client, listener.accept()[0]


def move(network: Network, place: Place) -> None:
    """Node a is gone without a word, and node b has its address."""
    network.cut("a")
    network.add_address("b", f"{place.address}/{place.prefix}")


def seconds_to_reset(client: socket.socket, limit_s: float) -> float | None:
    """How long it takes until the client's socket is reset, or None."""
    started = time.monotonic()
    poll = select.poll()
    poll.register(client, select.POLLIN)
    if not poll.poll(limit_s * 1000):
        return None
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    return time.monotonic() - started


def neighbour(network: Network, place: Place) -> str:
    """The link-layer address that the client has for the service address."""
    words = network.nodes["client"].run(f"ip neigh show to {place.address}").split()
    return words[words.index("lladdr") + 1]


def test_idle_client_reset(network: Network, place: Place) -> None:
    """An idle client notices within 0.2 s of announcement and tickle."""
    client, lost = connect(network, place)
    b = network.nodes["b"]
    with client, lost, b.call(listen, place):
        move(network, place)
        peer = client.getsockname()[:2]
        b.call(announce, place.address, "eth0")
        assert b.call(tickle, (place.address, PORT), [peer]) == 1
        seconds = seconds_to_reset(client, 5.0)
        assert seconds is not None and seconds < NOTICED_S


def test_idle_client_without_tickle(network: Network, place: Place) -> None:
    """An announcement alone tells an idle client nothing for a second and more."""
    client, lost = connect(network, place)
    b = network.nodes["b"]
    with client, lost, b.call(listen, place):
        move(network, place)
        b.call(announce, place.address, "eth0")
        assert seconds_to_reset(client, SILENCE_S) is None


def test_living_connection_survives_tickle(network: Network, place: Place) -> None:
    """A tickle for a connection that this node really has changes nothing."""
    client, server = connect(network, place)
    with client, server:
        peer = client.getsockname()[:2]
        assert network.nodes["a"].call(tickle, (place.address, PORT), [peer]) == 1
        server.settimeout(5.0)
        client.sendall(b"still here")
        assert server.recv(64) == b"still here"


def test_neighbour_learns(network: Network, place: Place) -> None:
    """After the announcement, and not before, a neighbour knows the new link-layer address."""
    client, lost = connect(network, place)
    with client, lost:
        assert neighbour(network, place) == network.mac("a")
        move(network, place)
        assert neighbour(network, place) == network.mac("a")
        network.nodes["b"].call(announce, place.address, "eth0")
        until(lambda: neighbour(network, place) == network.mac("b"), "the neighbour knows the new address", 2.0)


def test_neighbour_heeds_either_arp(network: Network) -> None:
    """Both ARP packets leave, the request and the reply, to everybody."""

    def listen_arp() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        sock.bind(("eth0", 0x0806))
        return sock

    with network.nodes["client"].call(listen_arp) as wire:
        wire.settimeout(5.0)
        network.nodes["a"].call(announce, "10.77.0.10", "eth0")
        frames = [wire.recv(2048) for _ in range(2)]
    assert [frame[:6] for frame in frames] == [b"\xff" * 6] * 2
    assert [frame[20:22] for frame in frames] == [b"\0\1", b"\0\2"]
    assert [frame[6:12].hex(":") for frame in frames] == [network.mac("a")] * 2


def test_has_address(network: Network, place: Place) -> None:
    """True on the node that has it, and only there."""
    assert network.nodes["a"].call(has_address, place.address)
    assert not network.nodes["b"].call(has_address, place.address)
    network.add_address("b", f"{place.address}/{place.prefix}")
    assert network.nodes["b"].call(has_address, place.address)


def test_has_address_nonlocal_bind(network: Network, place: Place) -> None:
    """Where every bind succeeds the answer is still right."""
    b = network.nodes["b"]
    version = 6 if place.family == socket.AF_INET6 else 4
    knob = Path(f"/proc/sys/net/ipv{version}/ip_nonlocal_bind")
    b.call(knob.write_text, "1")

    def bind() -> None:
        with socket.socket(place.family, socket.SOCK_STREAM) as sock:
            sock.bind((place.address, 0))

    b.call(bind)
    assert not b.call(has_address, place.address)


def test_has_address_duplicate_check_pending(network: Network) -> None:
    """An IPv6 address that the kernel still checks for duplicates is not usable yet."""
    b = network.nodes["b"]
    b.run("ip address add fd00:77::20/64 dev eth0")
    assert "tentative" in b.run("ip address show to fd00:77::20")
    assert not b.call(has_address, "fd00:77::20")


def test_has_address_no_literal() -> None:
    """A name is refused, not looked up."""
    with pytest.raises(ValueError):
        has_address("nfs.example.org")


def test_interface_of(network: Network, place: Place) -> None:
    """The interface that has the address, or whose network contains it."""
    assert network.nodes["a"].call(interface_of, place.address) == "eth0"
    assert network.nodes["b"].call(interface_of, place.address) == "eth0"


def test_interface_of_narrowest(network: Network) -> None:
    """Of two networks that contain the address the narrower one counts."""
    b = network.nodes["b"]
    b.run("ip link add name wide type bridge")
    b.run("ip address add 10.77.9.9/16 dev wide")
    assert b.call(interface_of, "10.77.0.10") == "eth0"
    assert b.call(interface_of, "10.77.5.5") == "wide"


def test_interface_of_link_local(network: Network) -> None:
    """A link-local address names its interface."""
    assert network.nodes["b"].call(interface_of, "fe80::1%eth0") == "eth0"
    with pytest.raises(OSError, match="no interface eth7"):
        network.nodes["b"].call(interface_of, "fe80::1%eth7")


def test_interface_of_nowhere(network: Network) -> None:
    """Without a network that contains it, the error names the address and the remedy."""
    with pytest.raises(OSError, match=r"192\.0\.2\.1.*\[cluster\]"):
        network.nodes["b"].call(interface_of, "192.0.2.1")


def test_announce_no_interface(network: Network) -> None:
    """A wrong interface is named."""
    with pytest.raises(OSError, match="no interface eth7"):
        network.nodes["b"].call(announce, "10.77.0.10", "eth7")


def test_announce_link_down(network: Network, place: Place) -> None:
    """An interface that is down cannot carry it, and the error says what."""
    network.nodes["b"].run("ip link set eth0 down")
    with pytest.raises(OSError, match=f"cannot announce {place.address} on eth0") as raised:
        network.nodes["b"].call(announce, place.address, "eth0")
    assert raised.value.errno in (errno.ENETDOWN, errno.ENETUNREACH)


def test_announce_loopback(network: Network, place: Place) -> None:
    """Loopback has no neighbours; nothing fails."""
    network.nodes["b"].call(announce, place.address, "lo")


def test_tickle_goes_on(network: Network, place: Place) -> None:
    """Peers that cannot be reached do not stop the others, and do not count."""
    other = PLACES["ipv6" if place.family == socket.AF_INET else "ipv4"]
    peers = [
        ("192.0.2.1" if place.family == socket.AF_INET else "2001:db8::1", 700),
        (place.client, 700),
        (other.client, 700),
        ("no address", 700),
        (place.client, 0),
        (place.client, 701),
    ]
    assert network.nodes["a"].call(tickle, (place.address, PORT), peers) == 2


def test_tickle_silent_neighbour(network: Network, place: Place) -> None:
    """Many connections of clients that are gone hold nobody up for long."""
    gone = "10.77.0.99" if place.family == socket.AF_INET else "fd00:77::99"
    peers = [(gone, 1000 + number) for number in range(3000)] + [(place.client, 700)]
    started = time.monotonic()
    assert network.nodes["a"].call(tickle, (place.address, PORT), peers) <= len(peers)
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "call",
    [
        "announce('10.77.0.10', 'eth0')",
        "announce('fd00:77::10', 'eth0')",
        "tickle(('10.77.0.10', 2049), [])",
        "tickle(('fd00:77::10', 2049), [])",
    ],
)
def test_without_capability(network: Network, call: str) -> None:
    """Without CAP_NET_RAW the error says that it is missing."""
    code = f"from nfsd.failover.announce import announce, tickle\n{call}"
    done = network.nodes["a"].call(
        subprocess.run,
        ["setpriv", "--bounding-set", "-net_raw", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=20,
    )
    assert done.returncode == 1 and "CAP_NET_RAW" in done.stderr
