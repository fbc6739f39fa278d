"""Tells the network where a service address lives now: neighbours by ARP and ND, old connections by an ACK.

Owns what this node asks the kernel about addresses, and the bytes of the packets. Must not know when an
address moves, who moves it, or what the connections carried. Nothing here waits for an answer; sending wants
CAP_NET_RAW.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TICKLE_TIME_MAX_S = 1.0
"""All tickles of one call; whoever is left then notices by its own timers."""
SEND_BUFFER = 8 << 20
"""Tickles wait in it while their neighbours are being resolved, about 800 bytes each."""
WINDOW = 1234
"""A tickle's window; nobody reads it, because its sequence number is out of every window."""

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h; Python has no names for these.
_NETLINK_ROUTE = 0
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME = 1, 2, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_DADFAILED, _IFA_F_TENTATIVE, _IFA_F_OPTIMISTIC = 0x08, 0x40, 0x04
_IFF_NOARP, _IFF_LOOPBACK = 0x80, 0x08
_NETLINK_TIME_S = 1.0
_NETLINK_REPLY_MAX = 1 << 18
_IPV6_HDRINCL = 36
_SO_SNDBUFFORCE = 32

_ETHERNET_LENGTH = 6
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETH_P_ARP = 0x0806
_NEIGHBOUR_ADVERTISEMENT = 136
_TARGET_LINK_ADDRESS = 2
_ND_ROUTER, _ND_OVERRIDE = 0x80000000, 0x20000000
_TCP_ACK = 0x10
ALL_NODES = ipaddress.IPv6Address("ff02::1")


@dataclass(frozen=True, slots=True)
class _Assigned:
    """An address of this node, as the kernel has it."""

    index: int
    address: Address
    prefix: int
    usable: bool


@dataclass(frozen=True, slots=True)
class _Link:
    """An interface of this node."""

    index: int
    name: str
    kind: int
    flags: int
    address: bytes
    broadcast: bytes


# --- what the kernel has -----------------------------------------------------------------------------------


def interface_of(address: str) -> str:
    """The interface that has the address, or else the one whose network is the narrowest to contain it.

    A link-local IPv6 address names its interface itself: fe80::1%eth0.

    Raises:
        ValueError: this is no literal address.
        OSError: no interface has such a network, or the kernel does not answer.
    """
    wanted, scope = _split(address)
    if scope:
        return socket.if_indextoname(_index_of(scope))
    best: _Assigned | None = None
    for one in _assigned(wanted.version):
        if one.address == wanted:
            return socket.if_indextoname(one.index)
        network = ipaddress.ip_network((one.address, one.prefix), strict=False)
        if wanted in network and (best is None or one.prefix > best.prefix):
            best = one
    if best is None:
        raise OSError(
            errno.EADDRNOTAVAIL,
            f"no interface has a network that contains {address}: give one of the interfaces "
            f"an address in it, or name the interface in [cluster]",
        )
    return socket.if_indextoname(best.index)


def has_address(address: str) -> bool:
    """Whether this node has the address now, on any interface, ready for use.

    The kernel's own list is asked, because a bind succeeds for every address where net.ipv4.ip_nonlocal_bind
    is set. An IPv6 address that is still being checked for duplicates, or has been found to be one, is not
    had: the kernel does not answer for it (RFC 4862 5.4).

    Raises:
        ValueError: this is no literal address.
        OSError: the kernel does not answer.
    """
    wanted, scope = _split(address)
    index = _index_of(scope) if scope else 0
    return any(one.address == wanted and one.usable and index in (0, one.index) for one in _assigned(wanted.version))


def _split(address: str) -> tuple[Address, str]:
    """An address without its scope, and the scope. An IPv4 address in IPv6's clothes is undressed."""
    bare, _, scope = address.partition("%")
    parsed = ipaddress.ip_address(bare)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped, ""
    return parsed, scope


def _index_of(interface: str) -> int:
    """The interface's index, by name or as digits. Raises OSError with the name in its text."""
    if interface.isdecimal():
        return int(interface)
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise OSError(errno.ENODEV, f"there is no interface {interface} on this node") from error


