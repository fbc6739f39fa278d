"""The command line: what is printed, and the exit codes 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import statestore
from nfsd.admin.control import ControlServer
from nfsd.cli import main
from tests.cli.fake import FakeServer
from xdr.generated import stored


class Ran:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        """The command's standard output, decoded."""
        return json.loads(self.out)


class Command:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `understudy` with these words."""
    return Command(monkeypatch, capsys)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on which a fake server answers, in a thread of its own."""
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        server = ControlServer(tmp_path / "control", FakeServer())
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield tmp_path
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_status_json(run: Command, state: Path) -> None:
    """The promised keys are there."""
    ran = run("status", "--state", state, "-o", "json")
    assert ran.code == 0
    assert ran.json().keys() >= {
        "role",
        "node",
        "epoch",
        "pid",
        "supervisor_pid",
        "clients",
        "opens",
        "locks",
        "delegations",
        "recovery",
    }


def test_status_table(run: Command, state: Path) -> None:
    """A person gets a line for each key; nothing is a dash."""
    ran = run("status", "--control", state / "control")
    assert re.search(r"^role +active$", ran.out, re.MULTILINE)
    assert re.search(r"^supervisor_pid +-$", ran.out, re.MULTILINE)
    assert re.search(r"^recovery +load=0.25$", ran.out, re.MULTILINE)


def test_status_wait_active(run: Command, state: Path) -> None:
    """status --wait returns at once when the role is there already."""
    assert run("status", "--wait", "active", "--state", state).code == 0


def test_status_wait_nobody(run: Command, tmp_path: Path) -> None:
    """status --wait gives up after its time, and says what it saw."""
    ran = run("status", "--wait", "active", "--state", tmp_path, "--timeout", "0.2")
    assert ran.code == 1
    assert "there was no server" in ran.err


