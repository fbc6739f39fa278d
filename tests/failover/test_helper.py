"""What a node's worker cannot do by itself any more: its helper does it, as long as both live, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.admin.control import ControlError
from nfsd.config import load_config
from nfsd.failover.helper import Helper
from nfsd.failover.hooks import HookFailed
from nfsd.vfs.process import Capability
from tests.support.client import mount
from tests.support.waiting import until

from .nodes import Group

KEPT = sum(1 << capability for capability in Capability)


@pytest.fixture
def group(namespaces: None, room: Path) -> Iterator[Group]:
    """Two nodes, configured."""
    with Group(room) as made:
        yield made


def helper_of(pid: int) -> int:
    """The helper of a worker: its only child."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def permitted(pid: int) -> tuple[int, str]:
    """A process's permitted capabilities, and whether no new privileges come to it ("1")."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["CapPrm"], 16), fields["NoNewPrivs"].strip()


def held(pid: int) -> set[str]:
    """The files that a process has open."""
    with contextlib.suppress(FileNotFoundError):
        names = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        return {name for name in names if name.startswith("/")}
    return set()


def has_ended(pid: int) -> bool:
    """Whether a process runs no more; it may wait for its parent still."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_confined(worker: int) -> None:
    """Soon after its birth a worker has no more privileges than it needs."""
    until(lambda: permitted(worker) == (KEPT, "1"), lambda: f"{permitted(worker)} are what is kept")


def keeps_nothing_else(helper: int, kept: set[str]) -> None:
    """Soon after its birth a helper has these files open and no others."""
    until(lambda: held(helper) == kept, lambda: f"{held(helper)} are {kept}")


def test_privileges(group: Group) -> None:
    """The workers of a node are confined; the helper is not, and keeps nothing of theirs open, above all no lock."""
    mask = group.directory / "mask"
    group.a.configure(hooks=f'unmount = "umask > {mask}"\n')
    group.a.start()
    group.a.promote()
    about = until(lambda: (about := group.a.status())["warm_pid"] and about, "there is a warm worker")
    assert about is not None
    kept = {"/dev/null", str(group.a.errors), str(group.a.log)}
    for worker in (about["pid"], about["warm_pid"]):
        is_confined(worker)
        assert permitted(helper_of(worker)) == permitted(os.getpid())
        keeps_nothing_else(helper_of(worker), kept)
    # Commands that need more than a worker has: ip(8) has given the address and takes it.
    mount(group.connect()).connection.close()
    group.a.let_go()
    assert mask.read_text() == "0022\n"
    assert group.a.stop() == 0


def test_ends_with_its_worker(group: Group) -> None:
    """A worker's helper goes with it, and so does the command that it runs."""
    running = group.directory / "running"
    group.a.configure(hooks=f'unmount = "[ $UNDERSTUDY_REASON != demote ] || {{ echo $$ > {running}; sleep 60; }}"\n')
    group.a.start()
    group.a.promote()
    worker = group.a.status()["pid"]
    helper = helper_of(worker)

    def kill() -> None:
        until(lambda: running.exists() and running.read_text().endswith("\n"), "the command runs")
        os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ControlError):
        group.a.ask("demote")
    killer.join()
    until(lambda: has_ended(helper) and has_ended(int(running.read_text())), "helper and command have ended")


def test_dead_helper(group: Group) -> None:
    """Without its helper a node cannot let go of the address: the command says so, and the next worker has another."""
    group.a.start()
    group.a.promote()
    os.kill(helper_of(group.a.status()["pid"]), signal.SIGKILL)
    with pytest.raises(ControlError, match="helper process has died"):
        group.a.ask("demote")
    group.a.wait("standby")
    group.a.drop_address()
    group.a.promote()
    mount(group.connect()).connection.close()


def test_only_what_is_configured(room: Path) -> None:
    """A helper is asked by names: what the configuration has no command for is refused, however it is put."""
    (room / "data").mkdir()
    file = room / "group.toml"
    file.write_text(
        f"""
        [server]
        listen = "192.0.2.1:2049"
        state = "{room}/state"
        control = "{room}/control"
        [cluster]
        fence = "manager"
        address_up = "test $UNDERSTUDY_HOOK/$UNDERSTUDY_REASON/$UNDERSTUDY_ADDRESS = address_up/promote/192.0.2.1"
        address_down = "echo no; exit 2"
        [[export]]
        path = "{room}/data"
        """
    )
    helper = Helper.start(load_config(file))
    groups: list[int] = []

    async def ask() -> None:
        await helper.hook("address_up", "promote", groups.append)
        assert len(set(groups)) == 2 and groups[-1] == 0
        with pytest.raises(HookFailed, match=r"address_down hook .* ended with 2: no"):
            await helper.hook("address_down", "promote", groups.append)
        for name, reason in (("mount", "promote"), ("fence", "promote"), ("reboot", "stop"), ("address_up", "fun")):
            with pytest.raises(ValueError, match="no command"):
                await helper.hook(name, reason, groups.append)
        with pytest.raises(ValueError, match="is no call"):
            await helper._call("_commands")
        # There is no holder.
        await helper.end_holder()

    asyncio.run(ask())
    helper._connection.close()
    assert os.waitpid(helper.pid, 0)[1] == 0