def _assigned(version: int) -> Iterator[_Assigned]:
    """This node's addresses of one IP version (rtnetlink(7), RTM_GETADDR)."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for message in _dump(_RTM_GETADDR, _RTM_NEWADDR, struct.pack("=BBBBI", family, 0, 0, 0, 0)):
        of, prefix, flags, _scope, index = struct.unpack_from("=BBBBI", message)
        attributes = _attributes(message[8:])
        # On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
        raw = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
        if of != family or raw is None:
            continue
        if _IFA_FLAGS in attributes:
            (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
        pending = flags & _IFA_F_TENTATIVE and not flags & _IFA_F_OPTIMISTIC
        yield _Assigned(index, ipaddress.ip_address(raw), prefix, not (pending or flags & _IFA_F_DADFAILED))


def _link(interface: str) -> _Link:
    """The interface's link layer (rtnetlink(7), RTM_GETLINK). Raises OSError if there is none."""
    wanted = _index_of(interface)
    for message in _dump(_RTM_GETLINK, _RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        kind, index, flags = struct.unpack_from("=xxHiI", message)
        if index == wanted:
            found = _attributes(message[16:])
            name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
            return _Link(index, name, kind, flags, found.get(_IFLA_ADDRESS, b""), found.get(_IFLA_BROADCAST, b""))
    raise OSError(errno.ENODEV, f"there is no interface {interface} on this node")


def _dump(request: int, answer: int, body: bytes) -> Iterator[bytes]:
    """The bodies of all messages of one kind that the kernel has, after one netlink request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as sock:
        sock.settimeout(_NETLINK_TIME_S)
        sock.sendto(struct.pack("=IHHII", 16 + len(body), request, _NLM_F_REQUEST_DUMP, 1, 0) + body, (0, 0))
        while True:
            data = sock.recv(_NETLINK_REPLY_MAX)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, 16)[0]
                    raise OSError(code, f"netlink refuses request {request}: {os.strerror(code)}")
                if kind == answer:
                    yield data[16:length]
                data = data[max(16, (length + 3) & ~3) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a netlink message, by type (struct rtattr)."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


# --- neighbours --------------------------------------------------------------------------------------------


def announce(address: str, interface: str) -> None:
    """Send every neighbour on the interface this node's link-layer address for `address`, once.

    IPv4: a gratuitous ARP request and reply, because there are hosts that heed only one of them. IPv6: an
    unsolicited neighbour advertisement. On an interface that has no neighbours to tell (loopback, NOARP) it
    does nothing. Networks lose packets: the caller repeats it (RFC 5227 2.3, RFC 4861 7.2.6).

    Raises:
        ValueError: this is no literal address.
        OSError: no such interface, it is down, its link is not Ethernet's, or CAP_NET_RAW is missing.
    """
    wanted, _ = _split(address)
    link = _link(interface)
    if link.flags & (_IFF_LOOPBACK | _IFF_NOARP):
        return
    if len(link.address) != _ETHERNET_LENGTH:
        raise OSError(
            errno.EOPNOTSUPP,
            f"cannot announce {address} on {interface}: its link-layer addresses have {len(link.address)} "
            f"bytes, not Ethernet's {_ETHERNET_LENGTH}; let the cluster manager announce it",
        )
    try:
        if isinstance(wanted, ipaddress.IPv4Address):
            _announce_ipv4(wanted, link)
        else:
            packet = neighbour_advertisement(wanted, link.address, router=_forwards(link.name))
            with _raw_socket(6) as sock:
                sock.sendto(packet, (str(ALL_NODES), 0, 0, link.index))
    except OSError as error:
        raise OSError(
            error.errno, f"cannot announce {address} on {interface}: {error.strerror}{_remedy(error)}"
        ) from error


def _announce_ipv4(address: ipaddress.IPv4Address, link: _Link) -> None:
    """Send both ARP packets to the link's broadcast address."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        sock.setblocking(False)
        for operation in (_ARP_REQUEST, _ARP_REPLY):
            packet = arp(operation, address, link.address)
            sock.sendto(packet, (link.name, _ETH_P_ARP, 0, 0, link.broadcast))
    finally:
        # The kernel takes about 10 ms to close a packet socket, and clients wait for what comes next.
        threading.Thread(target=sock.close, name="announce-close", daemon=True).start()


def arp(operation: int, address: ipaddress.IPv4Address, hardware: bytes) -> bytes:
    """A gratuitous ARP packet over Ethernet (RFC 826), sender and target both `address` (RFC 5227 2.3, 3).

    A reply names the hardware address as target too (RFC 5944 4.6): Linux heeds no other gratuitous reply.
    """
    target = hardware if operation == _ARP_REPLY else bytes(_ETHERNET_LENGTH)
    head = struct.pack("!HHBBH", 1, 0x0800, _ETHERNET_LENGTH, 4, operation)
    return head + hardware + address.packed + target + address.packed


def neighbour_advertisement(address: ipaddress.IPv6Address, hardware: bytes, *, router: bool) -> bytes:
    """An unsolicited neighbour advertisement to all nodes, with its IPv6 header (RFC 4861 4.4, 7.2.6).

    The hop limit of 255 is what its receivers check first; `router` must be what the node is, because hosts
    drop a default router that denies being one.
    """
    flags = _ND_OVERRIDE | (_ND_ROUTER if router else 0)
    option = struct.pack("!BB", _TARGET_LINK_ADDRESS, 1) + hardware
    body = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, flags) + address.packed + option
    sums = checksum(_pseudo_header(address, ALL_NODES, socket.IPPROTO_ICMPV6, len(body)) + body)
    return _ipv6_header(address, ALL_NODES, socket.IPPROTO_ICMPV6, len(body), hop_limit=255) + (
        body[:2] + struct.pack("!H", sums) + body[4:]
    )


