"""kill -9 while committing: everything acknowledged is there afterwards, whole and in order."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from statestore import HOLDER, META, LmdbStore, verify

CHILD = Path(__file__).with_name("committing_child.py")
KILLS = 15
KEPT = 50


def run_until_killed(directory: Path, level: str, seed: int, acknowledgements: int) -> int:
    """Start the child, kill it after so many acknowledgements, and return the last acknowledged number."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), level, str(seed)],
        stdout=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"PYTHONPATH": str(CHILD.parents[2])},
    )
    assert child.stdout is not None
    output = b""
    try:
        while len(output) < 8 * acknowledgements:
            block = child.stdout.read(8 * acknowledgements - len(output))
            assert block, f"the child ended by itself: {child.wait()}"
            output += block
    finally:
        child.kill()
        child.wait()
    # What was in the pipe when the child died had left it: it counts as acknowledged.
    output += child.stdout.read()
    child.stdout.close()
    numbers = [int.from_bytes(output[at : at + 8], "big") for at in range(0, len(output) // 8 * 8, 8)]
    assert numbers == sorted(set(numbers))
    return numbers[-1]


@pytest.mark.parametrize("level", ["process", "power"])
def test_kill_loses_nothing_acknowledged(tmp_path: Path, level: Any) -> None:
    """After each of 15 kills every acknowledged change set is there, none in part, and the file is sound."""
    seed = 20240229
    print(f"seed {seed}")
    random_source = random.Random(seed)
    for kill in range(KILLS):
        acknowledgements = random_source.randint(1, 3000 if level == "process" else 60)
        acknowledged = run_until_killed(tmp_path, level, random_source.getrandbits(32), acknowledgements)
        report = verify(tmp_path)
        assert report.ok, report.problems()
        store = LmdbStore.open(tmp_path, level=level, on_failure=lambda error: None)
        try:
            records = {(kind, key): value for kind, key, value in store.load()}
            assert store.damaged == []
            # The child and this test open the state once each in every round.
            assert store.epoch == 2 * (kill + 1)
        finally:
            store.close()
        last = int.from_bytes(records.pop((META, b"last")), "big")
        assert last >= acknowledged, f"kill {kill}: {acknowledged} was acknowledged, {last} is the last"
        expected = range(max(1, last - KEPT + 1), last + 1)
        assert records == {
            (HOLDER, number.to_bytes(8, "big")): number.to_bytes(8, "big") * (1 + number % 40) for number in expected
        }
