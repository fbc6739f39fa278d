"""The example units and the example configuration: the programs that read them find nothing to say."""

import subprocess
import sys
from pathlib import Path

import pytest

UNITS = ("understudy.service", "understudy.socket", "understudy@alpha.service")


def verify(directory: Path, unit: str) -> str:
    """What `systemd-analyze verify` says, with the program where the tests have it."""
    program = Path(sys.executable).parent / "understudy"
    for file in directory.glob("*.service"):
        file.write_text(file.read_text().replace("/opt/understudy/bin/understudy", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{unit}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    # Units of other packages on this machine are not ours to judge.
    return "\n".join(line for line in said.splitlines() if "understudy" in line)


@pytest.mark.parametrize("unit", UNITS)
def test_unit(systemd: None, examples: Path, unit: str) -> None:
    """The unit is understood, to the last key."""
    assert verify(examples, unit) == ""


def test_verify_bites(systemd: None, examples: Path) -> None:
    """A key that systemd does not know is named by its check."""
    file = examples / "understudy.service"
    file.write_text(file.read_text().replace("KillMode=", "KillMood="))
    assert "KillMood" in verify(examples, "understudy.service")


def test_group_configuration(examples: Path) -> None:
    """The example of a group's configuration is accepted."""
    program = Path(sys.executable).parent / "understudy"
    done = subprocess.run(
        [program, "check-config", "--config", examples / "alpha.toml"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0 and "ok" in done.stdout, done.stdout + done.stderr
