"""Directories read in pieces."""

from __future__ import annotations

import itertools
import os

import pytest

from nfsd.vfs import BadCookie
from nfsd.vfs.directory import cookie_of, offset_of
from tests.vfs.world import ROOT, World


def test_readdir_ten_thousand_while_files_go(world: World) -> None:
    """Names that stay are seen exactly once, however the directory is cut and whatever goes meanwhile."""
    names = [b"file-%05d" % number for number in range(10_000)]
    for name in names:
        os.close(os.open(world.path / os.fsdecode(name), os.O_CREAT | os.O_WRONLY))
    seen: list[bytes] = []
    removed: set[bytes] = set()
    cookie = 0
    while piece := list(itertools.islice(world.fs.readdir(world.root, cookie, ROOT), 700)):
        cookie = piece[-1][0]
        seen += [name for _cookie, name in piece]
        for name in [piece[0][1], piece[-1][1]]:
            world.fs.remove(world.root, name, ROOT)
            removed.add(name)
        unseen = set(names) - set(seen) - removed
        for name in sorted(unseen)[:2]:
            world.fs.remove(world.root, name, ROOT)
            removed.add(name)
    assert len(seen) == len(set(seen))
    assert set(names) - removed <= set(seen)


def test_readdir_cookies(world: World) -> None:
    """Cookies are above 2, fit a signed number, differ, and each goes on right behind its name."""
    for number in range(50):
        (world.path / str(number)).write_bytes(b"")
    everything = list(world.fs.readdir(world.root, 0, ROOT))
    cookies = [cookie for cookie, _name in everything]
    assert len(set(cookies)) == 50
    assert all(2 < cookie < 1 << 63 for cookie in cookies)
    for index, (cookie, _name) in enumerate(everything):
        assert list(world.fs.readdir(world.root, cookie, ROOT)) == everything[index + 1 :]


def test_readdir_sees_new_names(world: World) -> None:
    """The descriptor that is kept between pieces shows what was made since."""
    assert world.names() == []
    world.make(b"a")
    assert world.names() == [b"a"]
    world.fs.remove(world.root, b"a", ROOT)
    assert world.names() == []


def test_readdir_of_no_directory(world: World) -> None:
    """Only directories are read, and cookies that were never given are refused."""
    with pytest.raises(NotADirectoryError):
        world.fs.readdir(world.make(b"a"), 0, ROOT)
    for cookie in (1, 2, 1 << 63, (1 << 64) - 1):
        with pytest.raises(BadCookie):
            world.fs.readdir(world.root, cookie, ROOT)


def test_readdir_two_at_once(world: World) -> None:
    """Two readers of one directory do not disturb each other, and leave no descriptor behind."""
    for number in range(100):
        (world.path / str(number)).write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    one, two = world.fs.readdir(world.root, 0, ROOT), world.fs.readdir(world.root, 0, ROOT)
    assert [next(one) for _ in range(60)] == [next(two) for _ in range(60)]
    del one
    unread = world.fs.readdir(world.root, 0, ROOT)
    del two, unread
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_cookie_ends_meet() -> None:
    """The end mark of ext4 is the largest cookie."""
    for offset in (1, 2, 1 << 40, (1 << 63) - 1):
        assert offset_of(cookie_of(offset)) == offset
    assert cookie_of((1 << 63) - 1) == (1 << 63) - 1
    assert offset_of(0) == 0
