"""The resource agent for pacemaker, with the real daemon: ocf-tester, and what each action answers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import watch

PROGRAM = Path(sys.executable).parent / "understudy"
TESTER_TIMEOUT_S = 110
SUCCESS, ERR_GENERIC, ERR_UNIMPLEMENTED, ERR_INSTALLED, ERR_CONFIGURED, NOT_RUNNING = 0, 1, 3, 5, 6, 7
RUNNING_PROMOTED, FAILED_PROMOTED = 8, 9
# Of this run alone: another one may test on the same machine.
ADDRESS = f"127.77.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
PORT = 21049

CONFIG = """
[server]
listen = "{address}:{port}"
state = "{room}/state"
control = "{room}/control"
node = "nfs-a"
durability = "process"

[cluster]
fence = "manager"

[[export]]
path = "{room}/data"
pseudo = "/data"
options = "rw,insecure"
"""


class Site:
    """One service group on one node, and the agent with its parameters."""

    def __init__(self, room: Path, agent: Path) -> None:
        self.room = room
        self.agent = agent
        self.config = room / "alpha.toml"
        (room / "data").mkdir()
        (room / "tmp").mkdir()
        self.config.write_text(CONFIG.format(address=ADDRESS, port=PORT, room=room))
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RESOURCE_INSTANCE": "alpha:0",
            "OCF_RESKEY_config": str(self.config),
            "OCF_RESKEY_binary": str(PROGRAM),
            "OCF_RESKEY_log": str(room / "log"),
            "HA_RSCTMP": str(room / "tmp"),
            "HA_LOGFACILITY": "none",
            "OCF_RESKEY_CRM_meta_timeout": "20000",
            "OCF_RESKEY_CRM_meta_interval": "10000",
        }

    def run(self, action: str, **environment: str) -> int:
        """The exit code of one action."""
        values = {**self.environment, "__OCF_ACTION": action, **environment}
        done = subprocess.run([self.agent, action], env=values, capture_output=True, timeout=60)
        return done.returncode

    def status(self) -> dict[str, object]:
        """What the daemon says of itself."""
        command: list[str | Path] = [PROGRAM, "status", "-o", "json", "--config", self.config]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def wait_for(self, code: int, limit_s: float = 15.0) -> None:
        """Wait until `monitor` answers this."""
        found = watch(lambda: self.run("monitor"), lambda answer: answer == code, limit_s)
        assert found == code, f"monitor says {found}, not {code}"


@pytest.fixture
def site(pacemaker: None, room: Path, examples: Path) -> Iterator[Site]:
    """A group whose daemon does not run; stopped again afterwards, whatever happened."""
    opened = Site(room, examples / "ocf" / "understudy")
    yield opened
    opened.run("stop", OCF_RESKEY_CRM_meta_timeout="10000")
    pid_file = room / "tmp" / "understudy-alpha.pid"
    assert not pid_file.exists(), "the daemon could not be stopped"


@pytest.mark.timeout(TESTER_TIMEOUT_S + 10)
def test_ocf_tester(site: Site) -> None:
    """ocf-tester finds nothing to object to, promotion included."""
    options = [f"{name}={site.environment[f'OCF_RESKEY_{name}']}" for name in ("config", "binary", "log")]
    words = (word for option in options for word in ("-o", option))
    command: list[str | Path] = ["ocf-tester", "-n", "alpha", *words, site.agent]
    environment = {name: value for name, value in site.environment.items() if not name.startswith("OCF_RESKEY")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TESTER_TIMEOUT_S)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "passed all tests" in said, said
    assert "does not support the promote" not in said and "does not support the demote" not in said


def test_actions(site: Site) -> None:
    """Start, promote, demote, promote, stop, and what monitor says in between."""
    assert site.run("monitor") == NOT_RUNNING
    assert site.run("promote") == NOT_RUNNING
    assert site.run("start") == SUCCESS
    assert site.run("monitor") == SUCCESS and site.status()["role"] == "standby"
    assert site.run("promote") == SUCCESS
    assert site.run("monitor") == RUNNING_PROMOTED and site.status()["role"] == "active"
    assert site.run("demote") == SUCCESS
    assert site.run("monitor") == SUCCESS
    assert site.run("promote") == SUCCESS
    assert site.run("stop") == SUCCESS
    assert site.run("monitor") == NOT_RUNNING
    assert site.run("demote") == NOT_RUNNING


def test_monitor_worker_killed(site: Site) -> None:
    """The pair takes over by itself: that is no failure, and no move."""
    assert (site.run("start"), site.run("promote")) == (SUCCESS, SUCCESS)
    worker = site.status()["pid"]
    assert isinstance(worker, int)
    os.kill(worker, signal.SIGKILL)
    assert site.run("monitor") == RUNNING_PROMOTED


def test_monitor_daemon_killed(site: Site) -> None:
    """A daemon that died is not running, and can be started and promoted again."""
    assert (site.run("start"), site.run("promote")) == (SUCCESS, SUCCESS)
    supervisor = site.status()["supervisor_pid"]
    assert isinstance(supervisor, int)
    os.kill(supervisor, signal.SIGKILL)
    site.wait_for(NOT_RUNNING)
    assert (site.run("start"), site.run("promote")) == (SUCCESS, SUCCESS)


def test_stop_started_elsewhere(site: Site) -> None:
    """A daemon that the agent did not start is found, and stopped."""
    assert site.run("start") == SUCCESS
    (site.room / "tmp" / "understudy-alpha.pid").unlink()
    assert site.run("stop") == SUCCESS
    assert site.run("monitor") == NOT_RUNNING


def test_start_config_wrong(site: Site) -> None:
    """A file that this node cannot use is this node's fault: the cluster may try another."""
    site.config.write_text(site.config.read_text().replace("fence =", "fense ="))
    assert site.run("validate-all") == ERR_INSTALLED
    assert site.run("start") == ERR_INSTALLED


