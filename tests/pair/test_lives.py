"""Who lives, who dies with whom, and how the whole ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nfsd.failover.supervisor import DELAY_MAX_S, QUICK_DEATHS_FREE, delay_after
from statestore import verify
from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Connection, mount
from tests.support.processes import gone
from tests.support.waiting import TIMEOUT_S, let_pass, until


def test_kill_warm(pair: PairProcess) -> None:
    """The warm worker's death is noticed by nobody; another one takes its place."""
    connection = Connection(pair.port)
    session = mount(connection)
    before = pair.settled()
    os.kill(before["warm_pid"], signal.SIGKILL)

    def warm_anew() -> dict[str, Any] | None:
        now = pair.status()
        return now if now["warm_pid"] not in (None, before["warm_pid"]) else None

    found = until(warm_anew, "there is a new warm one")
    assert found is not None
    assert found["pid"] == before["pid"] and found["epoch"] == before["epoch"]
    session.ok(ops.putfh(session.directory), ops.getattr_())
    connection.close()
    assert [line["role"] for line in pair.events("worker.died")] == ["warm"]


def test_kill_supervisor(pair: PairProcess) -> None:
    """The workers die with the supervisor at once, although they have acted as other users since."""
    connection = Connection(pair.port, uid=1000, gid=1000)
    session = mount(connection)
    session.ok(ops.putfh(session.directory), ops.getattr_(), ops.access())
    found = pair.settled()
    pair.kill()
    until(lambda: gone(found["pid"]) and gone(found["warm_pid"]), "both workers are gone", 2.0)
    connection.close()
    pair.start()
    assert pair.settled()["epoch"] == found["epoch"] + 1


def test_kill_group(pair: PairProcess) -> None:
    """After the death of all of them a restart by hand finds everything, and is hindered by nothing."""
    session = mount(Connection(pair.port))
    opened = session.create(b"file")
    pair.kill_group()
    session.connection.close()
    pair.start()
    session.connection = Connection(pair.port)
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    session.connection.close()


def test_kill_supervisor_while_taking_over(pair: PairProcess) -> None:
    """Nobody survives the supervisor, whatever a worker was doing just then; ten different moments."""
    for step in range(10):
        pair.settled()
        active = pair.kill_active()
        let_pass(step * 0.002, "each step is another moment of the takeover")
        group = pair.pid
        pair.kill()
        until(partial(_is_empty, group), "the group is empty", 2.0)
        assert gone(active)
        pair.start()


def _is_empty(group: int) -> bool:
    """Whether nothing of a process group lives."""
    return not _members(group)


def _members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def test_second_serve_refused(pair: PairProcess) -> None:
    """One state directory has one server, also while a takeover goes on; the second says who holds it."""
    for kill in (False, True):
        if kill:
            pair.kill_active()
        ran = pair.run(*pair.words())
        assert ran.returncode == 1
        assert f"in use by process {pair.pid};" in ran.stderr
    alone = pair.run(*pair.words(), "--no-pair")
    assert alone.returncode == 1 and "in use by process" in alone.stderr


@pytest.mark.parametrize("whole_group", [False, True])
def test_stop(pair: PairProcess, whole_group: bool) -> None:
    """SIGTERM, to the supervisor or to all of them at once as systemd sends it, ends them in good order.

    Replies that were on their way arrive, and then clients get a reset, not an end of file.
    """
    connection = Connection(pair.port)
    session = mount(connection)
    session.create(b"file")
    found = pair.settled()
    (os.killpg if whole_group else os.kill)(pair.pid, signal.SIGTERM)
    assert pair.end() == 0
    assert gone(found["pid"]) and gone(found["warm_pid"])
    with pytest.raises(ConnectionResetError):
        connection.socket.recv(1)
    connection.close()
    assert not (pair.state / "control").exists()
    assert verify(pair.state).ok
    assert pair.events("server.stopped")


