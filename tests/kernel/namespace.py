"""A network namespace that lives as long as the process that made it.

Owns the process that holds it open, running commands in it, and which processes are in it. It must not know what the
network is for. Should the test run be killed, the holder reads the end of a pipe, ends, and the namespace with it.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .packages import SEARCH_PATH

COMMAND_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


class LabError(RuntimeError):
    """The lab itself, not what is tested in it, failed."""


def search_environment() -> dict[str, str]:
    """The environment in which the lab's commands are found, whatever the caller's PATH is."""
    return dict(os.environ, PATH=f"{SEARCH_PATH}:{os.environ.get('PATH', '')}")


class Namespace:
    """A network namespace, with its loopback up. To be made in the main thread (parent-death signals)."""

    def __init__(self) -> None:
        self.environment = search_environment()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo up; exec cat"]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            self.close()
            raise LabError("no network namespace can be made here (unshare --net failed)")
        self.run(["ip", "link", "set", "lo", "up"])

    @property
    def holder_pid(self) -> int:
        """The id of the process that only holds it open."""
        return self._holder.pid

    @property
    def path(self) -> Path:
        """The file that stands for it."""
        return Path(f"/proc/{self.holder_pid}/ns/net")

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command in it, under the same process id."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(self, command: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a short command in it and return its output.

        Raises:
            LabError: it failed or took longer than timeout_s.
        """
        try:
            done = subprocess.run(
                self.inside(command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"{' '.join(command)}: no end after {timeout_s} s") from late
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def close(self) -> None:
        """End its holder; it goes with the last process in it."""
        self._holder.kill()
        self._holder.communicate(timeout=STOP_TIMEOUT_S)
