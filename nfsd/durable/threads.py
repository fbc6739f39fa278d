"""Threads for work that may have to wait for a disk.

Owns the pool.  Must not know what the work is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Done = Callable[[Any, BaseException | None], None]
"""Takes the work's result, or the error that it raised."""


class Threads:
    """Runs work and tells of its end in the event loop.

    Until `start`, and after `close`, work is done at once in the calling thread: there is nobody else to wait for it.
    `check` is called in the thread before the work; it MUST NOT return when this process may not serve any more.
    `leave` ends what the work, or what follows it in the event loop, was done as: it is called after each of them, in
    its thread, and in a new thread first.
    """

    def __init__(
        self,
        post: Callable[..., object],
        check: Callable[[], None] | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """`post` calls a function in the event loop, from any thread."""
        self._post = post
        self._check = check
        self._leave = leave
        self._pool: ThreadPoolExecutor | None = None
        self._aside: ThreadPoolExecutor | None = None

    def start(self, count: int) -> None:
        """Run work in up to `count` threads from now on, and what is run aside in one more."""
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="aside", initializer=self._leave)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="file", initializer=self._leave)

    def run(self, work: Callable[[], Any], done: Done) -> None:
        """Run `work`, then `done(result, error)` in the event loop."""
        self._submit(self._pool, work, done)

    def run_aside(self, work: Callable[[], Any], done: Done) -> None:
        """Run work that waits for another machine, perhaps for long: one after the other, beside the rest."""
        self._submit(self._aside, work, done)

    def _submit(self, pool: ThreadPoolExecutor | None, work: Callable[[], Any], done: Done) -> None:
        if pool is not None:
            pool.submit(self._run, work, done)
            return
        try:
            value = work()
        except Exception as error:
            done(None, error)
        else:
            done(value, None)

    def _run(self, work: Callable[[], Any], done: Done) -> None:
        if self._check is not None:
            self._check()
        try:
            value = work()
        except BaseException as error:
            self._leave()
            self._post(self._end, done, None, error)
        else:
            self._leave()
            self._post(self._end, done, value, None)

    def _end(self, done: Done, value: Any, error: BaseException | None) -> None:
        try:
            done(value, error)
        finally:
            self._leave()

    def close(self) -> None:
        """Wait for everything that runs.  Blocks."""
        pools = self._pool, self._aside
        self._pool = self._aside = None
        for pool in pools:
            if pool is not None:
                pool.shutdown()
