"""Which exports are served apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.apart.keepers import Keepers
from nfsd.config import parse_export
from nfsd.config.mounts import type_of
from nfsd.exports import parse_exports

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /srv rw shared:9 - xfs /dev/sdb rw
31 30 0:27 / /srv/a\040b rw shared:10 master:3 - fuse.sshfs host: rw
32 30 0:28 / /srv/over rw - tmpfs tmpfs rw
33 32 0:29 / /srv/over rw - nfs4 host:/ rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home", "ext4"),
        ("/srv", "xfs"),
        ("/srv/a b/c", "fuse.sshfs"),
        ("/srv/a bc", "xfs"),
        ("/srv/over/../a b", "fuse.sshfs"),
        ("/srv/over", "nfs4"),
    ],
)
def test_type_of(path: str, kind: str) -> None:
    """The innermost mount that holds a path, and of two at one place the later one."""
    assert type_of(path, MOUNTS) == kind


def test_this_machine() -> None:
    """The table of this machine can be read."""
    assert type_of("/proc/self") == "proc"


@pytest.mark.parametrize(("option", "wanted"), [("apart", True), ("noapart", False), ("rw", False)])
def test_an_export_says_so(option: str, wanted: bool) -> None:
    """The option decides; without one a local file system is not served apart."""
    (export,) = parse_exports([parse_export(f"/proc=/export,{option}")])
    assert Keepers(Path("/nowhere"), pytest.fail).wanted(export.path, export.apart) is wanted
