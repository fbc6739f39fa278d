"""What a test gets: two Linux clients with the same export mounted, and a directory of its own in it.

Owns the pair of guests of one minor version and replaces guests that hang. It must not know workloads other
than the guest's own administration.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.judge import ALARMS
from tests.support.processes import tail

from . import mountstats
from .guest import CALL_TIMEOUT_S, ROOT, Guest, GuestProcess, Pending, User
from .lab import SERVER_ADDRESS, Lab
from .server import SQUASH, WORK, Server, UnderstudyServer
from .workloads import system

MOUNTS = "/run/nfs"
NAMES = ("a", "b")


class Client:
    """A guest with the exports mounted, below a directory of the guest's."""

    def __init__(self, guest: Guest, version: str, address: str = SERVER_ADDRESS, root: str = MOUNTS) -> None:
        self.guest = guest
        self.version = version
        self.address = address
        self.work = f"{root}{WORK}"
        self.squash = f"{root}{SQUASH}"

    def mount(self) -> None:
        """Mount both exports."""
        self.mount_at(WORK, self.work)
        self.mount_at(SQUASH, self.squash)

    def mount_at(self, source: str, target: str, more: str = "") -> None:
        """Mount a path of the server with this client's minor version, and with more options (",OPTION...")."""
        options = f"vers={self.version},proto=tcp,hard,timeo=600{more}"
        self.call(system.mount, f"{self.address}:{source}", target, options, timeout_s=50)

    def call(
        self, function: Callable[..., Any], *arguments: Any, user: User = ROOT, timeout_s: float = CALL_TIMEOUT_S
    ) -> Any:
        """Call a workloads function in the guest."""
        return self.guest.call(function, *arguments, user=user, timeout_s=timeout_s)

    def process(self, user: User = ROOT) -> GuestProcess:
        """Return a new process of the guest."""
        return self.guest.process(user)

    def distinct_process(self) -> GuestProcess:
        """Return a process whose id no other guest's such process has.

        Linux makes the verifier of an exclusive create of the time since its boot and the process id. Guests that
        booted together would now and then send the same one, and a server has to take that for one request sent twice.
        """
        place = NAMES.index(self.guest.name[0])
        while True:
            process = self.process()
            if process.call(system.identity)["pid"] % len(NAMES) == place:
                return process

    def shell(self, command: str, directory: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """Run a shell command that must succeed, stopping at its first failure; return its output."""
        done = self.call(system.shell, f"set -e\n{command}", directory, timeout_s=timeout_s)
        assert done["code"] == 0, f"exit code {done['code']}:\n{done['output']}"
        return str(done["output"])

    def forget(self) -> None:
        """Drop the client's clean caches."""
        self.call(system.drop_caches)

    def stats(self, mounted_on: str | None = None) -> mountstats.MountStats:
        """Return the counters of a mount, by default of WORK."""
        return mountstats.parse(self.call(system.mountstats), mounted_on or self.work)


Work = tuple[Client, Callable[..., Any], tuple[Any, ...]]


def at_once(works: Sequence[Work], timeout_s: float = 90.0) -> list[Any]:
    """Run calls at the same time, each in a process of its own, and return their results in order."""
    processes = [client.process() for client, _, _ in works]
    for process in processes:
        process.call(system.identity)  # It exists now, so that the calls below begin together.
    running: list[Pending] = [
        process.start(function, *arguments, timeout_s=timeout_s)
        for process, (_, function, arguments) in zip(processes, works, strict=True)
    ]
    return [pending.result() for pending in running]


@dataclass(frozen=True, slots=True)
class Site:
    """A test's place: clients a and b, its directory in the guests and on the host, the other export."""

    a: Client
    b: Client
    version: str
    path: str
    host: Path
    squash: str
    squash_host: Path
    server: Server

    @property
    def minor(self) -> int:
        """The minor version: 0, 1 or 2."""
        return int(self.version[2:])

    def ours(self) -> UnderstudyServer:
        """The server, for what no other offers; a test that needs it is skipped on a peer."""
        if not isinstance(self.server, UnderstudyServer):
            pytest.skip("only understudy keeps its clients' state over its own death")
        return self.server


class Clients:
    """The two guests that mount with one minor version."""

    def __init__(self, lab: Lab, server: Server, version: str) -> None:
        self.lab = lab
        self.server = server
        self.version = version
        self.guests: list[Guest] = []
        self.replaced = False
        self._seen: dict[Path, int] = {}

    def ready(self) -> tuple[Client, Client]:
        """Return both clients, booted and mounted anew if one is missing or hangs."""
        if not self.server.alive():
            self.replaced = True
            self.close()
            self.server.start()
        if not all(guest.alive() and guest.healthy for guest in self.guests):
            self.replaced = True
            self.close()
        if not self.guests:
            self._boot()
        first, second = (self._client(guest) for guest in self.guests)
        return first, second

    def _client(self, guest: Guest) -> Client:
        """A guest with the server's exports."""
        return Client(guest, self.version, self.server.address)

    def _boot(self) -> None:
        """Boot the guests, at the same time, and mount."""
        for index, name in enumerate(NAMES, 1):
            self.guests.append(Guest(self.lab, f"{name}{self.version.replace('.', '')}", index))
        for guest in self.guests:
            guest.wait_ready()
            self._client(guest).mount()
            self._seen[guest.console] = guest.console.stat().st_size

    def alarms(self) -> list[str]:
        """Return what the guests' kernels complained of since the last call."""
        found = []
        for guest in self.guests:
            text = guest.console.read_bytes()
            new = text[self._seen.get(guest.console, 0) :].decode(errors="replace")
            self._seen[guest.console] = len(text)
            found += [f"{guest.name}: {line}" for line in new.splitlines() if ALARMS.search(line)]
        return found

    def end_processes(self) -> None:
        """Kill the processes that a test began in guests that still answer."""
        for guest in self.guests:
            if guest.alive() and guest.healthy:
                guest.end_processes()

    def reports(self) -> list[tuple[str, str]]:
        """Return the tails of the guests' consoles, each with a heading."""
        return [(f"kernel log of guest {guest.name}", tail(guest.console, 4000)) for guest in self.guests]

    def close(self) -> None:
        """Switch the guests off."""
        while self.guests:
            self.guests.pop().close()


def place_for(test: str, clients: Clients) -> Iterator[Site]:
    """A directory of a test's own, in both exports, on two clients; healthy afterwards as before."""
    server = clients.server
    a, b = clients.ready()
    name = re.sub(r"[^A-Za-z0-9_]+", "-", test).strip("-")
    hosts: list[Path] = []
    for export in (WORK, SQUASH):
        host = server.exports[export] / name
        host.mkdir(mode=0o755)
        host.chmod(0o777 if export == SQUASH else 0o755)
        hosts.append(host)
    log = server.log_sizes()
    clients.alarms()
    before = {client: client.stats() for client in (a, b)}
    reclaimed = server.reclaimed
    yield Site(
        a,
        b,
        clients.version,
        f"{a.work}/{name}",
        hosts[0],
        f"{a.squash}/{name}",
        hosts[1],
        server,
    )
    clients.end_processes()
    assert server.alive(), "the server has ended"
    assert not server.faults_since(log), "the server logged a fault of its own"
    assert not clients.alarms(), "a client's kernel complained"
    for client, stats in before.items():
        if client.guest.healthy and server.reclaimed == reclaimed:
            again = client.stats().since(stats).set_up_again()
            assert not again, f"client {client.guest.name} had to introduce itself again: {again}"
