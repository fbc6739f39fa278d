"""What the kernel tests need from the machine, and which Debian package brings it.

Owns the list; it must not know how the tests use it. Shared by the fixtures, which skip or fail with
`complaint()`, and by `python -m tests.kernel.setup`, which installs.
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

MODULES = Path("/usr/lib/uml/modules")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Need:
    """A command (or an absolute path) that must exist, and the package that has it."""

    command: str
    package: str

    def present(self) -> bool:
        """Whether this machine has it."""
        if self.command.startswith("/"):
            return Path(self.command).exists()
        return shutil.which(self.command, path=SEARCH_PATH) is not None


NEEDS = (
    Need("linux.uml", "user-mode-linux"),
    Need(str(MODULES), "user-mode-linux"),
    Need("mount.nfs4", "nfs-common"),
    Need("modprobe", "kmod"),
    Need("ip", "iproute2"),
    Need("nsenter", "util-linux"),
    Need("unshare", "util-linux"),
    Need("setpriv", "util-linux"),
    Need("fallocate", "util-linux"),
    Need("mount", "mount"),
    Need("tar", "tar"),
    Need("cp", "coreutils"),
    Need("git", "git"),
    Need("fio", "fio"),
    Need("sqlite3", "sqlite3"),
    Need("setfattr", "attr"),
    Need("getfattr", "attr"),
    Need("keepalived", "keepalived"),
)
PEER_NEEDS = {
    "understudy": (),
    "ganesha": (
        Need("ganesha.nfsd", "nfs-ganesha"),
        Need("/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so", "nfs-ganesha-vfs"),
    ),
}


def missing_packages(peer: str = "understudy") -> list[str]:
    """Names of the Debian packages that would bring what this machine lacks, each once."""
    needs = NEEDS + PEER_NEEDS[peer]
    return list(dict.fromkeys(need.package for need in needs if not need.present()))


def obstacles() -> list[str]:
    """What keeps the tests from running and no package can mend."""
    found = []
    if os.geteuid() != 0:
        found.append("network namespaces and the server's callers need root: run the tests as root")
    tun = Path("/dev/net/tun")
    if not tun.exists() or not stat.S_ISCHR(tun.stat().st_mode):
        found.append("/dev/net/tun is missing: load the host's tun module")
    if os.uname().machine != "x86_64":
        found.append("user-mode-linux exists for x86_64 only")
    return found


def complaint(peer: str = "understudy") -> str | None:
    """One line that says why the tests cannot run and what to do, or None if they can."""
    parts = obstacles()
    missing = missing_packages(peer)
    if missing:
        parts.append("apt-get install --no-install-recommends " + " ".join(missing))
    return "kernel tests cannot run here; " + "; ".join(parts) if parts else None
