"""Threads for work that may block: at once until there are any, and then told of in the loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from nfsd.durable.threads import Threads


class Posts:
    """Keeps what it is given, from whatever thread, and can wait for it."""

    def __init__(self) -> None:
        self.posted: list[tuple[Any, ...]] = []
        self._came = threading.Condition()

    def __call__(self, *given: Any) -> None:
        with self._came:
            self.posted.append(given)
            self._came.notify()

    def wait(self, count: int) -> list[tuple[Any, ...]]:
        """All of them, when there are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.posted) >= count, 30)
        return self.posted


def fails() -> None:
    """Work that fails."""
    raise OSError("no")


def test_inline_until_start() -> None:
    """Without threads work is done at once, here, and its end told at once; nothing is posted."""
    posts, seen = Posts(), []
    threads = Threads(posts)
    threads.run(threading.get_ident, lambda value, error: seen.append((value, error)))
    assert seen == [(threading.get_ident(), None)]
    threads.run(fails, lambda value, error: seen.append((value, error)))
    assert seen[1][0] is None and isinstance(seen[1][1], OSError)
    assert posts.posted == []


def test_inline_error_of_done() -> None:
    """What `done` raises is not taken for the work's."""
    seen = []

    def done(value: Any, error: BaseException | None) -> None:
        seen.append((value, error))
        raise KeyError("of done")

    with pytest.raises(KeyError):
        Threads(Posts()).run(lambda: 5, done)
    assert seen == [(5, None)]


def test_inline_death() -> None:
    """An end of the process in the work is nobody's to handle."""

    def dies() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Threads(Posts()).run(dies, lambda _value, _error: pytest.fail("told of an end"))


def test_in_a_thread() -> None:
    """Work runs in a thread, and its end is posted with `done`, value and error."""
    posts = Posts()
    threads = Threads(posts)
    threads.start(1)
    try:
        told: list[Any] = []

        def done(value: Any, error: BaseException | None) -> None:
            told.append((value, error))

        threads.run(threading.get_ident, done)
        threads.run(fails, done)
        [first, second] = posts.wait(2)
        assert told == []
        for end, *given in (first, second):
            end(*given)
        [(value, error), (no_value, its_error)] = told
        assert value != threading.get_ident() and error is None
        assert no_value is None and isinstance(its_error, OSError)
    finally:
        threads.close()


def test_count() -> None:
    """As many things run at a time as there are threads."""
    posts = Posts()
    threads = Threads(posts)
    threads.start(2)
    both = threading.Barrier(2)
    try:
        for _ in range(2):
            threads.run(lambda: both.wait(30), print)
        assert all(error is None for _end, _done, _value, error in posts.wait(2))
    finally:
        threads.close()


def test_check_in_the_thread() -> None:
    """The check comes before the work, in its thread; where it does not return nothing is done or told."""
    posts, checked, worked = Posts(), [], []
    ended = threading.Event()

    def check() -> None:
        checked.append(threading.get_ident())
        if len(checked) == 2:
            ended.set()
            raise SystemExit

    threads = Threads(posts, check)
    threads.start(1)
    threads.run(lambda: worked.append(threading.get_ident()), print)
    posts.wait(1)
    assert checked == worked
    threads.run(lambda: worked.append(0), print)
    assert ended.wait(30)
    threads.close()
    assert len(worked) == len(posts.posted) == 1


def test_close() -> None:
    """`close` waits for what runs; afterwards work is done at once again, and a second close does nothing."""
    posts, seen = Posts(), []
    threads = Threads(posts)
    threads.start(1)
    go = threading.Event()
    threads.run(lambda: go.wait(30), print)
    threading.Thread(target=go.set).start()
    threads.close()
    assert len(posts.posted) == 1
    threads.run(threading.get_ident, lambda value, _error: seen.append(value))
    assert seen == [threading.get_ident()]
    threads.close()


def test_leave() -> None:
    """What was done as somebody is left in its own thread: before the first work, after each, after what follows it."""
    posts, left = Posts(), []
    threads = Threads(posts, leave=lambda: left.append(threading.get_ident()))
    threads.start(1)
    try:
        threads.run(threading.get_ident, print)
        threads.run(fails, print)
        [first, second] = posts.wait(2)
        assert left == [first[2]] * 3
        left.clear()
        with pytest.raises(ZeroDivisionError):
            first[0](lambda *_: 1 // 0, None, None)
        assert left == [threading.get_ident()]
    finally:
        threads.close()
