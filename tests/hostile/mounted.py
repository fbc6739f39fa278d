"""A mounted file system of `tests.hostile.slow`: made slow, hung and let go on; and whether there can be one here.

Owns its process and its mount point. Must not know who uses it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.kernel.packages import Need
from tests.support.launcher import ROOT
from tests.support.processes import tail
from tests.support.waiting import until

HANG_S = 60.0
"""A hung call goes on after so long, whatever happens."""
NEEDS = (Need("fusermount3", "fuse3"),)


def complaint() -> str | None:
    """One line that says why there cannot be one here and what to do, or None if there can."""
    found = []
    if os.geteuid() != 0:
        found.append("run the tests as root")
    if not Path("/dev/fuse").exists():
        found.append("/dev/fuse is missing: load the host's fuse module")
    found += [f"apt-get install --no-install-recommends {need.package}" for need in NEEDS if not need.present()]
    if importlib.util.find_spec("mfusepy") is None:
        found.append("pip install -e '.[test]'")
    return f"slow file systems cannot be tried here; {'; '.join(found)}" if found else None


class SlowMount:
    """A directory on which another one is mounted that is behind it, as quick as FUSE is until it is told otherwise."""

    def __init__(self, directory: Path, mountpoint: Path) -> None:
        self.mountpoint = mountpoint
        self._control = directory / "seconds"
        self._errors = directory / "slow.stderr"
        behind = directory / "behind"
        behind.mkdir()
        behind.chmod(0o777)
        self.set(0.0)
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.slow", str(behind), str(mountpoint), str(self._control)],
                cwd=ROOT, stderr=errors,
            )  # fmt: skip
        until(self._mounted, lambda: f"{mountpoint} is mounted: {tail(self._errors)}")

    def _mounted(self) -> bool:
        return os.path.ismount(self.mountpoint)

    def set(self, seconds: float) -> None:
        """Let every call wait so long."""
        fresh = self._control.with_suffix(".new")
        fresh.write_text(str(seconds), encoding="ascii")
        fresh.rename(self._control)

    def hang(self) -> None:
        """Let every call wait until `set` says otherwise, or for a minute."""
        self.set(HANG_S)

    def close(self) -> None:
        """Unmount it: whoever still waits for a call gets an error."""
        self.set(0.0)
        self._process.kill()
        self._process.wait()
        subprocess.run(["umount", "--lazy", str(self.mountpoint)], capture_output=True, check=False)
