"""Tasks: work of the event loop's thread that can be put aside in the middle of a call and gone on with later.

Owns the switching (greenlets), and whose turn it is on a tree.  Must not know what is waited for.

An operation is written as if every call on a file system were done at once.  Where a tree is served apart, its calls
put the task that makes them aside until the answer has come, and the loop turns meanwhile.  What would otherwise be
one unbroken step of the loop is one *turn* on that tree: no other task works on the tree before the turn is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from greenlet import getcurrent, greenlet

from nfsd.vfs.credentials import leave

Value = TypeVar("Value")


def _root() -> greenlet:
    """What the thread itself runs in."""
    here = getcurrent()
    while here.parent is not None:
        here = here.parent
    return here


_aside: Final[set[Task]] = set()


class Task(greenlet):
    """Some work that may be put aside.  `still_wanted` is asked when it goes on; it raises where nobody waits."""

    def __init__(self, work: Callable[[], object], still_wanted: Callable[[], None] | None = None) -> None:
        super().__init__(parent=_root())
        self._work = work
        self._still_wanted = still_wanted
        self._turn: Turn | None = None

    def run(self) -> None:
        """Do the work; called by the first switch."""
        try:
            self._work()
        finally:
            self.end_turn()

    def wait(self) -> Any:
        """Be put aside, until somebody switches here again; returns what was given then."""
        assert self.parent is not None
        _aside.add(self)
        try:
            return self.parent.switch()
        finally:
            _aside.discard(self)

    def go_on(self) -> None:
        """Whether the work still has a purpose.  Raises what `still_wanted` raises."""
        if self._still_wanted is not None:
            self._still_wanted()

    def take_turn(self, turn: Turn) -> None:
        """Wait until it is this task's turn on a tree; a turn that it has on another one is over."""
        if self._turn is turn:
            return
        self.end_turn()
        turn.take(self)
        self._turn = turn

    def end_turn(self) -> None:
        """Let the next one work on the tree."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.give()


class Turn:
    """Whose turn it is on one tree: tasks have it in the order in which they came."""

    __slots__ = ("_holder", "_waiting")

    def __init__(self) -> None:
        self._holder: Task | None = None
        self._waiting: deque[Task] = deque()

    def take(self, task: Task) -> None:
        """Have the turn, when those before have had theirs."""
        if self._holder is None:
            self._holder = task
            return
        self._waiting.append(task)
        task.wait()

    def give(self) -> None:
        """The turn is over: the next one goes on as soon as the loop comes to it."""
        self._holder = self._waiting.popleft() if self._waiting else None
        if self._holder is not None:
            asyncio.get_running_loop().call_soon(step, self._holder)


def put_aside() -> int:
    """How many tasks wait."""
    return len(_aside)


def current() -> Task | None:
    """The task that is running, None for the thread itself."""
    here = getcurrent()
    return here if isinstance(here, Task) else None


def start(work: Callable[[], object], still_wanted: Callable[[], None] | None = None) -> None:
    """Do some work that may have to wait.  Returns when it is done or put aside; within a task, before it begins."""
    task = Task(work, still_wanted)
    if current() is None:
        task.switch()
    else:
        asyncio.get_running_loop().call_soon(step, task)


def step(task: Task, answer: object = None) -> None:
    """Let a task begin, or go on with an answer, from the event loop; then this thread is no caller any more."""
    try:
        task.switch() if answer is None else task.switch(answer)
    finally:
        leave()


def turning() -> bool:
    """Whether the event loop runs, so that a task can be put aside."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def outcome(work: Callable[[], Value]) -> Value:
    """What some work returns that may have to wait.  Raises what it raises."""
    found: asyncio.Future[Value] = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            value = work()
        except Exception as error:
            if not found.done():
                found.set_exception(error)
        else:
            if not found.done():
                found.set_result(value)

    start(run)
    return await found
