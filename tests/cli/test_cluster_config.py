"""The [cluster] table: what is needed, what is allowed, and which command takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nfsd.cli.main import understudy
from nfsd.config import ConfigError, load_config

WHOLE = """
[server]
listen = "192.0.2.10:2049"
state = "state"
control = "control"
[cluster]
fence = "true"
pause_max_s = 0.5
notify_fifo = "fifo"
notify_name = "NFS"
[[export]]
path = "data"
"""


def written(directory: Path, text: str) -> Path:
    """A configuration file."""
    (directory / "data").mkdir(exist_ok=True)
    file = directory / "node.toml"
    file.write_text(text)
    return file


def test_whole_table(tmp_path: Path) -> None:
    """Every value arrives; durability is that of a state which another node takes over."""
    config = load_config(written(tmp_path, WHOLE))
    assert config.cluster is not None and config.cluster.fence == "true"
    assert config.cluster.pause_max_s == 0.5 and config.cluster.notify_fifo == tmp_path / "fifo"
    assert config.durability == "power"


def test_durability_chosen(tmp_path: Path) -> None:
    """What is said about durability holds."""
    text = WHOLE.replace("[cluster]", 'durability = "process"\n[cluster]')
    assert load_config(written(tmp_path, text)).durability == "process"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('fence = "true"\n', ""), "node.toml:6: fence: is missing"),
        (('notify_name = "NFS"\n', ""), "node.toml:6: notify_name: is missing"),
        (('control = "control"\n', ""), "node.toml:5: control: is missing"),
        (("192.0.2.10", "0.0.0.0"), "node.toml:3: listen: must be the service address"),
        (("192.0.2.10", "nfs.example.org"), "node.toml:3: listen: must be the service address"),
        (("0.5", "0.05"), "node.toml:8: pause_max_s: 0.05 is not allowed: it must be a number from 0.1 to 60"),
        (("0.5", "true"), "node.toml:8: pause_max_s: True is not allowed"),
        (("fence =", "fense ="), "node.toml:7: fense is no known key: did you mean fence?"),
    ],
)
def test_wrong_table(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    """Each mistake is named with its line and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, WHOLE.replace(*change)))
    assert complaint in str(caught.value)


def test_mounted_later(tmp_path: Path) -> None:
    """With a mount command an export need not be there yet; without one it must."""
    text = WHOLE.replace('path = "data"', 'path = "later"')
    with pytest.raises(ConfigError, match="later is no directory"):
        load_config(written(tmp_path, text))
    load_config(written(tmp_path, text.replace("[cluster]", '[cluster]\nmount = "true"')))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["serve", "--config", "node.toml"], "the file has a [cluster] table"),
        (["standby", "--export", "data", "--state", "state"], "a standby needs a [cluster] table"),
        (["standby", "--config", "node.toml", "--no-pair"], "a standby has always a pair"),
    ],
)
def test_wrong_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str) -> None:
    """`serve` and `standby` are told apart before anything is started; wrong usage."""
    written(tmp_path, WHOLE)
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(understudy, words)
    assert ran.exit_code == 2 and complaint in ran.output
