"""Mounting, the pseudo root, statfs, and what the client says it did."""

import os

import pytest

from .clients import MOUNTS, Site
from .server import SQUASH, WORK
from .workloads import names, system

SLACK_BYTES = 512 << 20


def test_mount_negotiated(site: Site) -> None:
    """The kernel mounted with the minor version that was asked for, with I/O sizes of 1 MiB."""
    options = site.a.call(system.mount_options, site.a.work)
    assert options["vers"] == site.version
    assert int(options["rsize"]) == int(options["wsize"]) == 1 << 20


def test_two_clients_are_two_machines(site: Site) -> None:
    """The guests differ in what makes up a client's identity, and both see the same directory."""
    nodes = {client.call(system.identity)["node"] for client in (site.a, site.b)}
    assert len(nodes) == 2
    site.a.call(names.write, f"{site.path}/greeting", "from a")
    assert site.b.call(names.read, f"{site.path}/greeting") == "from a"
    assert (site.host / "greeting").read_text() == "from a"


def test_pseudo_root(site: Site) -> None:
    """The pseudo root shows the exports, is read-only, and leads into them."""
    target = f"{MOUNTS}/pseudo"
    site.a.mount_at("/", target)
    try:
        assert site.a.call(names.listdir, target) == sorted([SQUASH[1:], WORK[1:]])
        assert site.a.call(names.attempt, "mkdir", f"{target}/new") in ("EROFS", "EACCES", "EPERM")
        (site.host / "inside").write_text("reached")
        assert site.a.call(names.read, f"{target}{WORK}/{site.host.name}/inside") == "reached"
    finally:
        site.a.shell(f"umount {target}{WORK} || true; umount {target}", "/")


def test_mount_missing_path(site: Site) -> None:
    """A path that is not exported cannot be mounted, and the refusal comes at once."""
    with pytest.raises(Exception, match="No such file or directory"):
        site.a.mount_at("/nowhere", f"{MOUNTS}/nowhere")


def test_unmount_and_mount_again(site: Site) -> None:
    """A client that has left can come back and finds its files."""
    target = f"{MOUNTS}/again"
    for visit in range(2):
        site.b.mount_at(WORK, target)
        path = f"{target}/{site.host.name}/visits"
        if visit:
            assert site.b.call(names.read, path) == "0"
        site.b.call(names.write, path, str(visit))
        site.b.call(system.unmount, target)
    assert (site.host / "visits").read_text() == "1"


def test_statfs_is_the_hosts(site: Site) -> None:
    """df shows the numbers of the file system below the export."""
    here = os.statvfs(site.host)
    there = site.a.call(names.statvfs, site.path)
    assert there["inodes"] == here.f_files
    assert there["name_max"] == here.f_namemax
    # The client counts in units of its I/O size and rounds up.
    assert 0 <= there["size"] - here.f_blocks * here.f_frsize < 1 << 20
    # The rest moves while others use the disk; free and available differ by root's reserve.
    assert abs(here.f_bfree * here.f_frsize - there["free"]) < SLACK_BYTES
    assert abs(here.f_bavail * here.f_frsize - there["available"]) < SLACK_BYTES
    assert abs(here.f_ffree - there["inodes_free"]) < 200_000


def test_client_is_set_up_once(site: Site) -> None:
    """Ordinary work never makes a client introduce itself again, send anything twice or time out."""
    before = site.a.stats()
    introduction = "SETCLIENTID" if site.minor == 0 else "EXCHANGE_ID"
    assert before[introduction].operations >= 1
    for number in range(50):
        site.a.call(names.write, f"{site.path}/file{number}", "x" * 1000)
    assert len(site.a.call(names.listdir, site.path)) == 50
    work = site.a.stats().since(before)
    assert work["OPEN"].operations >= 50
    assert work["WRITE"].operations >= 50
    assert work.set_up_again() == {}
    again = {name: row.resent + row.timeouts for name, row in work.rows.items() if row.resent + row.timeouts}
    assert again == {}
