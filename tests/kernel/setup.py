"""Installs what tests need of Debian: those with a real client, of failover, of slow file systems.

`python -m tests.kernel.setup`.

Says what it installed and what it could not. It ends with 0 even when something is still missing, so that
`make test` goes on and those tests are skipped; `--strict` (for CI) ends with 1 then.
"""

import os
import shutil
import subprocess
import sys

from tests.failover import packages as failover
from tests.hostile import mounted as slow

from .packages import complaint, missing_packages

INSTALL_TIMEOUT_S = 900


def apt(*arguments: str) -> bool:
    """Run apt-get without questions; True if it succeeded."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "-q", "-y", *arguments]
    try:
        done = subprocess.run(command, env=environment, timeout=INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def install(packages: list[str]) -> None:
    """Install the packages, each by itself if they cannot all be installed together."""
    together = ["install", "--no-install-recommends", *packages]
    if apt(*together):
        return
    apt("update")
    if apt(*together):
        return
    for package in packages:
        apt("install", "--no-install-recommends", package)


def main(arguments: list[str]) -> int:
    """Install what is missing where that is possible, and report."""
    peer = "ganesha" if "--peer=ganesha" in arguments else "understudy"
    needs = (*failover.ALL, *slow.NEEDS)
    missing = list(dict.fromkeys(missing_packages(peer) + failover.missing_packages(needs)))
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print("tests: installing", *missing, flush=True)
        install(missing)
    reasons = [reason for reason in (complaint(peer), failover.complaint(failover.ALL), slow.complaint()) if reason]
    print("\n".join(reasons) or "tests: everything that they need of Debian is installed")
    return 1 if reasons and "--strict" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
