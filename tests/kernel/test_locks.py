"""Locks between two clients and between processes of one client, and what is done under them."""

import pytest

from tests.support.waiting import let_pass

from .clients import Site, at_once
from .workloads import databases, locks, names

KINDS = (locks.FCNTL, locks.FLOCK)
EXCLUSIVE, SHARED = True, False
TRY, WAIT = False, True
# A client that waits for a lock asks again after 1, 2, 4 ... seconds at worst.
WAITER_TIMEOUT_S = 20.0


@pytest.fixture
def path(site: Site) -> str:
    """A file to lock, known to both clients."""
    site.a.call(names.write, f"{site.path}/file", "0")
    return f"{site.path}/file"


@pytest.mark.parametrize("kind", KINDS)
def test_exclusive_lock_excludes(site: Site, path: str, kind: str) -> None:
    """One client's exclusive lock denies every other client and process, until it is unlocked."""
    holder, rival, neighbour = site.a.process(), site.b.process(), site.a.process()
    assert holder.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    for other in (rival, neighbour):
        assert not other.call(locks.lock, path, kind, EXCLUSIVE, TRY)
        assert not other.call(locks.lock, path, kind, SHARED, TRY)
    holder.call(locks.unlock, path, kind)
    assert rival.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    assert not holder.call(locks.lock, path, kind, EXCLUSIVE, TRY)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_locks_coexist(site: Site, path: str, kind: str) -> None:
    """Shared locks tolerate each other, and deny an exclusive one until the last is gone."""
    one, two = site.a.process(), site.b.process()
    assert one.call(locks.lock, path, kind, SHARED, TRY)
    assert two.call(locks.lock, path, kind, SHARED, TRY)
    assert not two.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    one.call(locks.unlock, path, kind)
    assert two.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    assert not one.call(locks.lock, path, kind, SHARED, TRY)


@pytest.mark.parametrize("kind", KINDS)
def test_waiter_gets_the_lock(site: Site, path: str, kind: str) -> None:
    """A waiting client does not get the lock while it is held, and gets it soon after it is unlocked."""
    holder, waiter = site.a.process(), site.b.process()
    assert holder.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    waiting = waiter.start(locks.lock, path, kind, EXCLUSIVE, WAIT, timeout_s=WAITER_TIMEOUT_S)
    let_pass(0.3, "the request must have reached the server and been denied there")
    assert not waiting.done()
    holder.call(locks.unlock, path, kind)
    assert waiting.result() is True
    assert not holder.call(locks.lock, path, kind, EXCLUSIVE, TRY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["close", "kill"])
def test_lock_ends_with_its_holder(site: Site, path: str, kind: str, end: str) -> None:
    """Closing the file, or the death of the process, gives a lock back."""
    holder, rival = site.a.process(), site.b.process()
    assert holder.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    assert not rival.call(locks.lock, path, kind, EXCLUSIVE, TRY)
    if end == "close":
        holder.call(locks.close, path)
    else:
        holder.kill()
    assert rival.call(locks.lock, path, kind, EXCLUSIVE, WAIT, timeout_s=WAITER_TIMEOUT_S)


def test_ranges(site: Site, path: str) -> None:
    """Byte ranges conflict where they overlap and nowhere else; unlocking the middle splits a range."""
    one, two = site.a.process(), site.b.process()

    def tries(start: int, length: int) -> bool:
        got = two.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY, start, length)
        if got:
            two.call(locks.unlock, path, locks.FCNTL, start, length)
        return bool(got)

    assert one.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY, 100, 100)
    assert [tries(0, 100), tries(200, 0), tries(0, 101), tries(199, 1), tries(0, 0)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    one.call(locks.unlock, path, locks.FCNTL, 140, 20)
    assert [tries(140, 20), tries(139, 1), tries(160, 1), tries(130, 20)] == [True, False, False, False]
    far = 1 << 62
    assert one.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY, far, 10)
    assert [tries(far + 10, 5), tries(far + 9, 5)] == [True, False]