def test_status_no_server(run: Command, tmp_path: Path) -> None:
    """Nobody there is a failure with a remedy, not a traceback."""
    ran = run("status", "--state", tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert "no server runs on this state directory" in ran.err


def test_status_which_server(run: Command) -> None:
    """Without a way to find the server the usage is wrong."""
    assert run("status").code == 2


def test_clients_table(run: Command, state: Path) -> None:
    """Numbers stay as they are, and a client's name cannot steer the terminal."""
    ran = run("clients", "--state", state)
    assert "0x1e5" in ran.out
    assert "a\\x1b[2J" in ran.out
    assert "\x1b" not in ran.out


def test_opens_json(run: Command, state: Path) -> None:
    """A long listing is whole."""
    assert len(run("opens", "--state", state, "-o", "json").json()) == 1000


@pytest.mark.parametrize("listing", ["locks", "delegations"])
def test_listing_empty(run: Command, state: Path, listing: str) -> None:
    """Nothing is said in words, and as an empty list."""
    assert run(listing, "--state", state).out == f"no {listing}\n"
    assert run(listing, "--state", state, "-o", "json").json() == []


@pytest.mark.parametrize(("clientid", "code"), [("2", 0), ("0x2", 0), ("3", 1), ("abc", 2), (str(1 << 64), 2)])
def test_expire(run: Command, state: Path, clientid: str, code: int) -> None:
    """A client that is there, one that is not, and what is no clientid."""
    assert run("expire", clientid, "--state", state).code == code


def test_blackout_set(run: Command, state: Path) -> None:
    """What was named reaches the server, and its word comes back."""
    ran = run("blackout", "set", "/export/file", "--seconds", 5, "--response", "fail", "--state", state, "-o", "json")
    assert ran.code == 0
    assert ran.json() == {"action": "set", "file": "/export/file", "seconds": 5, "response": "fail"}
    ran = run("blackout", "set", "--client", "0x1f", "--state", state)
    assert re.search(r"^client +31$", ran.out, re.MULTILINE)
    assert re.search(r"^response +retry$", ran.out, re.MULTILINE)
    assert "seconds" not in ran.out
    ran = run("blackout", "set", "/export/none", "--state", state)
    assert (ran.code, ran.out) == (1, "")
    assert "there is no file /export/none" in ran.err


@pytest.mark.parametrize("words", [
    ["set"], ["set", "/a", "--export", "/b"], ["set", "--client", "x"], ["set", "/a", "--seconds", 0],
    ["set", "/a", "--response", "wait"], ["lift"], ["lift", "--export", "/b", "--client", 1], [], ["dance"],
])  # fmt: skip
def test_blackout_wrong_usage(run: Command, state: Path, words: list[object]) -> None:
    """One thing must be named, as it can be."""
    assert run("blackout", *words, "--state", state).code == 2


def test_blackout_list_and_lift(run: Command, state: Path) -> None:
    """Nothing is said in words; lifting what is not blacked out fails."""
    assert run("blackout", "list", "--state", state).out == "no blackouts\n"
    assert run("blackout", "list", "--state", state, "-o", "json").json() == []
    assert run("blackout", "lift", "/export/file", "--state", state).out == "lifted\n"
    ran = run("blackout", "lift", "--export", "/export", "--state", state)
    assert ran.code == 1
    assert "blackout list" in ran.err


def test_unknown_command(run: Command) -> None:
    """Wrong usage is 2."""
    assert run("dance").code == 2
    assert run("status", "--colour").code == 2


def test_check_config_ok(run: Command, tmp_path: Path) -> None:
    """The effective settings are printed after ok."""
    (tmp_path / "data").mkdir()
    ran = run("check-config", "--export", f"{tmp_path}/data=/a,ro", "--state", tmp_path / "s", "--lease-time", 20)
    assert (ran.code, ran.out.split("\n")[0]) == (0, "ok")
    assert re.search(r"^lease_time_s +20$", ran.out, re.MULTILINE)
    assert not (tmp_path / "s").exists()


def test_check_config_json(run: Command, tmp_path: Path) -> None:
    """The effective settings are printed as JSON."""
    (tmp_path / "data").mkdir()
    ran = run("check-config", "--export", f"{tmp_path}/data=/a", "--state", tmp_path / "s", "--no-pair", "-o", "json")
    assert ran.json()["exports"][0]["pseudo"] == "/a"
    assert ran.json()["pair"] is False


def test_check_config_wrong_values(run: Command, tmp_path: Path) -> None:
    """Every wrong value is listed under its option; the exit code is 1."""
    ran = run("check-config", "--export", tmp_path, "--state", tmp_path, "--lease-time", "x", "--listen", "y")
    assert ran.code == 1
    assert "--lease-time: 'x' is not allowed" in ran.err
    assert "--listen: 'y' is no address" in ran.err


def test_check_config_wrong_export_option(run: Command, tmp_path: Path) -> None:
    """An export's options are read as well, and the file's line is named."""
    file = tmp_path / "u.toml"
    (tmp_path / "data").mkdir()
    file.write_text('[server]\nstate = "s"\n[[export]]\npath = "data"\npseudo = "/a"\noptions = "rw,colour"\n')
    ran = run("check-config", "--config", file)
    assert ran.code == 1
    assert "u.toml:3" in ran.err
    assert "colour" in ran.err


def test_check_config_exports_clash(run: Command, tmp_path: Path) -> None:
    """What is wrong between two exports is found as well."""
    for name in "ab":
        (tmp_path / name).mkdir()
    exports = ("--export", f"{tmp_path}/a=/a,fsid=3", "--export", f"{tmp_path}/b=/b,fsid=3")
    ran = run("check-config", *exports, "--state", tmp_path / "s")
    assert ran.code == 1
    assert "fsid=3" in ran.err


def test_serve_wrong_usage(run: Command, tmp_path: Path) -> None:
    """A wrong option is wrong usage; a wrong file has failed."""
    assert run("serve", "--export", tmp_path).code == 2
    file = tmp_path / "u.toml"
    file.write_text('[server]\nstate = "s"\nlease_time_s = 1\n[[export]]\npath = "."\n')
    ran = run("serve", "--config", file)
    assert ran.code == 1
    assert "u.toml:3: lease_time_s: 1 is not allowed" in ran.err


def open_value() -> bytes:
    """The value of an open's record."""
    packer = stored.StoredPacker()
    packer.pack_stored_open(
        stored.stored_open(
            clientid=0,
            access=3,
            deny=0,
            access_seen=8,
            deny_seen=1,
            seqid=2,
            instance=5,
            owner=b"process 7",
            object=b"\x00\xff",
            uid=1000,
            gid=1000,
            groups=[4],
        )
    )
    return bytes(packer.get_buffer())


def fail(error: BaseException) -> None:
    """A small store does not fail."""
    raise error


def make_store(directory: Path) -> None:
    """A small store: a holder, and an open of it."""
    store = statestore.LmdbStore.open(directory, level="process", on_failure=fail)
    changes = statestore.ChangeSet()
    changes.put(statestore.HOLDER, bytes(8), b"value")
    changes.put(statestore.OPEN, bytes(16), open_value())
    store.commit(changes)
    store.flush()
    store.close()


def understudy(*words: object) -> Ran:
    """Run a command in a process of its own, as the store's engine wants it."""
    done = subprocess.run(
        [sys.executable, "-c", "from nfsd.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_store_dump(tmp_path: Path) -> None:
    """Every record, as lines or as JSON, all or of one kind."""
    make_store(tmp_path / "s")
    dump = understudy("store", "dump", "--state", tmp_path / "s", "-o", "json").json()
    records = {record["kind"]: record for record in dump}
    assert records["OPEN"].items() >= {"access": 3, "owner": "process 7", "object": "0x00ff"}.items()
    assert "cannot be read" in records["HOLDER"]["damaged"]
    only = understudy("store", "dump", "--state", tmp_path / "s", "--kind", "open")
    assert only.out.startswith("OPEN     " + "00" * 16)
    assert only.out.count("\n") == 1


def test_store_verify(tmp_path: Path) -> None:
    """A sound store is 0; a reference that leads nowhere is 1 and is named."""
    make_store(tmp_path / "s")
    assert understudy("store", "verify", "--state", tmp_path / "s", "-o", "json").json()["ok"] is True
    store = statestore.LmdbStore.open(tmp_path / "s", level="process", on_failure=fail)
    changes = statestore.ChangeSet()
    changes.remove(statestore.HOLDER, bytes(8))
    store.commit(changes)
    store.flush()
    store.close()
    ran = understudy("store", "verify", "--state", tmp_path / "s")
    assert ran.code == 1
    assert "does not exist" in ran.out


def test_store_backup(tmp_path: Path) -> None:
    """The copy is a sound store; it is not written over anything."""
    make_store(tmp_path / "s")
    assert understudy("store", "backup", "--state", tmp_path / "s", tmp_path / "b").code == 0
    assert understudy("store", "verify", "--state", tmp_path / "b").code == 0
    again = understudy("store", "backup", "--state", tmp_path / "s", tmp_path / "b")
    assert again.code == 1
    assert "no backup was made" in again.err


@pytest.mark.parametrize("command", ["dump", "verify"])
def test_store_missing(tmp_path: Path, command: str) -> None:
    """A directory without a store is a failure that says so."""
    ran = understudy("store", command, "--state", tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert "no state" in ran.err
