"""Where the state lies: what is refused, by `check-config` and at the start, and what is warned of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfsd.cli.main import understudy
from nfsd.cli.options import control_path, state_path
from nfsd.config import mounts, places
from nfsd.exports import ExportError
from nfsd.resume.places import keep_apart, open_state
from statestore import StoreError


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory with `data` to export, `state`, and a file that names both."""
    (tmp_path / "data").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state").chmod(0o700)
    configure(tmp_path)
    return tmp_path


def configure(room: Path, *, state: object = "state", export: object = "data") -> None:
    """Write the file."""
    (room / "u.toml").write_text(f'[server]\nstate = "{state}"\n\n[[export]]\npath = "{export}"\npseudo = "/a"\n')


def check(room: Path) -> Result:
    """What `check-config` says of the file."""
    return CliRunner().invoke(understudy, ["check-config", "--config", str(room / "u.toml")])


def complaint(room: Path) -> str:
    """What it says is wrong: that one thing."""
    ran = check(room)
    assert ran.exit_code == 1, ran.output
    assert "1 wrong:" in ran.output
    return ran.output


def test_beside(room: Path) -> None:
    """A state beside the exports, for the server's user alone, is nothing to talk of."""
    ran = check(room)
    assert ran.exit_code == 0 and ran.output.startswith("ok\n") and "warning" not in ran.output


def test_state_in_an_export(room: Path) -> None:
    """The export that contains the state is refused with its line, and what to do."""
    configure(room, export=".")
    assert f"u.toml:4: {room} contains the state directory {room}/state, whose secret" in complaint(room)
    with pytest.raises(ExportError, match="contains the state directory"):
        keep_apart(room / "state", [(room / "data", False), (room, False)])
    # What may hang is known by its text.
    with pytest.raises(ExportError, match="contains the state directory"):
        keep_apart(room / "state", [(room, True)])


def test_state_is_the_export(room: Path) -> None:
    """The state directory itself cannot be exported either."""
    configure(room, export="state")
    assert "contains the state directory" in complaint(room)


def test_export_in_the_state(room: Path) -> None:
    """What lies in the state directory is nobody's to export."""
    (room / "state" / "data").mkdir()
    configure(room, export="state/data")
    assert f"u.toml:4: {room}/state/data lies in the state directory" in complaint(room)


def test_through_a_link(room: Path) -> None:
    """A link on the way hides nothing, whichever of the two is named by it, made already or not."""
    (room / "way").symlink_to(room / "data")
    configure(room, state="way/state")
    assert "contains the state directory" in complaint(room)
    (room / "data" / "state").mkdir(mode=0o700)
    assert "contains the state directory" in complaint(room)
    configure(room, state="data/state", export="way")
    assert "contains the state directory" in complaint(room)


def test_neighbour_of_like_name(room: Path) -> None:
    """A directory whose name only begins like the export's is another one."""
    (room / "data-state").mkdir(mode=0o700)
    configure(room, state="data-state")
    assert check(room).exit_code == 0


@pytest.mark.parametrize(("mode", "shared"), [(0o770, True), (0o702, True), (0o777, True), (0o755, False)])
def test_mode_of_the_directory(room: Path, mode: int, shared: bool) -> None:
    """Who can write the directory can exchange the state: refused; who can look into it is warned of."""
    (room / "state").chmod(mode)
    if shared:
        assert f"u.toml:2: state: {room}/state has mode {mode:04o}, by which others can put other" in complaint(room)
        with pytest.raises(StoreError, match="chmod 700"):
            open_state(room / "state", level="process", on_failure=print)
    else:
        ran = check(room)
        assert ran.exit_code == 0
        assert f"warning: {room}/state can be looked into by others: chmod 700" in ran.output


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_mode_of_the_secret(room: Path, mode: int) -> None:
    """A secret that others can use is refused, and said to be mended."""
    store = open_state(room / "state", level="process", on_failure=print)
    store.close()
    secret = room / "state" / "secret"
    secret.chmod(mode)
    assert f"state: {secret} has mode {mode:04o}, by which others can use the secret: chmod 600" in complaint(room)
    with pytest.raises(StoreError, match="chmod 600"):
        open_state(room / "state", level="process", on_failure=print)
    secret.chmod(0o600)
    open_state(room / "state", level="process", on_failure=print).close()


@pytest.mark.root
def test_owner(room: Path) -> None:
    """A state that is another user's is refused: he could exchange it."""
    os.chown(room / "state", 1000, -1)
    assert "belongs to user 1000, who could put other state in its place: chown it" in complaint(room)


def test_asking_is_no_starting(room: Path) -> None:
    """Who only asks a server is not told where its state ought to lie."""
    configure(room, export=".")
    (room / "state").chmod(0o777)
    file = room / "u.toml"
    assert control_path(None, None, file) == room / "state" / "control"
    assert state_path(None, file) == room / "state"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_remote(room: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A file system that another machine serves is refused, in the file and at the start."""
    monkeypatch.setattr(places, "kind_of", lambda _path: kind)
    assert f"u.toml:2: state: {room}/state lies on {kind}, which another machine serves" in complaint(room)
    with pytest.raises(StoreError, match="a disk of this machine"):
        open_state(room / "state", level="process", on_failure=print)


@pytest.mark.parametrize("kind", ["fuse.other", "9p", "ceph"])
def test_untried(room: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """One that may be good enough is warned of."""
    monkeypatch.setattr(places, "kind_of", lambda _path: kind)
    assert list(places.warnings_of(room / "state")) == [
        f"{room}/state lies on {kind}, where the state's engine has not been tried: it needs a coherent mmap and flock"
    ]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in the kernel's memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="understudy-") as name:
        yield Path(name)


def test_volatile(room: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state in memory is a choice: it is warned of, in the log as well."""
    state = memory / "state"
    configure(room, state=state)
    ran = check(room)
    assert ran.exit_code == 0
    assert f"warning: {state} lies on tmpfs: no state survives a restart of the machine" in ran.output
    open_state(state, level="process", on_failure=print).close()
    assert '"event":"state.place"' in capsys.readouterr().err


def test_kind_of(memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The mount counts that a path's way leads to, made or not; unknown is nothing."""
    assert places.kind_of(memory / "not" / "made" / "yet") == "tmpfs"
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "none")
    assert places.kind_of(memory) == ""
