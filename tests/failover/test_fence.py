"""The example fence command: whose word it takes, and when it shoots."""

import subprocess
from pathlib import Path

import pytest

FAKES = {
    # Only what the test says can be reached is reached.
    "ping": 'for last; do :; done; case " $REACHED " in *" $last "*) exit 0;; esac; exit 1',
    # The remote command really runs, here.
    "ssh": 'for last; do :; done; echo "$last" | sh',
    "mountpoint": 'exit "$NOT_MOUNTED"',
    # One role a line, the last one for ever.
    "understudy": 'role=$(head -n 1 "$ROLES"); [ $(wc -l <"$ROLES") = 1 ] || sed -i 1d "$ROLES"; exit $role',
    "fence_ipmilan": 'echo shot >>"$SHOTS"; exit "$POWER"',
}


@pytest.fixture
def fence(tmp_path: Path, examples: Path) -> tuple[Path, dict[str, str]]:
    """The script, and an environment in which everything it calls is a fake; the peer is well and a standby."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return examples / "fence-peer", {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "UNDERSTUDY_GROUP": "alpha",
        "PEER": "192.0.2.2",
        "PATIENCE_S": "1",
        "REACHED": "192.0.2.2",
        "UNDERSTUDY": str(tmp_path / "understudy"),
        "ROLE": "10",
        "ROLES": str(tmp_path / "roles"),
        "NOT_MOUNTED": "1",
        "SHOTS": str(tmp_path / "shots"),
        "POWER": "0",
    }


@pytest.mark.parametrize(
    ("changes", "code", "shot"),
    [
        ({}, 0, False),
        ({"ROLE": "12\n12\n10"}, 0, False),
        ({"ROLE": "12\n0"}, 0, True),
        ({"ROLE": "0"}, 0, True),
        ({"ROLE": "11"}, 0, True),
        ({"ROLE": "1"}, 0, True),
        ({"ROLE": "1\n1\n10"}, 0, False),
        ({"NOT_MOUNTED": "0"}, 0, True),
        ({"REACHED": ""}, 0, True),
        ({"REACHED": "", "POWER": "1"}, 1, True),
        ({"REACHED": "", "GATEWAY": "192.0.2.254"}, 1, False),
        ({"REACHED": "192.0.2.254", "GATEWAY": "192.0.2.254"}, 0, True),
    ],
    ids=[
        "released",
        "lets go",
        "does not let go",
        "serves",
        "resumes",
        "silent daemon",
        "starts again",
        "still mounted",
        "dead",
        "dead, power stays on",
        "cut off",
        "dead, network well",
    ],
)
def test_fence(fence: tuple[Path, dict[str, str]], changes: dict[str, str], code: int, shot: bool) -> None:
    """Only a peer that has let go is spared; only power that is off is success; who is cut off does not shoot."""
    script, environment = fence
    environment = {**environment, **changes}
    Path(environment["ROLES"]).write_text(f"{environment['ROLE']}\n")
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == code, done.stderr
    assert Path(environment["SHOTS"]).exists() == shot
