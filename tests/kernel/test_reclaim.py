"""A start with `--recovery reclaim`: real clients claim what they had, get just that, and nobody else waits for them.

The clients are the kernel's own, so what they send is seen in their counters: they introduce themselves again, open
again what they had open, lock again what they had locked.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from .clients import Client, Site
from .guest import Guest, GuestProcess
from .lab import Lab
from .server import WORK
from .workloads import locks, names, system

# For files that somebody may still claim; no test waits for its end.
BLACKOUT_S = 60
# A client waits 3 s after a refused connection; then it claims a handful of files.
RECLAIM_TIMEOUT_S = 15.0
# Far less than any grace period, and enough for a busy machine; how long it took is printed.
NEW_CLIENT_MAX_S = 5.0
# A machine on which it always takes longer says nothing about the start.
SLACK_S = 0.5
EXCLUSIVE, TRY = True, False
START, LENGTH = 100, 50


@pytest.fixture
def reclaiming(site: Site) -> Iterator[Callable[[], None]]:
    """A function that kills the whole server and starts it so; afterwards it is the usual server again."""
    server = site.ours()

    def restart() -> None:
        server.kill_all()
        server.options = ["--recovery", "reclaim", "--blackout", str(BLACKOUT_S)]
        server.reclaimed += 1
        server.start()

    yield restart
    if server.options:
        # A client that had nothing to do until now finds out in this test, and not in the next one.
        for client in (site.a, site.b):
            client.call(names.write, f"{site.path}/settled", client.guest.name)
        server.stop()
        server.options = []
        server.start()


@pytest.fixture
def newcomer(site: Site, lab: Lab) -> Iterator[Client]:
    """A third client, booted and not mounted."""
    site.ours()
    guest = Guest(lab, f"c{site.version.replace('.', '')}", 3)
    try:
        guest.wait_ready()
        yield Client(guest, site.version)
    finally:
        guest.close()


class Holder:
    """A process with an open file, and with another one of which it has locked a range."""

    def __init__(self, client: Client, directory: str, name: str) -> None:
        self.client = client
        self.process: GuestProcess = client.process()
        self.opened, self.locked = f"{directory}/opened-{name}", f"{directory}/locked-{name}"
        for path in (self.opened, self.locked):
            client.call(names.write, path, "before")
        self.process.call(names.hold, self.opened)
        self.process.call(names.hold, self.locked)
        assert self.process.call(locks.lock, self.locked, locks.FCNTL, EXCLUSIVE, TRY, START, LENGTH)
        self.before = client.stats()

    def begin(self) -> None:
        """Count what the client sends from now on."""
        self.before = self.client.stats()

    def work(self, text: str) -> None:
        """Write and read through the descriptors of before; the client claims its files first, if it has to."""
        for path in (self.opened, self.locked):
            self.process.call(names.held_write, path, text, timeout_s=RECLAIM_TIMEOUT_S)
            found = self.process.call(names.held_read, path)
            assert found.startswith(text), found

    def check_claims(self, minor: int) -> None:
        """The client claimed what it had."""
        sent = self.client.stats().since(self.before)
        introductions = ("EXCHANGE_ID", "CREATE_SESSION", "RECLAIM_COMPLETE")
        for operation in introductions if minor else ("SETCLIENTID", "SETCLIENTID_CONFIRM"):
            assert sent[operation].operations, f"no {operation}: {sent.used()}"
        # This is how the kernel names an OPEN that claims; there is at least one for each file.
        assert sent["OPEN_NOATTR"].operations >= 2, sent.used()
        assert sent["LOCK"].operations >= 1, sent.used()
        print(f"  {self.client.guest.name} sent {sent.used()}")


def tries(rival: GuestProcess, path: str) -> bool:
    """Whether another client gets the lock."""
    return bool(rival.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY, START, LENGTH, timeout_s=RECLAIM_TIMEOUT_S))


def test_clients_reclaim(site: Site, reclaiming: Callable[[], None]) -> None:
    """Both clients go on with what they had open and locked, and each stays denied what the other holds."""
    holders = [Holder(site.a, site.path, "a"), Holder(site.b, site.path, "b")]
    rivals = [site.b.process(), site.a.process()]
    for holder, rival in zip(holders, rivals, strict=True):
        assert not tries(rival, holder.locked)
    for holder in holders:
        holder.begin()
    reclaiming()
    began = time.monotonic()
    for holder in holders:
        holder.work("after")
        print(
            f"{site.version}: {holder.client.guest.name} works again {time.monotonic() - began:.3f} s after the start"
        )
    for holder, rival in zip(holders, rivals, strict=True):
        holder.check_claims(site.minor)
        assert not tries(rival, holder.locked)
        # It is the range that was locked, and not any more.
        assert rival.call(locks.lock, holder.locked, locks.FCNTL, EXCLUSIVE, TRY, START + LENGTH, 1)
        holder.work("again")
        holder.process.call(locks.unlock, holder.locked, locks.FCNTL, START, LENGTH)
        assert tries(rival, holder.locked)
        for path in (holder.opened, holder.locked):
            assert (site.host / path.rpartition("/")[2]).read_text().startswith("again")


def use(newcomer: Client, directory: str, name: str) -> float:
    """Mount, read, lock and create; how long that took, in seconds."""
    began = time.monotonic()
    newcomer.mount_at(WORK, newcomer.work)
    assert newcomer.call(names.read, f"{directory}/free") == "free"
    assert newcomer.call(locks.lock, f"{directory}/free", locks.FCNTL, EXCLUSIVE, TRY)
    newcomer.call(names.write, f"{directory}/{name}", "new")
    took = time.monotonic() - began
    newcomer.call(locks.close, f"{directory}/free")
    return took


def test_new_client_need_not_wait(site: Site, reclaiming: Callable[[], None], newcomer: Client) -> None:
    """A client that had nothing uses files that nobody had within a second; those that somebody had, it does not."""
    holder = Holder(site.a, site.path, "a")
    site.a.call(names.write, f"{site.path}/free", "free")
    # How long it takes a new client at any time. What it leaves behind by unmounting makes it no older.
    usual = use(newcomer, site.path, "new-before")
    newcomer.call(system.unmount, newcomer.work)
    holder.begin()
    reclaiming()
    took = use(newcomer, site.path, "new-after")
    rival = newcomer.process()
    # Whether the holder has come back by now or not, the newcomer is not granted its lock.
    trying = rival.start(
        locks.lock, holder.locked, locks.FCNTL, EXCLUSIVE, TRY, START, LENGTH, timeout_s=RECLAIM_TIMEOUT_S
    )
    holder.work("after")
    assert trying.result() is False
    holder.check_claims(site.minor)
    assert not tries(rival, holder.locked)
    rival.call(locks.close, holder.locked)
    newcomer.call(system.unmount, newcomer.work)
    print(
        f"{site.version}: a new client has mounted, read, locked and created {took:.3f} s after the start, "
        f"{usual:.3f} s before it"
    )
    assert took < max(NEW_CLIENT_MAX_S, usual + SLACK_S)
    assert (site.host / "new-after").read_text() == "new"
