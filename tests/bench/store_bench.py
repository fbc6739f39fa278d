"""What the state store costs: putting records, and making change sets durable.

    python tests/bench/store_bench.py [--directory DIR] [--seconds S] [--passes N]

Prints a Markdown table for docs/performance.md. A change set has 2 records of 150 bytes, as an open has. Each
figure is the median of its batches, in microseconds.

alone      time from the first commit of a batch until the thread that commits knows that the batch is durable.
working    processor time, of all threads, that durability adds to each change set when the committing thread
           has 15 us of its own work to do for every request. With a writer thread it goes on working while up
           to 64 requests are unanswered, as those of a client with 64 slots are.

The writer thread tells by a SimpleQueue, which is cheaper than waking an event loop: this flatters it.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from statestore import OPEN, SLOT, ChangeSet, Holder, Open, RangeSet, Shares, resume_key
from statestore.lmdbstore import MAP_SIZE, InlineLmdbStore, LmdbStore, ThreadedLmdbStore

BATCHES = (1, 4, 16, 64)
VALUE = bytes(150)
KEYS_COUNT = 5000
WORK_US = 15.0
# Change sets in a round; every batch divides it.
ROUND_COUNT = 512
# Requests that may be unanswered at one time.
UNANSWERED_MAX = 64


def fail(error: BaseException) -> None:
    """Stop: a figure measured on a failed store means nothing."""
    print(f"the store failed: {error}", file=sys.stderr)
    os._exit(1)


def open_store(directory: Path, *, sync: bool, threaded: bool, acked: "SimpleQueue[int]") -> LmdbStore:
    """Open a store with any pairing of level and thread; `LmdbStore.open` offers only the good ones."""
    store: LmdbStore = ThreadedLmdbStore(acked.put, fail) if threaded else InlineLmdbStore(None, fail)
    store._open(directory, sync, MAP_SIZE, os.urandom)
    return store


def change_set(keys: list[bytes], index: int) -> ChangeSet:
    """Return a request's change set: an open that is new to its page, and the slot it came by."""
    changes = ChangeSet()
    changes.put(OPEN, keys[index % KEYS_COUNT], VALUE)
    changes.put(SLOT, keys[index % 64], VALUE)
    return changes


def work(steps: int) -> None:
    """Be busy in Python, as the evaluation of a request is: a fixed amount, whoever interrupts it."""
    for step in range(steps):
        step + 1


def steps_of_work() -> int:
    """Return how many steps take WORK_US on this machine."""
    best = float("inf")
    for _ in range(200):
        begin = time.perf_counter()
        work(1000)
        best = min(best, time.perf_counter() - begin)
    return max(1, round(1000 * WORK_US / 1e6 / best))


def wait_for(acked: "SimpleQueue[int]", ticket: int) -> None:
    """Block until the writer thread has told that the ticket is durable."""
    while acked.get() < ticket:
        pass


def measure_alone(store: LmdbStore, acked: "SimpleQueue[int]", batch: int, seconds: float) -> float:
    """Return the median time of a batch, in microseconds."""
    keys = [os.urandom(16) for _ in range(KEYS_COUNT)]
    threaded = isinstance(store, ThreadedLmdbStore)
    times: list[float] = []
    index = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times) < 20:
        sets = [change_set(keys, index + offset) for offset in range(batch)]
        index += batch
        begin = time.perf_counter()
        for changes in sets:
            ticket = store.commit(changes)
        store.flush()
        if threaded:
            wait_for(acked, ticket)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def measure_working(store: LmdbStore, acked: "SimpleQueue[int]", batch: int, seconds: float) -> float:
    """Return the processor time that durability adds to a change set among other work, in microseconds.

    The median of short rounds, each less a round of the same work without a store.
    """
    keys = [os.urandom(16) for _ in range(KEYS_COUNT)]
    threaded = isinstance(store, ThreadedLmdbStore)
    steps = steps_of_work()
    added: list[float] = []
    durable = store.durable
    index = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(added) < 5:
        sets = [change_set(keys, index + offset) for offset in range(ROUND_COUNT)]
        index += ROUND_COUNT
        begin = time.process_time()
        for _ in sets:
            work(steps)
        only_work = time.process_time() - begin
        begin = time.process_time()
        for start in range(0, ROUND_COUNT, batch):
            for changes in sets[start : start + batch]:
                work(steps)
                ticket = store.commit(changes)
            store.flush()
            while threaded and ticket - durable > UNANSWERED_MAX - batch:
                durable = acked.get()
        while threaded and durable < ticket:
            durable = acked.get()
        added.append(time.process_time() - begin - only_work)
    return statistics.median(added) * 1e6 / ROUND_COUNT