def test_getlk_names_the_conflict(site: Site, path: str) -> None:
    """F_GETLK tells another client whether, and by which kind of lock, it would be denied."""
    one, two = site.a.process(), site.b.process()
    assert two.call(locks.holder, path, 0, 10) == "none"
    assert one.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY, 0, 10)
    assert two.call(locks.holder, path, 5, 10) == "exclusive"
    assert two.call(locks.holder, path, 10, 10) == "none"
    assert one.call(locks.lock, path, locks.FCNTL, SHARED, TRY, 0, 10)
    assert two.call(locks.holder, path, 5, 10) == "shared"


def test_downgrade_lets_readers_in(site: Site, path: str) -> None:
    """An exclusive lock turned into a shared one stops denying shared ones."""
    one, two = site.a.process(), site.b.process()
    assert one.call(locks.lock, path, locks.FCNTL, EXCLUSIVE, TRY)
    assert not two.call(locks.lock, path, locks.FCNTL, SHARED, TRY)
    assert one.call(locks.lock, path, locks.FCNTL, SHARED, TRY)
    assert two.call(locks.lock, path, locks.FCNTL, SHARED, TRY)


@pytest.mark.parametrize("kind", KINDS)
def test_counter_under_lock(site: Site, path: str, kind: str) -> None:
    """Numbers counted up by four processes on two clients, each time under a lock, are all there."""
    times = 50
    met = at_once([(client, locks.count_up, (path, kind, times)) for client in (site.a, site.b) * 2])
    assert (site.host / "file").read_text() == str(times * len(met))
    assert sum(met) > 0, "the workers never met, so the lock was not tested"


def check_lines(text: str, authors: list[str], count: int) -> None:
    """Every author's lines are there, whole, once and in order."""
    found: dict[str, list[int]] = {author: [] for author in authors}
    for line in text.splitlines():
        author, number, rest = line.split(" ", 2)
        assert len(line) == 99 and set(rest) == {"."}, f"torn line {line!r}"
        found[author].append(int(number))
    assert found == {author: list(range(count)) for author in authors}


def test_append_by_two_clients(site: Site) -> None:
    """O_APPEND under a lock from two clients loses and tears no line."""
    path, count = f"{site.path}/log", 40
    authors = ["one", "two", "three", "four"]
    places = (site.a, site.b) * 2
    at_once(
        [
            (client, locks.append_lines, (path, author, count, True))
            for client, author in zip(places, authors, strict=True)
        ]
    )
    check_lines((site.host / "log").read_text(), authors, count)


def test_append_by_processes_of_one_client(site: Site) -> None:
    """O_APPEND from several processes of one client needs no lock."""
    path, count, authors = f"{site.path}/log", 100, ["one", "two", "three", "four"]
    at_once([(site.a, locks.append_lines, (path, author, count, False)) for author in authors])
    check_lines((site.host / "log").read_text(), authors, count)


@pytest.mark.parametrize("clients_used", [1, 2])
def test_sqlite_concurrent_writers(site: Site, clients_used: int) -> None:
    """Four writers, on one client or on two, lose no transaction and leave a sound database."""
    path, transactions, authors = f"{site.path}/data.db", 25, ["w1", "w2", "w3", "w4"]
    site.a.call(databases.create, path)
    places = [site.a, site.b][:clients_used]
    at_once(
        [
            (places[index % clients_used], databases.write, (path, author, transactions))
            for index, author in enumerate(authors)
        ]
    )
    site.b.forget()
    found = site.b.call(databases.inspect, path)
    assert found["integrity"] == ["ok"]
    assert found["counter"] == transactions * len(authors)
    assert found["authors"] == {author: list(range(transactions)) for author in authors}
    assert databases.inspect(str(site.host / "data.db")) == found
