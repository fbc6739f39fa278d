"""The bytes that announce an address and tickle a connection, each field where the standards have it."""

import ipaddress
import struct

import pytest

from nfsd.failover.announce import arp, checksum, neighbour_advertisement, tickle_packet

MAC = bytes.fromhex("02005e102030")
FOUR = ipaddress.IPv4Address("192.0.2.10")
FOUR_PEER = ipaddress.IPv4Address("198.51.100.7")
SIX = ipaddress.IPv6Address("2001:db8::10")
SIX_PEER = ipaddress.IPv6Address("2001:db8:1::7")


def ones_sum(data: bytes) -> int:
    """RFC 1071 the slow way, byte by byte; 0xffff over data that has its right checksum in it."""
    total = 0
    for place, byte in enumerate(data):
        total += byte << (8 if place % 2 == 0 else 0)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_checksum_example() -> None:
    """The worked example of RFC 1071 section 3: the sum is ddf2, the checksum its complement."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_checksum_odd_length() -> None:
    """An odd last byte counts as if a zero followed."""
    assert checksum(b"\x12\x34\x56") == checksum(b"\x12\x34\x56\x00")


def test_checksum_carries_twice() -> None:
    """A carry that makes another carry is folded too."""
    assert checksum(b"\xff\xff" * 3 + b"\x00\x01") == 0xFFFF ^ 1


def test_arp_request() -> None:
    """An ARP announcement (RFC 5227): request, sender and target the address, nobody's hardware as target."""
    assert arp(1, FOUR, MAC).hex() == ("000108000604000102005e102030c000020a000000000000c000020a")


def test_arp_reply() -> None:
    """A gratuitous reply (RFC 5944 4.6) has the sender's hardware address as its target too."""
    assert arp(2, FOUR, MAC).hex() == ("000108000604000202005e102030c000020a02005e102030c000020a")


@pytest.mark.parametrize(("router", "flags"), [(False, 0x20), (True, 0xA0)])
def test_neighbour_advertisement(router: bool, flags: int) -> None:
    """RFC 4861 4.4 and 7.2.6: to all nodes, hop limit 255, override, not solicited, our link address."""
    packet = neighbour_advertisement(SIX, MAC, router=router)
    assert len(packet) == 40 + 32
    version, length, protocol, hop_limit = struct.unpack_from("!IHBB", packet)
    assert (version, length, protocol, hop_limit) == (6 << 28, 32, 58, 255)
    assert packet[8:24] == SIX.packed
    assert packet[24:40] == ipaddress.IPv6Address("ff02::1").packed
    assert packet[40:42] == bytes([136, 0])
    assert packet[44:48] == bytes([flags, 0, 0, 0])
    assert packet[48:64] == SIX.packed
    assert packet[64:] == bytes([2, 1]) + MAC
    assert ones_sum(packet[8:40] + struct.pack("!II", 32, 58) + packet[40:]) == 0xFFFF


def check_segment(segment: bytes) -> None:
    """An ACK of sequence number 0 that acknowledges 0, without options and data."""
    assert len(segment) == 20
    source, target, sequence, acknowledged, offset, flags, _window, _sum, urgent = struct.unpack("!HHIIBBHHH", segment)
    assert (source, target, sequence, acknowledged) == (2049, 700, 0, 0)
    assert (offset, flags, urgent) == (0x50, 0x10, 0)


def test_tickle_ipv4() -> None:
    """A whole IPv4 packet; both checksums come out."""
    packet = tickle_packet(FOUR, 2049, FOUR_PEER, 700)
    head, segment = packet[:20], packet[20:]
    assert head[0] == 0x45 and struct.unpack_from("!H", head, 2)[0] == len(packet) == 40
    assert head[8] > 1 and head[9] == 6
    assert head[12:16] == FOUR.packed and head[16:20] == FOUR_PEER.packed
    assert ones_sum(head) == 0xFFFF
    check_segment(segment)
    assert ones_sum(head[12:20] + struct.pack("!HH", 6, 20) + segment) == 0xFFFF


def test_tickle_ipv6() -> None:
    """A whole IPv6 packet; the checksum covers the pseudo-header of RFC 8200 8.1."""
    packet = tickle_packet(SIX, 2049, SIX_PEER, 700)
    head, segment = packet[:40], packet[40:]
    assert struct.unpack_from("!IHBB", head)[:3] == (6 << 28, 20, 6)
    assert head[8:24] == SIX.packed and head[24:] == SIX_PEER.packed
    check_segment(segment)
    assert ones_sum(head[8:] + struct.pack("!II", 20, 6) + segment) == 0xFFFF


def test_tickle_two_versions() -> None:
    """A connection is of one IP version."""
    with pytest.raises(ValueError, match="one IP version"):
        tickle_packet(FOUR, 2049, SIX_PEER, 700)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_tickle_bad_port(port: int) -> None:
    """What is no port is refused before anything is packed."""
    with pytest.raises(ValueError, match="no port"):
        tickle_packet(FOUR, 2049, FOUR_PEER, port)
