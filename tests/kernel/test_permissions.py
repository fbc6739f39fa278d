"""Who may do what: different users of one client, and root where it is squashed."""

import os
import stat

import pytest

from .clients import Site
from .guest import ROOT, User
from .workloads import names, system

OWNER = User(1001, 1001)
OTHER = User(1002, 1002)
MEMBER = User(1003, 1003, (2000, 2001))
NOBODY = 65534


@pytest.fixture
def home(site: Site) -> str:
    """A directory that belongs to OWNER."""
    path = f"{site.path}/home"
    site.a.call(names.make, "mkdir", path)
    site.a.call(names.make, "chown", path, OWNER.uid, OWNER.gid)
    return path


def test_users_are_who_they_are(site: Site) -> None:
    """The harness runs calls as the users it says, with their supplementary groups."""
    found = site.a.call(system.identity, user=MEMBER)
    assert (found["uid"], found["gid"], found["groups"]) == (1003, 1003, [2000, 2001])


def test_files_belong_to_their_makers(site: Site, home: str) -> None:
    """What a user makes has the user's ids on the server, and the mode asked for."""
    site.a.call(names.write, f"{home}/file", "mine", 0o640, user=OWNER)
    site.a.call(names.make, "mkdir", f"{home}/directory", 0o750, user=OWNER)
    site.a.call(names.make, "symlink", "file", f"{home}/link", user=OWNER)
    site.a.call(names.make, "mkfifo", f"{home}/fifo", 0o600, user=OWNER)
    for name, mode in (("file", 0o640), ("directory", 0o750), ("link", None), ("fifo", 0o600)):
        found = (site.host / "home" / name).lstat()
        assert (found.st_uid, found.st_gid) == (OWNER.uid, OWNER.gid)
        assert mode is None or stat.S_IMODE(found.st_mode) == mode
        assert site.b.call(names.status, f"{home}/{name}", user=OWNER)["uid"] == OWNER.uid


def test_private_directory(site: Site, home: str) -> None:
    """A directory with mode 0700 is closed to others in every way, and open to its owner and root."""
    site.a.call(names.write, f"{home}/secret", "secret", user=OWNER)
    site.a.call(names.make, "chmod", home, 0o700, user=OWNER)
    for client in (site.a, site.b):
        assert client.call(names.attempt, "listdir", home, user=OTHER) == "EACCES"
        assert client.call(names.attempt, "stat", f"{home}/secret", user=OTHER) == "EACCES"
        assert client.call(names.attempt_open, f"{home}/secret", os.O_RDONLY, user=OTHER) == "EACCES"
        flags = os.O_CREAT | os.O_WRONLY
        assert client.call(names.attempt_open, f"{home}/new", flags, user=OTHER) == "EACCES"
        assert client.call(names.attempt, "unlink", f"{home}/secret", user=OTHER) == "EACCES"
        assert client.call(names.read, f"{home}/secret", user=OWNER) == "secret"
        assert client.call(names.read, f"{home}/secret", user=ROOT) == "secret"


def test_chmod_is_the_owners(site: Site, home: str) -> None:
    """Only the owner changes a mode; what it then allows, it allows at once on the same client."""
    path = f"{home}/file"
    site.a.call(names.write, path, "text", 0o600, user=OWNER)
    assert site.a.call(names.attempt_open, path, os.O_RDONLY, user=OTHER) == "EACCES"
    assert site.a.call(names.attempt, "chmod", path, 0o666, user=OTHER) == "EPERM"
    assert site.a.call(names.attempt, "chmod", path, 0o644, user=OWNER) == "ok"
    assert site.a.call(names.read, path, user=OTHER) == "text"
    assert site.a.call(names.attempt_open, path, os.O_WRONLY, user=OTHER) == "EACCES"
    assert site.a.call(names.attempt, "truncate", path, 0, user=OTHER) == "EACCES"
    assert site.a.call(names.attempt, "utime", path, (1, 1), user=OTHER) == "EPERM"
    assert site.a.call(names.attempt, "utime", path, (1, 1), user=OWNER) == "ok"
    assert (site.host / "home" / "file").stat().st_mtime == 1


