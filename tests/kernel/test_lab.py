"""The harness itself: it must notice hangs, leave nothing behind, and say what it lacks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.waiting import watch

from . import mountstats, packages
from .guest import Guest, GuestError, GuestTimeout, User
from .lab import Lab
from .workloads import names, system

SAMPLE = """\
device proc mounted on /proc with fstype proc
device 10.0.0.1:/x mounted on /other with fstype nfs4 statvers=1.1
\tper-op statistics
\t        READ: 9 9 0 1 1 1 1 1 0
device 10.0.0.1:/work mounted on /run/nfs/work with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.1
\txprt:\ttcp 0 0 1 0 0 30 30 0 30 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: 3 4 1 600 900 0 5 6 1
\tEXCHANGE_ID: 2 2 0 500 200 0 1 1 0
"""
OPEN_A_LAB = """
import signal, sys
sys.path.insert(0, {root!r})
from {package}.guest import Guest
from {package}.lab import Lab
with Lab() as lab:
    guest = Guest(lab, "orphan", 1)
    guest.wait_ready()
    print(lab.directory, flush=True)
    signal.pause()
"""


def processes_of(directory: str) -> list[int]:
    """Return the ids of the processes whose command line names a lab's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if directory.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def wait_until_gone(directory: str, timeout_s: float = 10.0) -> list[int]:
    """Wait for a lab's processes to end; return those that did not."""
    return watch(lambda: processes_of(directory), lambda left: not left, timeout_s)


def test_mountstats() -> None:
    """Counters are read from the right mount, and differences are of what lies between two readings."""
    stats = mountstats.parse(SAMPLE, "/run/nfs/work")
    assert stats["READ"].operations == 3
    assert (stats["READ"].resent, stats["READ"].timeouts, stats["READ"].errors) == (1, 1, 1)
    assert stats["WRITE"].operations == 0
    assert stats.set_up_again() == {"EXCHANGE_ID": 2}
    assert stats.since(stats).used() == {}
    with pytest.raises(LookupError):
        mountstats.parse(SAMPLE, "/proc")


def test_complaint_names_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said in one line that can be pasted into a shell."""
    monkeypatch.setattr(packages, "NEEDS", (packages.Need("no-such-command", "wanted"),) * 2)
    assert packages.missing_packages() == ["wanted"]
    reason = packages.complaint()
    assert reason is not None and "\n" not in reason
    assert reason.endswith("apt-get install --no-install-recommends wanted")


def test_guest_calls(machine: None) -> None:
    """A guest returns results, errors and timeouts; its root is read-only; closing leaves nothing behind."""
    with Lab() as lab:
        guest = Guest(lab, "alone", 1)
        guest.wait_ready()
        directory = str(lab.directory)
        assert processes_of(directory)
        assert guest.call(system.identity, user=User(7, 8, (9,)))["uid"] == 7
        mark = "/usr/understudy-kernel-test"
        assert guest.call(names.attempt_open, mark, os.O_CREAT | os.O_WRONLY) == "EROFS"
        assert not Path(mark).exists()
        with pytest.raises(GuestError, match="No such file") as caught:
            guest.call(names.read, "/nowhere")
        assert caught.value.kind == "FileNotFoundError"
        started = time.monotonic()
        with pytest.raises(GuestTimeout):
            guest.call(system.sleep, 60, timeout_s=0.5)
        assert time.monotonic() - started < 10
        assert not guest.healthy
        # Others are served though one was killed.
        assert guest.call(system.shell, "pidof sleep || echo none", "/")["output"] == "none\n"
    assert wait_until_gone(directory) == []
    assert not Path(directory).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_run(machine: None, number: signal.Signals) -> None:
    """When the test run is terminated or killed, the guest ends too; the directory goes if it could."""
    package = __package__ or ""
    root = str(Path(__file__).parents[package.count(".") + 1])
    program = OPEN_A_LAB.format(root=root, package=package)
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    try:
        assert run.stdout is not None
        directory = run.stdout.readline().strip()
        assert directory and processes_of(directory)
        run.send_signal(number)
        run.wait(20)
        assert wait_until_gone(directory) == []
        if number == signal.SIGTERM:
            assert not Path(directory).exists()
    finally:
        run.kill()
        run.wait()
        if directory:
            subprocess.run(["rm", "-rf", "--", directory], check=True)