def commit_table(directory: Path | None, seconds: float, passes: int) -> None:
    """Print the costs of commits, for each level, thread and batch: the median of the passes."""
    cases = [(sync, threaded, batch) for sync in (False, True) for threaded in (False, True) for batch in BATCHES]
    alone: dict[tuple[bool, bool, int], list[float]] = {case: [] for case in cases}
    added: dict[tuple[bool, bool, int], list[float]] = {case: [] for case in cases}
    for _ in range(passes):
        for case in cases:
            sync, threaded, batch = case
            acked: SimpleQueue[int] = SimpleQueue()
            with tempfile.TemporaryDirectory(dir=directory) as state:
                store = open_store(Path(state), sync=sync, threaded=threaded, acked=acked)
                alone[case].append(measure_alone(store, acked, batch, seconds))
                added[case].append(measure_working(store, acked, batch, seconds))
                store.close()
    print(
        "| level | written by | change sets a batch | alone: batch | alone: each | working: adds to each, processor |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for case in cases:
        sync, threaded, batch = case
        whole, extra = statistics.median(alone[case]), statistics.median(added[case])
        level, writer = "power" if sync else "process", "writer thread" if threaded else "inline"
        print(f"| {level} | {writer} | {batch} | {whole:.1f} | {whole / batch:.1f} | {extra:.1f} |")


def best_of(run: Callable[[], object], count: int) -> float:
    """Return the best of five times of one of the `count` operations that `run` does, in microseconds."""
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best / count * 1e6


def memory_table() -> None:
    """Print the costs of what touches no disk."""
    count = 10_000
    keys = [os.urandom(16) for _ in range(count)]
    shares: Shares[Open] = Shares()
    holder: Holder[Open] = Holder(bytes(8), b"identity")
    ranges = RangeSet()

    def put() -> None:
        for key in keys:
            changes = ChangeSet()
            changes.put(OPEN, key, VALUE)
            changes.put(SLOT, key, VALUE)

    def share() -> None:
        for key in keys:
            if shares.conflict(key, 1, 0) is None:
                shares.add(Open(key, holder, key, 1, 0))
        for key in keys:
            shares.remove(shares.objects[key].opens[key])

    def lock() -> None:
        for key in keys:
            if ranges.conflict(key, 0, 100, True) is None:
                ranges.set(key, 0, 100, True)
                ranges.clear(key, 0, 100)

    def derive() -> None:
        for key in keys:
            resume_key(VALUE[:32], b"rfs", key, b"owner", key)

    print("| in memory | us |")
    print("|---|---:|")
    print(f"| ChangeSet.put, 150 bytes | {best_of(put, 2 * count):.2f} |")
    print(f"| Shares: conflict, add, remove together | {best_of(share, count):.2f} |")
    print(f"| RangeSet: conflict, set, clear together | {best_of(lock, count):.2f} |")
    print(f"| resume_key | {best_of(derive, count):.2f} |")


def load_table(directory: Path | None) -> None:
    """Print the cost of opening and loading a large state."""
    count = 100_000
    acked: SimpleQueue[int] = SimpleQueue()
    with tempfile.TemporaryDirectory(dir=directory) as state:
        store = open_store(Path(state), sync=False, threaded=False, acked=acked)
        changes = ChangeSet()
        for _ in range(count):
            changes.put(OPEN, os.urandom(16), VALUE)
        store.commit(changes)
        store.close()
        begin = time.perf_counter()
        store = open_store(Path(state), sync=False, threaded=False, acked=acked)
        opened = time.perf_counter()
        assert sum(1 for _ in store.load()) == count
        loaded = time.perf_counter()
        store.close()
    print("| starting again with 100,000 records | ms |")
    print("|---|---:|")
    print(f"| open, epoch raised and synced | {(opened - begin) * 1e3:.1f} |")
    print(f"| load, every checksum compared | {(loaded - opened) * 1e3:.1f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What the state store costs.")
    parser.add_argument("--directory", type=Path, help="where to keep the state: on the disk to measure")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure (default 0.5)")
    parser.add_argument("--passes", type=int, default=3, help="over all figures (default 3)")
    arguments = parser.parse_args()
    print(f"Microseconds. Python {platform.python_version()}, {os.cpu_count()} processors.\n")
    memory_table()
    print()
    commit_table(arguments.directory, arguments.seconds, arguments.passes)
    print()
    load_table(arguments.directory)


if __name__ == "__main__":
    main()