def _forwards(interface: str) -> bool:
    """Whether this node is an IPv6 router on the interface."""
    try:
        return Path(f"/proc/sys/net/ipv6/conf/{interface}/forwarding").read_text(encoding="ascii") != "0\n"
    except FileNotFoundError:
        return False


# --- connections -------------------------------------------------------------------------------------------


def tickle(local: tuple[str, int], peers: Iterable[tuple[str, int]]) -> int:
    """Send each peer a TCP ACK with sequence number 0 from `local`; return how many have been sent.

    A peer that still has the connection answers with its real numbers, and this node, which does not know
    them, resets it (RFC 9293 3.10.7.4, 3.10.7.1). So the address must be on this node, and its port listened
    on. Nobody else is disturbed: a host without such a connection resets ours, which does not exist.

    One that cannot be sent (no route, another IP version) does not stop the others; the caller sees it by the
    number. Takes TICKLE_TIME_MAX_S at most.

    Raises:
        ValueError: `local` is no literal address.
        OSError: no raw socket: CAP_NET_RAW is missing.
    """
    source, _ = _split(local[0])
    sent = 0
    deadline = time.monotonic() + TICKLE_TIME_MAX_S
    with _raw_socket(source.version) as sock:
        for host, port in peers:
            if _send_tickle(sock, source, local[1], host, port, deadline):
                sent += 1
    return sent


def _send_tickle(sock: socket.socket, source: Address, source_port: int, host: str, port: int, deadline: float) -> bool:
    """Send one, waiting for room in the socket until the deadline. Whether it has been sent."""
    try:
        peer, scope = _split(host)
        packet = tickle_packet(source, source_port, peer, port)
        # A raw IPv6 socket refuses a port; the scope says by which link a link-local peer is reached.
        where = (str(peer), 0, 0, _index_of(scope)) if scope else (str(peer), 0)
    except (ValueError, OSError):
        return False
    while True:
        try:
            sock.sendto(packet, where)
            return True
        except BlockingIOError:
            if not _wait_writable(sock, deadline):
                return False
        except OSError:
            return False


def _wait_writable(sock: socket.socket, deadline: float) -> bool:
    """Wait until the socket has room again, until the deadline at most."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _raw_socket(version: int) -> socket.socket:
    """A socket that sends packets with their IP headers as they are, and never waits."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    except OSError as error:
        raise OSError(error.errno, f"no raw socket: {error.strerror}{_remedy(error)}") from error
    try:
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
        except PermissionError:
            # Without CAP_NET_ADMIN net.core.wmem_max holds; more tickles then have to wait for neighbours.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    except OSError:
        sock.close()
        raise
    return sock


def _remedy(error: OSError) -> str:
    wanting = isinstance(error, PermissionError) and "CAP_NET_RAW" not in str(error)
    return ": give the process CAP_NET_RAW" if wanting else ""


def tickle_packet(source: Address, source_port: int, peer: Address, peer_port: int) -> bytes:
    """An IP packet with a TCP ACK, sequence and acknowledgement numbers 0, no options, no data (RFC 9293 3.1).

    Raises ValueError if the two addresses are of different IP versions, or a port does not fit.
    """
    if not 0 < peer_port < 1 << 16 or not 0 < source_port < 1 << 16:
        raise ValueError(f"no port: {source_port}, {peer_port}")
    segment = struct.pack("!HHIIBBHHH", source_port, peer_port, 0, 0, 5 << 4, _TCP_ACK, WINDOW, 0, 0)
    sums = checksum(_pseudo_header(source, peer, socket.IPPROTO_TCP, len(segment)) + segment)
    segment = segment[:16] + struct.pack("!H", sums) + segment[18:]
    if isinstance(source, ipaddress.IPv4Address):
        return _ipv4_header(source, peer, socket.IPPROTO_TCP, len(segment)) + segment
    return _ipv6_header(source, peer, socket.IPPROTO_TCP, len(segment), hop_limit=64) + segment


def _ipv4_header(source: Address, target: Address, protocol: int, length: int) -> bytes:
    """RFC 791 3.1: no options, not to be fragmented, so that its identification may be 0 (RFC 6864 4.1)."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0)
    head += source.packed + target.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def _ipv6_header(source: Address, target: Address, protocol: int, length: int, *, hop_limit: int) -> bytes:
    """RFC 8200 3."""
    return struct.pack("!IHBB", 6 << 28, length, protocol, hop_limit) + source.packed + target.packed


def _pseudo_header(source: Address, target: Address, protocol: int, length: int) -> bytes:
    """What a checksum covers besides the packet itself (RFC 9293 3.1, RFC 8200 8.1)."""
    if source.version != target.version:
        raise ValueError(f"{source} and {target} are not of one IP version")
    tail = struct.pack("!BBH", 0, protocol, length) if source.version == 4 else struct.pack("!II", length, protocol)
    return source.packed + target.packed + tail


def checksum(data: bytes) -> int:
    """The internet checksum of data whose own checksum field is 0 (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
