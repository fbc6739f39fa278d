"""Our own server as a process: started, asked, stopped, killed by its id, started again; and what its log says.

Owns the command, the wait for its first word, the reading of its log. What is served and how it is configured is said
by each suite, in a class of its own. Must not know the protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.control import ControlError, ask
from tests.support.processes import Child, tail

ROOT = Path(__file__).resolve().parents[2]
# In place of the installed command, so that the tests run the code that they stand beside, installed or not.
COMMAND = (sys.executable, "-c", "from nfsd.cli import main; main()")
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 60.0
ROLE_TIMEOUT_S = 5.0
# Events by which a server owns up to a mistake of its own, or to damage of what it has stored.
FAULTS = ("server.fault", "store.failed", "record.left_out", "record.damaged", "server.failed", "fold.differs")
_READY = re.compile(rb" on [^ ]*:(\d+);")


def export_options(options: str) -> str:
    """The options of an export; UNDERSTUDY_TEST_APART=1 has every export served apart, for whole suites at a time."""
    return f"{options},apart" if os.environ.get("UNDERSTUDY_TEST_APART") == "1" else options


def installed_program() -> str:
    """The path of the installed command line: UNDERSTUDY_COMMAND, this interpreter's, or the one in PATH.

    Raises:
        FileNotFoundError: there is none.
    """
    beside = Path(sys.executable).with_name("understudy")
    program = os.environ.get("UNDERSTUDY_COMMAND") or (str(beside) if beside.exists() else shutil.which("understudy"))
    if program is None:
        raise FileNotFoundError(f"{beside} does not exist: install the project into this interpreter first")
    return program


def log_events(log: Path, *names: str) -> Iterator[dict[str, Any]]:
    """The lines of a log with one of these event names, oldest first; of a log without any, nothing.

    Without a name: all of them. A line that is written just now does not count.
    """
    if not log.exists():
        return
    wanted = tuple(f'{{"event":"{name}"' for name in names)
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.endswith("\n") and (not wanted or line.startswith(wanted)):
                event: dict[str, Any] = json.loads(line)
                if not names or event["event"] in names:
                    yield event


class Launched:
    """One `understudy` of a test, with its state, control socket and log below `directory`.

    A subclass says by `words` what to start. It leads a process group of its own.
    """

    program: Sequence[str] = COMMAND
    # Whether it says on its output that it serves, and on which port.
    says_ready = True
    start_timeout_s = START_TIMEOUT_S

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.control = self.state / "control"
        self.log = directory / "server.log"
        self.errors = directory / "server.stderr"
        self.port = 0
        self.child: Child | None = None
        # How the last one ended; None before that.
        self.exit_code: int | None = None

    # -- what is started --------------------------------------------------------------------------------------

    def words(self) -> list[str]:
        """The command line after `understudy`, for the port of the last start or any (0)."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The whole command line."""
        return [*self.program, *self.words()]

    def popen(self, command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start a process; a subclass may do it in another place."""
        return subprocess.Popen(command, **how)

    # -- life -------------------------------------------------------------------------------------------------

    def launch(self, *, environment: Mapping[str, str] | None = None, passed: Sequence[int] = ()) -> Child:
        """Start it without waiting; `passed` are descriptors that it inherits."""
        assert self.child is None, "it runs already"
        with self.errors.open("ab") as errors:
            process = self.popen(
                self.command(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.says_ready else errors,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
                pass_fds=tuple(passed),
            )
        self.child = Child("understudy", process, self.errors)
        return self.child

    def start(self, *, environment: Mapping[str, str] | None = None) -> float:
        """Start it and wait until it serves; a later start takes the same port again. Seconds that this took.

        Raises:
            RuntimeError: it does not serve; with its own words.
        """
        began_s = time.monotonic()
        self.launch(environment=environment)
        self.wait_ready()
        return time.monotonic() - began_s

    def wait_ready(self) -> None:
        """Wait for the line by which it says that it serves.

        Raises:
            RuntimeError: it ended or is silent; with its own words.
        """
        process = self._running().process
        assert process.stdout is not None
        said = b""
        end_s = time.monotonic() + self.start_timeout_s
        # Not select, which knows 1,024 descriptors: a long run of tests may have more.
        output = select.poll()
        output.register(process.stdout, select.POLLIN)
        while not (ready := _READY.search(said)):
            readable = output.poll(max(0.0, end_s - time.monotonic()) * 1000)
            more = os.read(process.stdout.fileno(), 4096) if readable else b""
            if not more:
                # It has closed its output: it is about to end by itself.
                if readable:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._running().wait(STOP_TIMEOUT_S)
                self.close()
                raise RuntimeError(f"the server did not start: {said!r}\n{self.report()}")
            said += more
        self.port = int(ready.group(1))

    def _running(self) -> Child:
        assert self.child is not None, "it was not started"
        return self.child

    @property
    def pid(self) -> int:
        """The id of the process that was started."""
        return self._running().pid

    def alive(self) -> bool:
        """Whether the process that was started runs."""
        return self.child is not None and self.child.alive()

    def poll(self) -> int | None:
        """How the process that was started has ended by itself; None while it runs."""
        return self._running().process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process that was started a signal."""
        self._running().send_signal(number)

    def end(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait until it has ended by itself; its exit code."""
        self.exit_code = self._running().wait(timeout_s)
        self.child = None
        return self.exit_code

    def kill(self) -> None:
        """SIGKILL to the process that was started, and wait for its end."""
        if self.child is not None:
            self.exit_code = self.child.kill()
            self.child = None

    def kill_group(self) -> None:
        """SIGKILL to all its processes at once, and wait for the end of the one that was started."""
        if self.child is not None:
            self.child.signal_group(signal.SIGKILL)
            self.kill()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL to what does not end in time; the exit code, 0 if it did not run."""
        if self.child is None:
            return 0
        self.exit_code = self.child.stop(STOP_TIMEOUT_S)
        self.child = None
        return self.exit_code

    def close(self) -> None:
        """End whatever still runs of it."""
        self.kill_group()

    def restart(self) -> None:
        """kill -9, and a new process on the same directories and port."""
        self.kill()
        self.start()

    # -- what it says -----------------------------------------------------------------------------------------

    def ask(self, command: str, timeout_s: float = START_TIMEOUT_S, **arguments: Any) -> Any:
        """The answer of its control socket.  Raises ControlError."""
        return ask(self.control, command, timeout_s=timeout_s, **arguments)

    def status(self) -> dict[str, Any]:
        """What it says of itself.  Raises ControlError."""
        found: dict[str, Any] = self.ask("status")
        return found

    def role(self) -> str:
        """What it is now, or "nobody" where none answers."""
        try:
            return str(self.ask("status", ROLE_TIMEOUT_S)["role"])
        except ControlError:
            return "nobody"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of ours to its end."""
        return subprocess.run(
            [*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The log's lines with one of these event names, oldest first."""
        return list(log_events(self.log, *names))

    def faults(self) -> list[dict[str, Any]]:
        """What the log says of the server's own mistakes."""
        return self.events(*FAULTS)

    def report(self) -> str:
        """The ends of its log and of its error output."""
        return f"{tail(self.log)}\n{tail(self.errors)}".strip()
