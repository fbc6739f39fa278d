"""A node stands by, takes over, lets go, and is refused; everything that clients hold goes along."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nfsd.admin.control import ControlError
from nfsd.cli.ask import EXIT_CODES
from tests.support import operations as ops
from tests.support.client import Connection, Opened, Session, mount
from tests.support.launcher import COMMAND
from tests.support.waiting import let_pass, until
from xdr.generated import nfs4

from .nodes import Group


@pytest.fixture
def group(namespaces: None, tmp_path: Path) -> Iterator[Group]:
    """Two nodes that stand by."""
    with Group(tmp_path) as opened:
        yield opened


@pytest.fixture
def standing(group: Group) -> Group:
    """Two nodes that stand by, started."""
    group.a.start()
    group.b.start()
    return group


def reset_within(connection: Connection, seconds: float) -> bool:
    """Whether the connection is reset in that time."""
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    if not poll.poll(seconds * 1000):
        return False
    try:
        return connection.socket.recv(1) == b""
    except ConnectionResetError:
        return True


def holds(group: Group, session: Session, opened_by: str) -> Opened:
    """Everything is as it was: the session, the open, the lock, and the others' denial; the open as it is now."""
    opened = session.open(b"held", owner=opened_by.encode())
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    other = mount(group.connect())
    denied = other.open(b"held")
    locking = ops.lock_new(denied.stateid, owner=b"other")
    assert other.status(ops.putfh(denied.handle), locking) == nfs4.NFS4ERR_DENIED
    other.connection.close()
    return opened


def test_handover(standing: Group) -> None:
    """An idle client is reset at once by the new node, and finds session, open and lock there."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    session.lock(opened)
    group.a.let_go()
    # Its connections ended without a word: the address had gone.
    assert not reset_within(session.connection, 0.3)
    group.b.promote()
    assert reset_within(session.connection, 1.0)
    session.connection = group.connect()
    session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, data=b"more"))
    holds(group, session, "first")
    assert [line["count"] for line in group.b.events("tickle.sent")][0] == 1
    assert group.b.events("fence.unneeded")[0]["reason"] == "the last holder has let go"
    session.connection.close()


def test_back_and_forth(standing: Group) -> None:
    """A dozen moves in a row, one slot's sequence all along."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    session.lock(opened)
    for _ in range(6):
        for leaving, coming in ((group.a, group.b), (group.b, group.a)):
            session.connection.close()
            leaving.let_go()
            coming.promote()
            session.connection = group.connect()
            session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, data=b"more"))
    holds(group, session, "first")
    session.connection.close()


