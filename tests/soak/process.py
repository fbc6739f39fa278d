"""The server under load: a real `understudy serve` on loopback, its memory, its files' size.

Owns its directories and its limits.  Must not know what the load does.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.launcher import Launched

# Wrong requests ask for files of any size: this keeps them from filling the disk of whoever runs the test.
FILE_SIZE_MAX = 256 << 20
_PAGE_SIZE = resource.getpagesize()


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_MAX, FILE_SIZE_MAX))


class ServerProcess(Launched):
    """One server, which may be killed and started again on the same port and state directory.

    `exports` maps a pseudo path to a directory.
    """

    def __init__(self, directory: Path, exports: Mapping[str, Path], *options: str) -> None:
        super().__init__(directory)
        self._options = list(options)
        for pseudo, path in exports.items():
            path.mkdir(parents=True, exist_ok=True)
            self._options += ["--export", f"{path}={pseudo},rw,insecure,no_root_squash"]

    @property
    def address(self) -> tuple[str, int]:
        """Where it serves, from its first start on."""
        return "127.0.0.1", self.port

    def words(self) -> list[str]:
        """Serve the exports alone."""
        words = ["serve", "--no-pair", *self._options, "--state", str(self.state)]
        return [*words, "--listen", f"127.0.0.1:{self.port}", "--log-file", str(self.log)]

    def popen(self, command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start it with a limit to the size of files."""
        return super().popen(command, preexec_fn=_limit_files, **how)

    def resident_bytes(self) -> int:
        """The memory that it has in use, 0 if it has gone."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_SIZE
        except (OSError, IndexError):
            return 0

    def log_size(self) -> int:
        """Bytes in its log."""
        return self.log.stat().st_size if self.log.exists() else 0

    def store(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `understudy store ...` on its state directory."""
        return self.run("store", *words, "--state", str(self.state))
