"""The server under load: a real `understudy serve` on loopback, its memory, its log, its death.

Owns the process and its directories.  Must not know what the load does.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_LIMIT_S = 20.0
STOP_LIMIT_S = 20.0
COMMAND_LIMIT_S = 60.0
# Wrong requests ask for files of any size: this keeps them from filling the disk of whoever runs the test.
FILE_SIZE_MAX = 256 << 20
_PAGE_SIZE = resource.getpagesize()


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_MAX, FILE_SIZE_MAX))


class ServerProcess:
    """One server, which may be killed and started again on the same port and state directory.

    `exports` maps a pseudo path to a directory.
    """

    def __init__(self, directory: Path, exports: dict[str, Path], *options: str) -> None:
        self.state = directory / "state"
        self.log = directory / "server.log"
        self.errors = directory / "server.stderr"
        self.address = ("127.0.0.1", free_port())
        self._process: subprocess.Popen[bytes] | None = None
        self.command = [sys.executable, "-c", "from nfsd.cli import main; main()", "serve", "--no-pair"]
        for pseudo, path in exports.items():
            path.mkdir(parents=True, exist_ok=True)
            self.command += ["--export", f"{path}={pseudo},rw,insecure,no_root_squash"]
        self.command += ["--state", str(self.state), "--listen", f"127.0.0.1:{self.address[1]}"]
        self.command += ["--log-file", str(self.log), *options]

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start it and wait until it says that it serves; seconds that this took.

        Raises RuntimeError with its own words if it does not.
        """
        began = time.monotonic()
        with self.errors.open("ab") as errors:
            process = self._process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=errors, preexec_fn=_limit_files
            )
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.select(START_LIMIT_S)
            line = process.stdout.readline() if selector.select(0) else b""
        if b"serves" not in line:
            self.kill()
            raise RuntimeError(f"the server did not start: {self.errors.read_text()[-2000:]}")
        return time.monotonic() - began

    def alive(self) -> bool:
        """Whether the process that `start` made still runs."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and wait until it has gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait; its exit code.  One that does not end in time is killed."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        try:
            code = process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait(STOP_LIMIT_S)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def resident_bytes(self) -> int:
        """The memory that it has in use, 0 if it has gone."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_SIZE
        except (OSError, IndexError):
            return 0

    def log_size(self) -> int:
        """Bytes in its log."""
        return self.log.stat().st_size if self.log.exists() else 0

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """The log's lines with one of these event names."""
        wanted = tuple(f'{{"event":"{name}"' for name in names)
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(wanted):
                    yield json.loads(line)

    def store(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `understudy store ...` on its state directory."""
        command = [sys.executable, "-c", "from nfsd.cli import main; main()", "store", *words]
        return subprocess.run(
            [*command, "--state", str(self.state)],
            capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False, env=os.environ,
        )  # fmt: skip