def test_stop_active_only(pair: PairProcess) -> None:
    """SIGTERM to the active worker is a takeover in good order: the warm one goes on."""
    session = mount(Connection(pair.port))
    opened = session.create(b"file")
    before = pair.settled()
    os.kill(before["pid"], signal.SIGTERM)
    pair.settled(after=before["pid"])
    session.connection.close()
    session.connection = Connection(pair.port)
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    session.connection.close()


def test_interrupt_from_terminal(pair: PairProcess) -> None:
    """Ctrl-C reaches every process of the group; it means the same as SIGTERM to the supervisor."""
    os.killpg(pair.pid, signal.SIGINT)
    assert pair.end() == 0


def test_crash_loop(pair: PairProcess) -> None:
    """Workers that die quickly are replaced at once a few times, then ever later, and it is said; never given up."""
    last = 0
    while not pair.events("takeover.delayed"):
        last = until(partial(_next_pid, pair, last), "the next worker serves")
        os.kill(last, signal.SIGKILL)
        until(partial(gone, last), "it is gone")
    assert len(pair.events("worker.died")) >= QUICK_DEATHS_FREE
    assert pair.events("takeover.delayed")[0]["delay_s"] == delay_after(QUICK_DEATHS_FREE + 1)
    assert pair.settled(after=last)["takeovers"] == len(pair.events("worker.died"))


def _next_pid(pair: PairProcess, last: int) -> int:
    """The active worker's process id, once that is another one."""
    found = pair.status()
    return int(found["pid"]) if found["pid"] != last and found["role"] == "active" else 0


def test_resuming_is_told(pair: PairProcess) -> None:
    """While a takeover is put off, status says "resuming"."""
    seen, last = set(), 0
    end_s = time.monotonic() + TIMEOUT_S
    while "resuming" not in seen and time.monotonic() < end_s:
        found = pair.status()
        seen.add(found["role"])
        if found["role"] == "active" and found["pid"] != last:
            last = found["pid"]
            os.kill(last, signal.SIGKILL)
    assert seen == {"active", "resuming"}


def test_delay_after_bounds() -> None:
    """The first quick deaths cost nothing; then the delay doubles up to a limit, however many there are."""
    delays = [delay_after(count) for count in range(QUICK_DEATHS_FREE + 40)]
    assert not any(delays[: QUICK_DEATHS_FREE + 1])
    assert delays == sorted(delays) and delays[-1] == DELAY_MAX_S == delay_after(10**9)


def test_first_start_fails_port(stopped: PairProcess) -> None:
    """An address in use ends the first start with exit code 1 and the reason, as without a pair."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stopped.port = taken.getsockname()[1]
        ran = stopped.run(*stopped.words())
    assert ran.returncode == 1
    assert re.search(r"cannot serve: .*cannot listen on 127\.0\.0\.1:\d+", ran.stderr)


def test_first_start_fails_store(pair: PairProcess) -> None:
    """A store that cannot be used ends the first start with exit code 1 and the reason; nothing is tried again."""
    pair.kill_group()
    (pair.state / "data.mdb").write_bytes(b"")
    ran = pair.run(*pair.words())
    assert ran.returncode == 1
    assert "is empty, though there has been state" in ran.stderr


def test_store_unusable_at_takeover(pair: PairProcess) -> None:
    """A takeover that fails is tried again, later and later, and serves once the cause has gone."""
    before = pair.settled()
    data, aside = pair.state / "data.mdb", pair.state / "aside"
    data.rename(aside)
    data.write_bytes(b"")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: len(pair.events("server.failed")) > 2, "it has failed several times")
    data.unlink()
    aside.rename(data)
    assert pair.settled(after=before["pid"])["epoch"] > before["epoch"]


def test_log_reopened(pair: PairProcess) -> None:
    """SIGHUP to the supervisor makes every process write to the new log file."""
    old = pair.log.with_suffix(".old")
    pair.log.rename(old)
    pair.send_signal(signal.SIGHUP)
    until(pair.log.exists, "there is a new log")
    before = pair.kill_active()
    pair.settled(after=before)
    assert pair.events("worker.died") and pair.events("takeover.done")