def test_demote_keeps_replies(standing: Group) -> None:
    """A request answered before the move is answered from the cache after it."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    made = session.message(ops.putfh(session.directory), ops.mkdir(b"made"), cache=True)
    first = session.connection.rpc(made)
    session.connection.close()
    group.a.let_go("demote")
    group.b.promote()
    session.connection = group.connect()
    assert session.connection.rpc(made).body == first.body
    session.connection.close()


def test_killed_worker_is_this_nodes_affair(standing: Group) -> None:
    """The pair goes on as ever; the node is still active, and nobody is asked."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    session.lock(opened)
    until(lambda: group.a.ask("status")["warm_pid"], "there is a warm one")
    pid = group.a.ask("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    session.connection = group.connect()
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    opened = holds(group, session, "first")
    status = group.a.ask("status")
    assert status["role"] == "active" and status["pid"] != pid and group.b.role() == "standby"
    group.a.let_go()
    group.b.promote()
    session.connection = group.connect()
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    session.connection.close()


def test_dead_node(standing: Group) -> None:
    """The whole daemon is killed: the other node ends what may be left, and goes on."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    session.lock(opened)
    group.a.kill()
    group.b.promote()
    session.connection = group.connect()
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    holds(group, session, "first")
    group.a.start()
    assert group.a.role() == "standby"
    session.connection.close()


def test_living_node_is_fenced(standing: Group) -> None:
    """A promotion while the other one serves ends that one first, whatever it is doing."""
    group = standing
    group.a.promote()
    group.a.signal_all(signal.SIGSTOP)
    group.b.promote()
    assert group.a.end(5.0) == -signal.SIGKILL
    assert group.b.events("holder.killed")[0]["holder"] == "a"
    group.a.drop_address()


def test_failing_fence(standing: Group) -> None:
    """Without a confirmed fence there is no takeover: the command fails, the node stands by, and may try again."""
    group = standing
    group.b.stop()
    permission = group.directory / "permission"
    group.b.configure(fence=f"test -e {permission} || (echo the other node is on; exit 3)")
    group.b.start()
    group.a.promote()
    group.a.signal_all(signal.SIGSTOP)
    with pytest.raises(ControlError, match="the fence hook .* ended with 3: the other node is on"):
        group.b.promote()
    group.b.wait("standby")
    group.a.signal_all(signal.SIGCONT)
    group.a.kill()
    permission.touch()
    group.b.promote()
    assert group.b.role() == "active"


def test_lock_is_held(standing: Group) -> None:
    """Where a fence said yes too early, the lock of the state directory still says no."""
    group = standing
    group.b.stop()
    group.b.configure(fence="true", hooks="hook_time_s = 1")
    group.b.start()
    group.a.promote()
    with pytest.raises(ControlError, match="is in use by process"):
        group.b.promote()
    group.b.wait("standby")
    assert group.a.role() == "active"


def test_hooks_in_order(group: Group) -> None:
    """fence, mount, address up; address down, unmount, handover; each with its environment."""
    said = group.directory / "said"
    words = '\\"$UNDERSTUDY_HOOK $UNDERSTUDY_NODE $UNDERSTUDY_REASON $UNDERSTUDY_ADDRESS\\"'
    hooks = "".join(f'{name} = "echo {words} >> {said}"\n' for name in ("mount", "unmount", "handover"))
    group.a.configure(fence=f"echo {words} >> {said}", hooks=hooks)
    group.a.start()
    group.a.promote()
    group.a.let_go()
    assert said.read_text().splitlines() == [
        "unmount a stop 10.77.0.10", "fence a promote 10.77.0.10", "mount a promote 10.77.0.10",
        "unmount a handover 10.77.0.10", "handover a handover 10.77.0.10",
    ]  # fmt: skip
    names = [line["hook"] for line in group.a.events("hook.done")]
    assert names == ["unmount", "fence", "mount", "address_up", "address_down", "unmount", "handover"]
    group.a.promote()
    assert set(group.a.ask("status")["recovery"]) >= {"fence", "mount", "lock", "open", "load", "listen", "address_up"}


def test_late_hook(group: Group) -> None:
    """A command that does not end is ended, with what it started, and the node stands by."""
    group.a.configure(hooks='mount = "sleep 77 & sleep 78"\nhook_time_s = 1\n')
    group.a.start()
    with pytest.raises(ControlError, match="the mount hook .* had not ended after 1 s"):
        group.a.promote()
    group.a.wait("standby")


def test_failing_start(group: Group) -> None:
    """A store that cannot be opened: the command fails with the reason, the address is given back."""
    group.state.mkdir(mode=0o700)
    (group.state / "data.mdb").write_bytes(b"no store" * 4096)
    group.a.start()
    with pytest.raises(ControlError, match="data.mdb is damaged|is damaged"):
        group.a.promote()
    group.a.wait("standby")
    assert "10.77.0.10" not in group.network.nodes["a"].run("ip address show dev eth0")


def test_stop_lets_go(standing: Group) -> None:
    """SIGTERM to the active daemon is a planned move: nothing has to be fenced afterwards."""
    group = standing
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    assert group.a.stop() == 0
    assert json.loads((group.state / "holder").read_text())["released"]
    group.b.promote()
    session.connection = group.connect()
    session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    session.connection.close()


def test_manager_by_fifo(group: Group) -> None:
    """keepalived's words move the node, and the file that it watches says when it may have the address."""
    fifo, fault = group.a.directory / "fifo", group.a.directory / "fault"
    hooks = f'notify_fifo = "{fifo}"\nnotify_name = "NFS"\nfault_file = "{fault}"\n'
    group.a.configure(hooks=hooks)
    group.a.start()
    assert fault.read_text() == "0\n"
    assert stat.S_IMODE(fault.stat().st_mode) == 0o644
    for line in ('INSTANCE "OTHER" MASTER 200\n', "nonsense\n", 'GROUP "NFS" MASTER 0\n'):
        fifo.open("w").write(line)
    group.a.wait("active")
    assert fault.read_text() == "0\n"
    fifo.open("w").write('INSTANCE "NFS" BACKUP 200\n')
    group.a.wait("standby")
    fifo.open("w").write('INSTANCE "NFS" MASTER 200\n')
    group.a.wait("active")
    group.a.let_go("handover")
    # The new process may have the address again: the manager has chosen meanwhile.
    until(lambda: fault.read_text() == "0\n", "the fault is over")
    assert [line["line"] for line in group.a.events("manager.not_understood")] == ["nonsense"]


def test_manager_answers_a_handover(group: Group) -> None:
    """What keepalived says of the fault that a handover told it is no other wish: the command succeeds."""
    fifo, said = group.a.directory / "fifo", group.directory / "said"
    group.a.configure(hooks=(
        f"notify_fifo = \"{fifo}\"\nnotify_name = \"NFS\"\nhandover = \"touch {said}\"\n"
        f"unmount = \"[ $UNDERSTUDY_REASON = stop ] || echo 'INSTANCE \\\"NFS\\\" FAULT 200' > {fifo};"
        " sleep 0.3\"\n"))  # fmt: skip
    group.a.start()
    group.a.promote()
    group.a.let_go("handover")
    assert said.exists()
    assert [line["by"] for line in group.a.events("demote.asked")] == ["manager"]


def test_manager_is_obeyed_in_the_end(group: Group) -> None:
    """A takeover that fails is tried again for as long as the manager wishes it."""
    fifo, permission = group.a.directory / "fifo", group.directory / "permission"
    group.a.configure(fence=f"test -e {permission}", hooks=f'notify_fifo = "{fifo}"\nnotify_name = "NFS"\n')
    group.a.start()
    fifo.open("w").write('INSTANCE "NFS" MASTER 200\n')
    until(lambda: len(group.a.events("hook.failed")) >= 2, "it has tried twice")
    permission.touch()
    group.a.wait("active")


def test_standing_still(group: Group) -> None:
    """A node that stood still serves no more, says why, and stays off until it is told otherwise."""
    fault = group.a.directory / "fault"
    group.a.configure(fence="manager", hooks=f'pause_max_s = 0.5\nfault_file = "{fault}"\n')
    group.a.start()
    group.a.promote()
    session = mount(group.connect())
    group.a.signal_all(signal.SIGSTOP)
    session.connection.send(session.message(ops.putfh(session.directory), ops.mkdir(b"late")))
    let_pass(0.8, "the node must stand still for longer than it may")
    group.a.signal_all(signal.SIGCONT)
    group.a.wait("fenced")
    assert not (group.export / "late").exists()
    assert reset_within(session.connection, 2.0)
    assert "stood still" in group.a.events("fenced")[0]["reason"]
    assert fault.read_text() == "1\n"
    assert "10.77.0.10" not in group.network.nodes["a"].run("ip address show dev eth0")
    group.a.ask("demote")
    group.a.wait("standby")
    assert fault.read_text() == "0\n"
    group.a.promote()
    session.connection = group.connect()
    session.ok(ops.putfh(session.directory), ops.getattr_())
    session.connection.close()


def test_dying_again_and_again(group: Group) -> None:
    """A node whose processes die as soon as they serve gives up, so that another one may try."""
    group.a.configure(hooks=f'fault_file = "{group.a.directory}/fault"\n')
    group.a.start()
    group.a.promote()
    last = 0

    def killed_off() -> bool:
        nonlocal last
        with contextlib.suppress(ControlError):
            status = group.a.ask("status", 1.0)
            if status["pid"] != last and status["role"] in ("active", "resuming"):
                last = status["pid"]
                os.kill(last, signal.SIGKILL)
        return group.a.role() == "fenced"

    until(killed_off, "the node gives up")
    assert "died as soon as they served" in group.a.events("fenced")[0]["reason"]


def test_status_exit_code(standing: Group) -> None:
    """A probe tells the roles apart by the exit code."""
    group = standing
    network = group.network.nodes["a"]

    def code() -> int:
        words = [*COMMAND, "status", "--exit-code", "--config", str(group.a.config)]
        return network.call(subprocess.run, words, capture_output=True, timeout=20).returncode

    assert code() == EXIT_CODES["standby"] == 10
    group.a.promote()
    assert code() == EXIT_CODES["active"] == 0
    group.a.kill()
    assert code() == 1


def test_stopped_worker_is_fenced(standing: Group) -> None:
    """A stopped process that is not bound to its supervisor's life, but has the lock, is found and ended."""
    group = standing
    group.a.promote()
    holding = group.network.nodes["a"].call(
        subprocess.Popen, [sys.executable, "-c", f"import fcntl, signal; f = open('{group.state}/other', 'w')\n"
                           "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holding.stdout is not None and holding.stdout.readline() == b"held\n"
    group.a.kill()
    os.rename(group.state / "other", group.state / "lock")
    holding.send_signal(signal.SIGSTOP)
    group.b.promote()
    assert holding.wait(5.0) == -signal.SIGKILL
    holding.stdout.close()


def test_second_daemon_refused(standing: Group) -> None:
    """A second daemon on one control socket ends at once; the first goes on."""
    group = standing
    first, group.a.child = group.a.child, None
    second = group.a.launch()
    group.a.child = first
    assert second.wait(20.0) == 1
    group.a.promote()
    assert group.a.role() == "active"


def test_service_manager(group: Group) -> None:
    """A standby is ready when it stands by, and says all the time that it lives, on stage and off."""
    path = group.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20.0)

        def hear(line: str) -> None:
            while line not in manager.recv(4096).decode().splitlines():
                pass

        group.a.start(environment={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"})
        hear("READY=1")
        hear("WATCHDOG=1")
        group.a.promote()
        hear(f"STATUS=serving, process {group.a.ask('status')['pid']}, 1 takeovers")
        hear("WATCHDOG=1")
        group.a.let_go()
        hear(f"STATUS=standby, process {group.a.ask('status')['pid']}")
        hear("WATCHDOG=1")


def test_figures(group: Group) -> None:
    """The role is a figure too, on stage and off."""
    group.a.config.write_text(group.a.config.read_text().replace("[cluster]", 'metrics = "10.77.0.1:9464"\n[cluster]'))
    group.a.start()

    def roles() -> dict[str, float]:
        read = urllib.request.urlopen("http://10.77.0.1:9464/metrics", timeout=10).read().decode()
        return {line.split('"')[1]: float(line.split()[1]) for line in read.splitlines() if "_role{" in line}

    client = group.network.nodes["client"]
    until(lambda: client.call(roles).get("standby") == 1.0, "it is a standby")
    group.a.promote()
    found = client.call(roles)
    assert found["active"] == 1.0 and sum(found.values()) == 1.0 and set(found) == set(EXIT_CODES)


def test_killed_while_letting_go(group: Group) -> None:
    """What a process leaves over that dies between the store and the volume is cleared away by the next one."""
    said = group.directory / "said"
    wait = "[ $UNDERSTUDY_REASON = stop ] || sleep 30"
    group.a.configure(hooks=f'unmount = "echo $UNDERSTUDY_REASON >> {said}; {wait}"\n')
    group.a.start()
    group.a.promote()
    pid = group.a.ask("status")["pid"]
    with pytest.raises(ControlError), ThreadPoolExecutor() as pool:
        asked = pool.submit(group.a.ask, "demote")
        until(lambda: said.read_text().split() == ["stop", "demote"], "the volume is being let go")
        os.kill(pid, signal.SIGKILL)
        asked.result()
    group.a.wait("standby")
    assert said.read_text().split() == ["stop", "demote", "stop"]
    group.a.promote()


def test_killed_while_taking_over(group: Group) -> None:
    """A command whose process dies has failed; what it had begun is cleared away, and it can be given again."""
    said = group.directory / "said"
    mount_command = f"echo mount >> {said}; [ -e {said}.go ] || (sleep 1.5; echo late >> {said})"
    group.a.configure(hooks=f'mount = "{mount_command}"\nunmount = "echo unmount >> {said}"\n')
    group.a.start()
    pid = group.a.ask("status")["pid"]
    with pytest.raises(ControlError), ThreadPoolExecutor() as pool:
        asked = pool.submit(group.a.promote)
        until(lambda: said.read_text().split() == ["unmount", "mount"], "the volume is being mounted")
        os.kill(pid, signal.SIGKILL)
        asked.result()
    group.a.wait("standby")
    let_pass(2.0, "the command of the dead one would have gone on by now")
    assert said.read_text().split() == ["unmount", "mount", "unmount"], "the command has gone on"
    Path(f"{said}.go").touch()
    group.a.promote()
    assert group.a.role() == "active"


def test_address_without_a_word(standing: Group) -> None:
    """A standby that has the address says that nobody has asked it to serve."""
    standing.network.add_address("a", "10.77.0.10/24")
    until(lambda: standing.a.events("address.unasked"), "it says so")
    assert not standing.b.events("address.unasked")


def test_always_somebody_to_ask(standing: Group) -> None:
    """A probe finds an answer at any moment of a move."""
    group = standing
    group.a.promote()
    asked, roles = 0, set()
    with ThreadPoolExecutor() as pool:
        moving = pool.submit(group.a.let_go)
        while not moving.done() or group.a.ask("status")["role"] != "standby":
            roles.add(group.a.ask("status", 5.0)["role"])
            asked += 1
        moving.result()
    assert asked and roles <= {"active", "draining", "standby"}
