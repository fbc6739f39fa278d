"""The server under test, behind one small interface, and the peer that shows that the tests are fair.

Owns starting, stopping and watching a server inside a lab, and the layout of what it exports: WORK without
squashing, SQUASH with root squashed, both under a pseudo root. It must not know what the tests do.
"""

import json
import os
import re
import signal
from abc import ABC, abstractmethod
from pathlib import Path

from tests.support.control import status_of
from tests.support.judge import FAULT_LINE
from tests.support.launcher import export_options, installed_program
from tests.support.processes import Child, tail
from tests.support.waiting import until

from .lab import SERVER_ADDRESS, Lab
from .namespace import LabError

PORT = 2049
WORK = "/work"
SQUASH = "/squash"
START_TIMEOUT_S = 30.0
LISTEN_STATE = "0A"
# The interval in which a client renews is derived from it; short, so that expiry can be tested at all.
LEASE_TIME_S = 30


def listens(pid: int, port: int) -> bool:
    """Whether something listens on a TCP port in the network namespace of a process; connects to nothing."""
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError, OSError):
            return False
        for row in rows:
            _, local, _, state = row.split()[:4]
            if state == LISTEN_STATE and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


class Server(ABC):
    """A server in a lab. Subclasses say how it is started and what in its log is a fault of its own."""

    name: str
    faults: re.Pattern[str]

    def __init__(self, lab: Lab, place: Path | None = None, address: str = SERVER_ADDRESS) -> None:
        self.lab = lab
        self.address = address
        place = place or lab.directory
        self.exports = {WORK: place / "export-work", SQUASH: place / "export-squash"}
        self.state = place / "state"
        self.log = place / "server.log"
        for path in (*self.exports.values(), self.state):
            path.mkdir(exist_ok=True)
        self.exports[SQUASH].chmod(0o777)
        self.state.chmod(0o700)
        self.child: Child | None = None
        self.options: list[str] = []
        # How often a start made its clients introduce themselves again, because a test wanted that.
        self.reclaimed = 0

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that serves the exports on its address, port PORT."""

    def start(self) -> None:
        """Start the server and wait until it listens.

        Raises:
            LabError: it ended, or listens to nothing after START_TIMEOUT_S.
        """
        child = self.child = self.lab.spawn("server", self.command())
        try:
            until(lambda: listens(child.pid, PORT) or not child.alive(), "it listens", START_TIMEOUT_S, error=LabError)
        except LabError:
            self.stop()
            raise LabError(f"{self.name} does not listen:\n{self.report()}") from None
        if not child.alive():
            self.stop()
            raise LabError(f"{self.name} ended at once:\n{self.report()}")

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self.child is not None and self.child.alive()

    def stop(self) -> None:
        """Stop the server politely."""
        if self.child is not None:
            self.child.stop()
            self.lab.children.remove(self.child)
            self.child = None

    def kill(self) -> None:
        """Stop the server with SIGKILL."""
        if self.child is not None:
            self.child.kill()
            self.lab.children.remove(self.child)
            self.child = None

    def kill_all(self) -> None:
        """Stop every process of the server with SIGKILL, at once."""
        if self.child is not None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.kill()

    def left_over(self) -> dict[str, int]:
        """Return what the server still holds, if it can tell: nothing when no client has a file open."""
        return {}

    def state_problems(self) -> str:
        """Return what is wrong with the stopped server's stored state, if that can be told."""
        return ""

    def report(self) -> str:
        """Return the tails of its log and of its output."""
        return f"{tail(self.log)}\n{tail(self.lab.directory / 'server.out')}".strip()

    def log_sizes(self) -> dict[str, int]:
        """Bytes logged so far, by file: a place in the log for faults_since()."""
        return {str(path): path.stat().st_size for path in self._logs()}

    def faults_since(self, sizes: dict[str, int]) -> list[str]:
        """Return the lines in which the server owned up to a fault after log_sizes() returned `sizes`."""
        found = []
        for path in self._logs():
            text = path.read_bytes()[sizes.get(str(path), 0) :].decode(errors="replace")
            found += [line for line in text.splitlines() if self.faults.search(line)]
        return found

    def _logs(self) -> list[Path]:
        """The files that it logs to, and that exist."""
        return [path for path in (self.lab.directory / "server.out", self.log) if path.exists()]