def test_validate_nothing_given(site: Site) -> None:
    """Without its parameter it can run nowhere."""
    assert site.run("validate-all", OCF_RESKEY_config="") == ERR_CONFIGURED
    assert site.run("validate-all", OCF_RESKEY_binary="/nowhere/understudy") == ERR_INSTALLED


def test_start_address_taken(site: Site) -> None:
    """A daemon that ends at its start is reported, with its last words."""
    with socket.create_server((ADDRESS, PORT)):
        assert site.run("start") == ERR_GENERIC
        assert site.run("monitor") == NOT_RUNNING


def test_unknown_action(site: Site) -> None:
    """What the agent cannot do it says (OCF_ERR_UNIMPLEMENTED)."""
    assert site.run("migrate_to") == ERR_UNIMPLEMENTED


def test_meta_data(site: Site) -> None:
    """The description names every action and parameter; anybody may read it."""
    environment = {"PATH": "/usr/bin:/bin", "OCF_ROOT": "/usr/lib/ocf"}
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(site.agent), "meta-data"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    tree = xml.fromstring(done.stdout)
    actions = [action.get("name") for action in tree.iter("action")]
    assert set(actions) == {"start", "stop", "monitor", "promote", "demote", "meta-data", "validate-all"}
    intervals = [action.get("interval") for action in tree.iter("action") if action.get("name") == "monitor"]
    assert len(set(intervals)) == 2, "one monitor for each role, and pacemaker tells them by their interval"
    assert [parameter.get("name") for parameter in tree.iter("parameter")] == ["config", "binary", "log"]


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is not installed")
@pytest.mark.parametrize("script", ["ocf/understudy", "understudy-notify", "understudy-probe", "fence-peer"])
def test_scripts_are_posix(examples: Path, script: str) -> None:
    """The strictest of the usual shells reads the scripts."""
    done = subprocess.run(["dash", "-n", examples / script], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
