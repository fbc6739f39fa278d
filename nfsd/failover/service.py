"""The service manager: what it has opened for us, and what it wants to hear (sd_listen_fds(3), sd_notify(3)).

Owns both protocols, which are a few environment variables and one datagram. Must not know what is served.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from nfsd.log import get_logger

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

log = get_logger()


def passed_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening TCP sockets that the service manager passed to this process, if any.

    The variables are removed, so that no child takes the descriptors for its own. What is no listening TCP
    socket is left alone and logged. Raises: ValueError if the variables make no sense.
    """
    process, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if not count or process != str(os.getpid()):
        return []
    found = []
    for index in range(int(count)):
        descriptor = FIRST_DESCRIPTOR + index
        name = names[index] if index < len(names) else ""
        try:
            os.set_inheritable(descriptor, False)
            given = socket.socket(fileno=descriptor)
        except OSError as error:
            log.warning("service.descriptor_ignored", descriptor=descriptor, name=name, reason=str(error))
            continue
        if _listens(given):
            given.setblocking(False)
            found.append(given)
        else:
            given.detach()
            reason = "not a listening TCP socket"
            log.warning("service.descriptor_ignored", descriptor=descriptor, name=name, reason=reason)
    return found


def _listens(given: socket.socket) -> bool:
    return (
        given.family in (socket.AF_INET, socket.AF_INET6)
        and given.type == socket.SOCK_STREAM
        and bool(given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )


def watchdog_s(environment: MutableMapping[str, str] = os.environ) -> float | None:
    """How soon the service manager gives us up without a sign of life, in seconds; None if it does not watch.

    Raises: ValueError if the variables make no sense.
    """
    process, interval_us = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if not interval_us or process not in ("", str(os.getpid())):
        return None
    return int(interval_us) / 1_000_000


class Notifier:
    """Tells the service manager; does nothing where there is none."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with @ lies in the abstract name space.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *lines: str) -> None:
        """Send assignments such as READY=1. A manager that does not listen is no reason to fail."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)
