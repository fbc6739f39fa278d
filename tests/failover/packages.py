"""What the failover tests need from the machine, and which Debian package brings it.

Owns the lists; must not know how the tests use them. Shared by the tests, which skip or fail with
`complaint()`, and by `python -m tests.kernel.setup`, which installs.
"""

import os

from tests.kernel.packages import Need

NAMESPACES = (Need("ip", "iproute2"), Need("setpriv", "util-linux"))
KEEPALIVED = (*NAMESPACES, Need("keepalived", "keepalived"))
PACEMAKER = (Need("ocf-tester", "resource-agents"), Need("xmllint", "libxml2-utils"), Need("setsid", "util-linux"))
SYSTEMD = (Need("systemd-analyze", "systemd"),)
ALL = (*KEEPALIVED, *PACEMAKER, *SYSTEMD)


def missing_packages(needs: tuple[Need, ...]) -> list[str]:
    """Names of the Debian packages that would bring what this machine lacks, each once."""
    return list(dict.fromkeys(need.package for need in needs if not need.present()))


def complaint(needs: tuple[Need, ...]) -> str | None:
    """One line that says why tests that need this cannot run and what to do, or None if they can."""
    parts = []
    if os.geteuid() != 0:
        parts.append("network namespaces and the server's callers need root: run the tests as root")
    if missing := missing_packages(needs):
        parts.append("apt-get install --no-install-recommends " + " ".join(missing))
    return "failover tests cannot run here; " + "; ".join(parts) if parts else None
