"""Names: exclusive creation, links, files that lose their name while open, special files, attributes."""

import os
import stat

import pytest

from tests.support.waiting import watch

from .clients import Site
from .workloads import names

ROUNDS = 10
ROUND_SIZE = 20
REMOVAL_TIMEOUT_S = 10.0


def names_left(site: Site, expected: set[str]) -> set[str]:
    """Return the directory's names once they are as expected, or after a while as they are.

    A client that renamed an open file removes it behind the back of the close.
    """
    return watch(lambda: set(os.listdir(site.host)), lambda left: left == expected, REMOVAL_TIMEOUT_S)


def test_exclusive_create_race(site: Site) -> None:
    """Of two clients that create the same 200 names exclusively, exactly one wins each name."""
    racers = {"a": site.a.distinct_process(), "b": site.b.distinct_process()}
    won: dict[str, list[str]] = {"a": [], "b": []}
    everything = []
    for number in range(ROUNDS):
        wanted = [f"name{number:02}-{index:02}" for index in range(ROUND_SIZE)]
        everything += wanted
        running = {who: racer.start(names.claim_names, site.path, wanted, who) for who, racer in racers.items()}
        for who, pending in running.items():
            won[who] += pending.result()
    assert len(everything) == 200
    assert sorted(won["a"] + won["b"]) == everything
    for who, mine in won.items():
        assert [(site.host / name).read_text() for name in mine] == [who] * len(mine)


def test_exclusive_create_of_existing(site: Site) -> None:
    """Exclusive creation fails for a name that exists, whatever it is, and leaves it alone."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    site.a.call(names.write, f"{site.path}/file", "kept")
    site.a.call(names.make, "mkdir", f"{site.path}/directory")
    site.a.call(names.make, "symlink", "nowhere", f"{site.path}/dangling")
    for name in ("file", "directory", "dangling"):
        assert site.b.call(names.attempt_open, f"{site.path}/{name}", flags) == "EEXIST"
    assert (site.host / "file").read_text() == "kept"
    assert not (site.host / "nowhere").exists()


def test_create_unwritable_and_write(site: Site) -> None:
    """The creator can write through the descriptor of the creation what the file's mode forbids to write."""
    site.a.call(names.create_unwritable, f"{site.path}/object", "written once")
    assert (site.host / "object").read_text() == "written once"
    assert stat.S_IMODE((site.host / "object").stat().st_mode) == 0o444


def test_hard_links(site: Site) -> None:
    """Hard links share inode, content and link count, across directories and clients."""
    one, two = f"{site.path}/one", f"{site.path}/directory/two"
    site.a.call(names.make, "mkdir", f"{site.path}/directory")
    site.a.call(names.write, one, "first")
    site.a.call(names.make, "link", one, two)
    assert site.a.call(names.attempt, "link", one, two) == "EEXIST"
    for client in (site.a, site.b):
        numbers = [client.call(names.status, path) for path in (one, two)]
        assert numbers[0]["ino"] == numbers[1]["ino"] == (site.host / "one").stat().st_ino
        assert [number["nlink"] for number in numbers] == [2, 2]
    site.b.call(names.write, two, "second")
    assert site.a.call(names.read, one) == "second"
    site.b.call(names.make, "unlink", one)
    site.a.forget()
    assert site.a.call(names.status, two)["nlink"] == 1
    assert site.a.call(names.attempt, "stat", one) == "ENOENT"
    assert site.a.call(names.attempt, "link", f"{site.path}/directory", one) == "EPERM"


def test_symbolic_links(site: Site) -> None:
    """Symbolic links keep their text, to the longest, and are followed by the client."""
    targets = {
        "relative": "directory/../file",
        "dangling": "/no/where",
        "long": "x/" * 1000 + "y",
        "loop": "loop",
    }
    site.a.call(names.write, f"{site.path}/file", "content")
    site.a.call(names.make, "mkdir", f"{site.path}/directory")
    for name, target in targets.items():
        site.a.call(names.make, "symlink", target, f"{site.path}/{name}")
        assert os.readlink(site.host / name) == target
    for name, target in targets.items():
        assert site.b.call(names.readlink, f"{site.path}/{name}") == target
        assert site.b.call(names.status, f"{site.path}/{name}")["size"] == len(target)
    assert site.b.call(names.read, f"{site.path}/relative") == "content"
    assert site.b.call(names.attempt_open, f"{site.path}/dangling", os.O_RDONLY) == "ENOENT"
    assert site.b.call(names.attempt_open, f"{site.path}/loop", os.O_RDONLY) == "ELOOP"


@pytest.mark.parametrize("renamer", ["same", "other"])
def test_rename_over_open_file(site: Site, renamer: str) -> None:
    """A file that another is renamed over stays readable and writable through its open descriptor."""
    path, new = f"{site.path}/target", f"{site.path}/new"
    site.a.call(names.write, path, "old content")
    holder = site.a.process()
    inode = holder.call(names.hold, path)
    other = site.a if renamer == "same" else site.b
    other.call(names.write, new, "new content")
    other.call(names.make, "rename", new, path)
    site.a.forget()
    assert holder.call(names.held_read, path) == "old content"
    holder.call(names.held_write, path, "OLD")
    site.a.forget()
    assert holder.call(names.held_read, path) == "OLD content"
    assert other.call(names.read, path) == "new content"
    assert other.call(names.status, path)["ino"] != inode
    assert other.call(names.attempt, "stat", new) == "ENOENT"
    holder.call(names.release, path)
    assert (site.host / "target").read_text() == "new content"
    assert names_left(site, {"target"}) == {"target"}