def test_ownership_is_roots_to_give(site: Site, home: str) -> None:
    """chown needs root, chgrp the membership of its owner in the new group."""
    path = f"{home}/file"
    site.a.call(names.write, path, "text", user=OWNER)
    assert site.a.call(names.attempt, "chown", path, OTHER.uid, -1, user=OWNER) == "EPERM"
    assert site.a.call(names.attempt, "chown", path, -1, 2001, user=OWNER) == "EPERM"
    site.a.call(names.make, "chown", path, MEMBER.uid, MEMBER.gid, user=ROOT)
    assert site.a.call(names.attempt, "chown", path, -1, 2001, user=MEMBER) == "ok"
    found = (site.host / "home" / "file").stat()
    assert (found.st_uid, found.st_gid) == (MEMBER.uid, 2001)


def test_supplementary_groups(site: Site, home: str) -> None:
    """A group's permission reaches the members that have it as a supplementary group, and nobody else."""
    path = f"{home}/file"
    site.a.call(names.write, path, "for the group", 0o640, user=OWNER)
    site.a.call(names.make, "chown", path, OWNER.uid, 2001, user=ROOT)
    assert site.a.call(names.read, path, user=MEMBER) == "for the group"
    assert site.a.call(names.attempt_open, path, os.O_WRONLY, user=MEMBER) == "EACCES"
    assert site.a.call(names.attempt_open, path, os.O_RDONLY, user=OTHER) == "EACCES"
    assert site.a.call(names.attempt_open, path, os.O_RDONLY, user=User(1003, 1003, (2000,))) == "EACCES"


def test_sticky_and_setgid_directories(site: Site, home: str) -> None:
    """In a sticky directory only owners remove; in a setgid directory new files take its group."""
    site.a.call(names.make, "chown", home, 0, 2000, user=ROOT)
    site.a.call(names.make, "chmod", home, 0o3777, user=ROOT)
    site.a.call(names.write, f"{home}/mine", "mine", user=OWNER)
    assert (site.host / "home" / "mine").stat().st_gid == 2000
    mine, denials = f"{home}/mine", ("EPERM", "EACCES")
    assert site.a.call(names.attempt, "unlink", mine, user=OTHER) in denials
    assert site.a.call(names.attempt, "rename", mine, f"{home}/his", user=OTHER) in denials
    assert site.a.call(names.attempt, "unlink", f"{home}/mine", user=OWNER) == "ok"


def test_open_file_outlives_chmod(site: Site, home: str) -> None:
    """A descriptor keeps what it was opened for, though the file's mode no longer allows it."""
    path = f"{home}/file"
    site.a.call(names.write, path, "before", 0o644, user=OWNER)
    process = site.a.process(OWNER)
    process.call(names.hold, path)
    site.a.call(names.make, "chmod", path, 0, user=ROOT)
    process.call(names.held_write, path, "AFTER!")
    assert process.call(names.held_read, path) == "AFTER!"
    assert (site.host / "home" / "file").read_text() == "AFTER!"
    process.call(names.release, path)


def test_root_is_squashed(site: Site) -> None:
    """Where root is squashed it is nobody: for what it makes, what it may read and what it may change."""
    site.a.call(names.write, f"{site.squash}/by-root", "x", user=ROOT)
    made = (site.squash_host / "by-root").stat()
    assert (made.st_uid, made.st_gid) == (NOBODY, NOBODY)
    site.a.call(names.write, f"{site.squash}/private", "y", 0o600, user=OWNER)
    assert (site.squash_host / "private").stat().st_uid == OWNER.uid
    assert site.a.call(names.attempt_open, f"{site.squash}/private", os.O_RDONLY, user=ROOT) == "EACCES"
    assert site.a.call(names.attempt, "chown", f"{site.squash}/private", 0, 0, user=ROOT) == "EPERM"
    assert site.a.call(names.attempt, "chmod", f"{site.squash}/private", 0o777, user=ROOT) == "EPERM"
    assert site.a.call(names.read, f"{site.squash}/private", user=OWNER) == "y"
    assert stat.S_IMODE((site.squash_host / "private").stat().st_mode) == 0o600


def test_root_is_root_where_not_squashed(site: Site, home: str) -> None:
    """Where root is not squashed it reads, changes and gives away everything."""
    path = f"{home}/private"
    site.a.call(names.write, path, "y", 0o600, user=OWNER)
    assert site.a.call(names.read, path, user=ROOT) == "y"
    site.a.call(names.make, "chown", path, OTHER.uid, OTHER.gid, user=ROOT)
    assert site.a.call(names.read, path, user=OTHER) == "y"
