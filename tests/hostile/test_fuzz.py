"""A few thousand inputs at random in every run, and that the harness bites; millions are its own command's."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd import log
from nfsd.compound.table import OPERATIONS
from tests.hostile import fuzz, fuzz_inputs, fuzz_live
from tests.hostile.fuzz import Harness, Report, again, plain, verdict
from tests.hostile.fuzz_inputs import Writer, form_of
from tests.hostile.fuzz_live import Live
from tests.support.client import compound
from tests.support.operations import encoded
from xdr.generated import nfs4

INPUTS, SEED = 4000, 2026


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The log and the collector of garbage are what they were, whatever a test has left."""
    yield
    log.configure(node="")
    gc.enable()


def test_fuzz(tmp_path: Path) -> None:
    """Requests at random, valid and wrong ones, under live state: no exit, no fault line, no slow one, memory flat."""
    report = plain(tmp_path, SEED, INPUTS)
    print(report.line())
    assert report.inputs == INPUTS
    assert not list(verdict([report]))


def test_inputs_get_deep(tmp_path: Path) -> None:
    """Most valid inputs get beyond the first operations: names have been replaced, sequence ids are the next."""
    rng = random.Random(SEED)
    writer = Writer(rng)
    live = Live(_log(tmp_path))
    for _ in range(1000):
        assert not live.give(writer.valid()).problem
    errors = live.core.engine.counters.errors
    live.close()
    assert live.begun == 1
    for status in (nfs4.NFS4ERR_BADSESSION, nfs4.NFS4ERR_BADHANDLE, nfs4.NFS4ERR_SEQ_MISORDERED):
        assert errors[status] < 50, nfs4.nfsstat4_names[status]


def _log(directory: Path) -> Path:
    file = directory / "log"
    file.touch()
    return file


def test_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core dies and takes over, then begins with nothing; inputs go on over all of it."""
    monkeypatch.setattr(fuzz_live, "LIFE", 20)
    live = Live(_log(tmp_path))
    writer = Writer(random.Random(SEED))
    for _ in range(20 * 2 * fuzz_live.LIVES):
        assert not live.give(writer.valid()).problem
    live.close()
    assert live.begun >= 2


@pytest.mark.parametrize(("modifies", "words"), [(False, "server.fault"), (True, "exit code 70")])
def test_harness_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modifies: bool, words: str) -> None:
    """A fault of the server's is found, each one once, and what led to it is kept and leads to it again."""

    def broken(*_given: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    row = OPERATIONS[nfs4.OP_RENEW]
    monkeypatch.setattr(row, "handler", broken)
    monkeypatch.setattr(row, "modifies", modifies)
    harness = Harness(tmp_path, 1, 10)
    data = bytes((0, 0)) + compound(0, [encoded("RENEW", nfs4.RENEW4args(1))])
    harness.give(data)
    harness.give(data)
    report = harness.finish()
    [problem] = report.problems
    assert words in problem and "ZeroDivisionError" in problem
    _seconds, problem = again(next(tmp_path.glob("problem-*.txt")))
    assert words in problem


def test_verdict_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that grows, and an input that is slow whenever it is given, are named."""
    grown = Report(1, memory_start=1, memory_end=2 + fuzz.MEMORY_GROWTH_MAX)
    assert "memory grew" in next(verdict([grown]))
    file = tmp_path / "slow.txt"
    file.write_text(f"{(bytes((0, 0)) + compound(0, [encoded('PUTROOTFH')])).hex()}\n")
    assert not list(verdict([Report(1, slow=[str(file)])]))
    monkeypatch.setattr(fuzz, "INPUT_MAX_S", 0.0)
    assert "ms" in next(verdict([Report(1, slow=[str(file)])]))


def test_no_answer_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that nobody answers is a problem."""
    live = Live(_log(tmp_path))
    monkeypatch.setattr(live.core, "dispatch", lambda _wire, _call: None)
    assert "1 calls without" in live.give(bytes((0, 0)) + compound(0, [encoded("PUTROOTFH")])).problem
    live.close()


def test_forms() -> None:
    """Every form of an input is made."""
    writer = Writer(random.Random(SEED))
    made = {form_of(writer.valid()[1]) for _ in range(200)}
    assert made == {fuzz_inputs.COMPOUND, fuzz_inputs.MESSAGE, fuzz_inputs.STREAM}
