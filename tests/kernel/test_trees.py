"""Trees of many files: unpacking, git, large directories, listings that change meanwhile."""

import sysconfig
import tarfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from .clients import Site
from .lab import Lab
from .workloads import names, trees

TREE_FILES = 2000
TREE_BYTES = 20 << 20
MANY_FILES = 10_000
MTIME = 1_600_000_000


def source_files() -> Iterator[tuple[Path, Path]]:
    """The Python standard library's own source files and where to put them, round after round without end.

    How many there are depends on who packed the library.
    """
    library = Path(sysconfig.get_path("stdlib"))
    paths = [
        path
        for path in sorted(library.rglob("*.py"))
        if not {"site-packages", "dist-packages"} & set(path.parts) and not path.is_symlink() and path.stat().st_size
    ]
    for number in count():
        for path in paths:
            yield path, Path(f"round{number}") / path.relative_to(library)


@pytest.fixture(scope="session")
def archive(lab: Lab) -> Path:
    """A tar file of about 2,000 files and 20 MB with links, an empty directory and several modes."""
    path = lab.directory / "source.tar"
    size = 0
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:

        def normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = MTIME + len(tar.getmembers())
            member.mode = (0o644, 0o755, 0o600, 0o444)[len(tar.getmembers()) % 4]
            return member

        for source, place in islice(source_files(), TREE_FILES):
            size += source.stat().st_size
            tar.add(source, f"source/{place}", filter=normal)
            if size > TREE_BYTES:
                break
        first = tar.getmembers()[0]
        for name, kind, target, mode in (
            ("empty", tarfile.DIRTYPE, "", 0o750),
            ("relative", tarfile.SYMTYPE, "empty/../round0/__future__.py", 0o777),
            ("dangling", tarfile.SYMTYPE, "/nowhere/" + "x" * 200, 0o777),
            ("hard", tarfile.LNKTYPE, first.name, first.mode),
        ):
            member = tarfile.TarInfo(f"source/{name}")
            member.type, member.linkname, member.mode, member.mtime = kind, target, mode, int(first.mtime)
            tar.addfile(member)
    return path


@pytest.fixture(scope="session")
def unpacked(archive: Path, lab: Lab) -> dict[str, list[object]]:
    """What the archive holds, unpacked on the host without a server."""
    target = lab.directory / "unpacked"
    target.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(target, numeric_owner=True)
    found = trees.manifest(str(target))
    assert sum(entry[0] == "file" for entry in found.values()) > 1000
    return found


def test_untar_and_compare(site: Site, archive: Path, unpacked: dict[str, list[object]]) -> None:
    """An unpacked source tree is the same for its writer, another client and the host."""
    site.a.shell(f"tar -xf {archive} --numeric-owner", site.path, timeout_s=120)
    assert trees.manifest(str(site.host)) == unpacked
    assert site.b.call(trees.manifest, site.path, timeout_s=120) == unpacked
    site.a.forget()
    before = site.a.stats()
    assert site.a.call(trees.manifest, site.path, timeout_s=120) == unpacked
    # It was read from the server, not remembered.
    assert site.a.stats().since(before)["READ"].operations >= 1000
    site.b.shell("rm -rf source", site.path, timeout_s=120)
    assert list(site.host.iterdir()) == []
    assert site.a.call(names.listdir, site.path) == []


GIT = """
export GIT_CONFIG_GLOBAL=/run/home/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --global user.name Test; git config --global user.email test@example.org
git config --global init.defaultBranch main; git config --global gc.auto 0
git init -q tree; cd tree
tar -xf {archive} --wildcards 'source/round0/a*' 'source/round0/email/*' 'source/round0/json/*' 'source/round0/c*.py'
git add -A; git commit -q -m first
for n in 1 2 3; do echo "# change $n" >> source/round0/abc.py; git commit -q -a -m "change $n"; done
git mv source/round0/json source/round0/yaml; git commit -q -m moved
git checkout -q -b side HEAD~2; echo x > side; git add side; git commit -q -m side
git checkout -q main; git merge -q -m merged side
git repack -q -a -d; git fsck --full --strict
cd ..; git clone -q tree copy; cd copy; git fsck --full --strict
test -z "$(git status --porcelain)"
echo commits $(git rev-list --count HEAD); echo files $(git ls-files | wc -l)
"""


def test_git(site: Site, archive: Path) -> None:
    """git can work in the export: objects made by link and rename, packs by mmap, locks by O_EXCL."""
    output = site.a.shell(GIT.format(archive=archive), site.path, timeout_s=120)
    lines = dict(line.split() for line in output.splitlines() if line.startswith(("commits ", "files ")))
    assert int(lines["commits"]) == 7
    assert int(lines["files"]) > 50
    log = site.b.shell("cd copy; git fsck --full --strict; git log --oneline", site.path, timeout_s=60)
    assert "merged" in log


def test_ten_thousand_files(site: Site) -> None:
    """A directory takes 10,000 files, lists each once, on both clients, and lets all be removed."""
    path = f"{site.path}/many"
    site.a.call(trees.create_files, path, "file-with-a-name-of-usual-length-", MANY_FILES, timeout_s=120)
    assert len(list((site.host / "many").iterdir())) == MANY_FILES
    for client in (site.a, site.b):
        client.forget()
        problems = client.call(
            trees.listing_problems, path, "file-with-a-name-of-usual-length-", MANY_FILES, timeout_s=60
        )
        assert problems == []
    assert int(site.b.shell("ls -f many | wc -l", site.path, timeout_s=60)) == MANY_FILES + 2
    assert site.a.call(trees.remove_all, path, timeout_s=120) == MANY_FILES
    assert list(site.host.iterdir()) == []


def test_listing_while_names_go(site: Site) -> None:
    """A listing under way shows every name that stays exactly once, while others go and come."""
    path = f"{site.path}/busy"
    count = 2000
    site.a.call(trees.create_files, path, "name", count, timeout_s=60)
    site.a.forget()
    reader = site.a.process()
    reader.call(trees.begin_listing, path, 50)
    gone = site.b.call(trees.remove_every, path, "name", count, 4, timeout_s=60)
    assert len(gone) == count // 4
    site.b.call(trees.create_files, path, "new", 300, timeout_s=60)
    seen = reader.call(trees.finish_listing, path, timeout_s=60)
    stable = {f"name{number:05}" for number in range(count)} - set(gone)
    assert len(seen) == len(set(seen)), "a name was listed twice"
    assert stable <= set(seen), f"{len(stable - set(seen))} names were left out"
    reader.kill()
    site.a.forget()
    now = site.a.call(names.listdir, path)
    assert now == sorted(stable | {f"new{number:05}" for number in range(300)})
