"""Commits numbered change sets until it is killed; writes each acknowledged number, 8 bytes, to its output.

Usage: committing_child.py DIRECTORY LEVEL SEED. Not a test: test_kill.py starts it.

Number n is a HOLDER record of key n, and a META record that has n as the last; n - KEPT is removed with them.
"""

import os
import random
import sys
from pathlib import Path

from statestore import HOLDER, META, ChangeSet, LmdbStore

KEPT = 50


def changes_of(number: int) -> ChangeSet:
    """Return the change set that number n stands for."""
    key = number.to_bytes(8, "big")
    changes = ChangeSet()
    changes.put(HOLDER, key, key * (1 + number % 40))
    changes.put(META, b"last", key)
    if number > KEPT:
        changes.remove(HOLDER, (number - KEPT).to_bytes(8, "big"))
    return changes


def main() -> None:
    """Go on from the last number that the state has."""
    directory, level, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    random_source = random.Random(seed)
    base = 0

    def acknowledge(ticket: int) -> None:
        os.write(1, (base + ticket).to_bytes(8, "big"))

    assert level in ("process", "power")
    store = LmdbStore.open(
        directory,
        level="process" if level == "process" else "power",
        on_durable=acknowledge,
        on_failure=lambda error: os._exit(3),
    )
    for kind, _, value in store.load():
        if kind == META:
            base = int.from_bytes(value, "big")
    number = base
    while True:
        for _ in range(random_source.randint(1, 5)):
            number += 1
            ticket = store.commit(changes_of(number))
        store.flush()
        if random_source.random() < 0.5:
            store.wait(ticket)


if __name__ == "__main__":
    main()
