"""Tasks and turns, in a loop, without any keeper."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nfsd.apart.tasks import Task, Turn, current, outcome, start


class Slow:
    """Something that answers a task when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Task] = []

    def ask(self) -> Any:
        """Put the current task aside."""
        task = current()
        assert task is not None
        self.waiting.append(task)
        answer = task.wait()
        task.go_on()
        return answer

    def answer(self, value: object) -> None:
        """Let the first one go on."""
        self.waiting.pop(0).switch(value)


def in_loop(test: Callable[[], Any]) -> None:
    """Run a test within a loop, with all that is ready done at its end."""

    async def run() -> None:
        steps = test()
        for _ in steps:
            await asyncio.sleep(0)

    asyncio.run(run())


def test_task_goes_on_where_it_was() -> None:
    """Work that waits leaves its caller at once, and ends when it is answered."""

    def test() -> Any:
        slow, found = Slow(), []
        start(lambda: found.append(slow.ask()))
        found.append("caller")
        slow.answer("answer")
        assert found == ["caller", "answer"]
        yield

    in_loop(test)


def test_turns_come_in_order() -> None:
    """Who has the turn keeps it over his waits; the others have theirs in the order in which they came."""

    def test() -> Any:
        slow, turn, found = Slow(), Turn(), []

        def work(name: str) -> None:
            task = current()
            assert task is not None
            task.take_turn(turn)
            for step in range(2):
                slow.ask()
                found.append((name, step))

        for name in "abc":
            start(lambda name=name: work(name))  # type: ignore[misc]
        for _ in range(6):
            assert len(slow.waiting) == 1
            slow.answer(None)
            yield
        assert found == [(name, step) for name in "abc" for step in range(2)]

    in_loop(test)


def test_turn_ends_with_its_task() -> None:
    """A task that fails leaves the turn to the next one; one that takes a second turn leaves the first."""

    def test() -> Any:
        slow, first, second, found = Slow(), Turn(), Turn(), []

        def fail() -> None:
            current().take_turn(first)  # type: ignore[union-attr]
            slow.ask()
            raise ValueError

        def move() -> None:
            current().take_turn(first)  # type: ignore[union-attr]
            current().take_turn(second)  # type: ignore[union-attr]
            slow.ask()

        def last() -> None:
            current().take_turn(first)  # type: ignore[union-attr]
            found.append("last")

        start(fail)
        start(move)
        start(last)
        with pytest.raises(ValueError):
            slow.answer(None)
        yield
        yield
        assert found == ["last"]
        slow.answer(None)

    in_loop(test)


def test_nobody_is_left_to_go_on_for() -> None:
    """After a wait a task hears that its work is not wanted any more."""

    def test() -> Any:
        slow, found = Slow(), []

        def unwanted() -> None:
            raise LookupError

        def work() -> None:
            try:
                slow.ask()
            except LookupError:
                found.append("unwanted")

        start(work, unwanted)
        slow.answer(None)
        assert found == ["unwanted"]
        yield

    in_loop(test)


def test_task_begun_by_a_task() -> None:
    """A task within a task begins when the loop comes to it, and both can wait."""

    def test() -> Any:
        slow, found = Slow(), []

        def inner() -> None:
            found.append(slow.ask())

        def outer() -> None:
            start(inner)
            found.append("outer")

        start(outer)
        assert found == ["outer"]
        yield
        slow.answer("inner")
        assert found == ["outer", "inner"]

    in_loop(test)


def test_outcome() -> None:
    """A coroutine waits for what a task returns or raises."""
    slow = Slow()

    async def run() -> tuple[object, str]:
        asyncio.get_running_loop().call_soon(slow.answer, 7)
        value = await outcome(slow.ask)
        with pytest.raises(OSError, match="no"):
            await outcome(lambda: fail())
        return value, "done"

    def fail() -> None:
        raise OSError("no")

    assert asyncio.run(run()) == (7, "done")