class UnderstudyServer(Server):
    """Understudy, as its users start it."""

    name = "understudy"
    faults = FAULT_LINE

    def program(self) -> str:
        """Return the path of the command line.

        Raises:
            LabError: there is none.
        """
        try:
            return installed_program()
        except FileNotFoundError as missing:
            raise LabError(str(missing)) from missing

    def command(self) -> list[str]:
        return [
            self.program(),
            "serve",
            "--export",
            f"{self.exports[WORK]}={WORK},{export_options('rw,no_root_squash')}",
            "--export",
            f"{self.exports[SQUASH]}={SQUASH},{export_options('rw,root_squash')}",
            "--state",
            str(self.state),
            "--listen",
            f"{self.address}:{PORT}",
            "--lease-time",
            str(LEASE_TIME_S),
            "--log-file",
            str(self.log),
            *self.options,
        ]

    def active_pid(self, after: int = 0) -> int:
        """Return the id of the worker that serves, another one than `after`.

        Raises:
            LabError: there is none after START_TIMEOUT_S.
        """

        def active() -> int:
            status = status_of(self.state / "control", START_TIMEOUT_S)
            return int(status["pid"]) if status.get("role") == "active" and status["pid"] != after else 0

        return until(active, lambda: f"there is an active worker:\n{self.report()}", START_TIMEOUT_S, error=LabError)

    def left_over(self) -> dict[str, int]:
        command = [self.program(), "status", "--state", str(self.state), "-o", "json"]
        status = json.loads(self.lab.run(command))
        return {name: status[name] for name in ("opens", "locks") if status[name]}

    def state_problems(self) -> str:
        try:
            self.lab.run([self.program(), "store", "verify", "--state", str(self.state)])
        except LabError as problem:
            return str(problem)
        return ""


GANESHA_EXPORT = """
EXPORT {{
    Export_Id = {number}; Path = {path}; Pseudo = {pseudo}; Access_Type = RW; Squash = {squash};
    Anonymous_Uid = 65534; Anonymous_Gid = 65534;
    SecType = sys; Protocols = 4; Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
"""
GANESHA_CONFIGURATION = """
NFS_CORE_PARAM {{
    Protocols = 4; NFS_Port = {port}; Bind_addr = {address};
    Enable_NLM = false; Enable_RQUOTA = false; Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha;
}}
NFSv4 {{
    Minor_Versions = 0, 1, 2; RecoveryBackend = fs; RecoveryRoot = {state}; Graceless = true;
    Lease_Lifetime = {lease}; Only_Numeric_Owners = true;
}}
"""


class GaneshaServer(Server):
    """Debian's nfs-ganesha, running natively."""

    name = "ganesha"
    faults = re.compile(r":(CRIT|FATAL|MAJ) :")

    def command(self) -> list[str]:
        text = GANESHA_CONFIGURATION.format(port=PORT, address=self.address, state=self.state, lease=LEASE_TIME_S)
        squashes = {WORK: "No_Root_Squash", SQUASH: "Root_Squash"}
        for number, (pseudo, path) in enumerate(self.exports.items(), 1):
            text += GANESHA_EXPORT.format(number=number, path=path, pseudo=pseudo, squash=squashes[pseudo])
        configuration = self.lab.directory / "ganesha.conf"
        configuration.write_text(text)
        pid_file = self.lab.directory / "ganesha.pid"
        return ["ganesha.nfsd", "-F", "-f", str(configuration), "-L", str(self.log), "-p", str(pid_file)]


SERVERS: dict[str, type[Server]] = {"understudy": UnderstudyServer, "ganesha": GaneshaServer}
