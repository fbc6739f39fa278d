"""Listening TCP sockets, made before anybody serves on them.

Owns their options. Must not know who accepts: connections wait in the backlog until somebody does.
"""

from __future__ import annotations

import socket

BACKLOG = 4096
"""Connections that wait while nobody accepts; the kernel's own limit (net.core.somaxconn) holds as well."""


_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h; the socket module does not name them


def open_listeners(host: str, port: int, *, elsewhere: bool = False) -> list[socket.socket]:
    """One listening socket for each address of `host`, which may be `elsewhere` as yet: another node has it.

    Raises OSError, with the address in its text.
    """
    flags = socket.AI_PASSIVE
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, address in dict.fromkeys(infos):
            opened.append(_open(family, kind, protocol, address, elsewhere))
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened


def _open(family: int, kind: int, protocol: int, address: tuple[object, ...], elsewhere: bool) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if elsewhere and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        elif elsewhere:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from error
    return sock


def text_of(sock: socket.socket) -> str:
    """Where it listens, as HOST:PORT."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
