"""SIGKILL under load: nothing that was acknowledged is missing, and the same clients go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.kill import Outcome, run

EVERYDAY_KILLS = 10
LONG_KILLS = 1000


def _judge(outcome: Outcome) -> None:
    print("\n".join(outcome.lines()))
    assert not outcome.verdict.missing and not outcome.verdict.torn and not outcome.problems
    # A run that checked little would prove little.
    assert outcome.kills and all(
        outcome.verdict.checked[kind] for kind in ("client", "session", "slot", "open", "lock", "open owner", "gone")
    )


@pytest.mark.timeout(110)
def test_kill_under_load_power(tmp_path: Path, new_seed: int) -> None:
    """Nothing is missing after kills where a thread writes what becomes durable: replies must wait for it."""
    _judge(run(tmp_path, EVERYDAY_KILLS // 2, new_seed, "power"))


@pytest.mark.timeout(110)
def test_kill_under_load(tmp_path: Path, new_seed: int) -> None:
    """After each kill the store is sound and has every acknowledged state, and a new server goes on with it."""
    _judge(run(tmp_path, EVERYDAY_KILLS, new_seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kill_under_load_long(tmp_path: Path, new_seed: int) -> None:
    """Nothing is missing after very many kills."""
    _judge(run(tmp_path, LONG_KILLS, new_seed))