@pytest.mark.parametrize("remover", ["same", "other"])
def test_unlink_while_open(site: Site, remover: str) -> None:
    """A removed file stays readable and writable until it is closed; then nothing of it is left."""
    path = f"{site.path}/doomed"
    site.a.call(names.write, path, "last words")
    holder = site.a.process()
    holder.call(names.hold, path)
    other = site.a if remover == "same" else site.b
    other.call(names.make, "unlink", path)
    assert other.call(names.attempt, "stat", path) == "ENOENT"
    site.a.forget()
    assert holder.call(names.held_read, path) == "last words"
    holder.call(names.held_write, path, "LAST")
    site.a.forget()
    assert holder.call(names.held_read, path) == "LAST words"
    holder.call(names.release, path)
    assert names_left(site, set()) == set()
    assert site.a.call(names.listdir, site.path) == []


def test_rename_rules(site: Site) -> None:
    """Rename moves across directories, replaces files and empty directories, and refuses the rest."""

    def outcome(source: str, target: str) -> str:
        return str(site.a.call(names.attempt, "rename", f"{site.path}/{source}", f"{site.path}/{target}"))

    site.a.shell("mkdir -p full/below empty other", site.path)
    site.a.shell("echo x > full/file; echo y > file; ln file same", site.path)
    assert outcome("full", "full/below/in") in ("EINVAL", "ENOTEMPTY")
    assert outcome("other", "full") in ("ENOTEMPTY", "EEXIST")
    assert outcome("file", "empty") in ("EISDIR", "EEXIST")
    assert outcome("other", "file") in ("ENOTDIR", "EEXIST")
    assert outcome("missing", "found") == "ENOENT"
    assert outcome("file", "same") == "ok"
    assert site.b.call(names.listdir, site.path) == ["empty", "file", "full", "other", "same"]
    assert outcome("full", "empty") == "ok"
    assert outcome("empty/file", "other/moved") == "ok"
    assert (site.host / "other" / "moved").read_text() == "x\n"
    assert site.b.call(names.listdir, f"{site.path}/empty") == ["below"]


def test_names_of_all_kinds(site: Site) -> None:
    """Names of 255 bytes, with spaces, line ends and characters of four bytes are kept as they are."""
    tile = "\N{DOMINO TILE HORIZONTAL BACK}"
    wanted = ["x" * 255, " two  spaces ", "line\nend", f"naïve-{tile}", "-rf *", "..."]
    for name in wanted:
        site.a.call(names.write, f"{site.path}/{name}", name)
    assert sorted(os.listdir(site.host)) == sorted(wanted)
    assert site.b.call(names.listdir, site.path) == sorted(wanted)
    assert [site.b.call(names.read, f"{site.path}/{name}") for name in wanted] == wanted
    flags = os.O_CREAT | os.O_WRONLY
    assert site.a.call(names.attempt_open, f"{site.path}/{'x' * 256}", flags) == "ENAMETOOLONG"


def test_special_files(site: Site) -> None:
    """FIFOs, sockets and device nodes exist with their type and number; a FIFO works on its client."""
    device = os.makedev(1, 3)
    site.a.call(names.make, "mkfifo", f"{site.path}/fifo", 0o640)
    site.a.call(names.bind_socket, f"{site.path}/socket")
    site.a.call(names.make, "mknod", f"{site.path}/character", 0o600 | stat.S_IFCHR, device)
    site.a.call(names.make, "mknod", f"{site.path}/block", 0o600 | stat.S_IFBLK, os.makedev(254, 7))
    kinds = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "character": stat.S_IFCHR, "block": stat.S_IFBLK}
    for name, kind in kinds.items():
        assert stat.S_IFMT((site.host / name).lstat().st_mode) == kind
        assert site.b.call(names.status, f"{site.path}/{name}")["kind"] == kind
    assert (site.host / "character").lstat().st_rdev == device
    assert site.b.call(names.status, f"{site.path}/block")["rdev"] == os.makedev(254, 7)
    assert site.b.call(names.status, f"{site.path}/fifo")["mode"] == 0o640
    assert site.a.call(names.through_fifo, f"{site.path}/fifo", "through") == "through"


def test_extended_attributes(site: Site) -> None:
    """User attributes are kept, listed, replaced and removed on NFSv4.2; before, they are not supported."""
    path = f"{site.path}/file"
    site.a.call(names.write, path, "content")
    if site.minor < 2:
        assert site.a.call(names.set_attribute, path, "user.colour", "blue") == "ENOTSUP"
        return
    site.a.shell("setfattr -n user.colour -v blue file", site.path)
    site.a.shell("setfattr -n user.long -v $(printf %01000d 7) file", site.path)
    assert os.getxattr(site.host / "file", "user.colour") == b"blue"
    assert site.b.call(names.list_attributes, path) == ["user.colour", "user.long"]
    assert site.b.call(names.get_attribute, path, "user.long") == "7".rjust(1000, "0")
    assert 'user.colour="blue"' in site.b.shell("getfattr -d file", site.path)
    assert site.b.call(names.set_attribute, path, "user.colour", "red", os.XATTR_CREATE) == "EEXIST"
    assert site.b.call(names.set_attribute, path, "user.none", "red", os.XATTR_REPLACE) == "ENODATA"
    assert site.b.call(names.set_attribute, path, "user.colour", "red", os.XATTR_REPLACE) == "ok"
    assert os.getxattr(site.host / "file", "user.colour") == b"red"
    site.b.call(names.make, "removexattr", path, "user.long")
    assert os.listxattr(site.host / "file") == ["user.colour"]
    assert site.b.call(names.get_attribute, path, "user.long") is None
