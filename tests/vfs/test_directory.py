"""Directories read in pieces."""

from __future__ import annotations

import itertools
import os

import pytest

from nfsd.vfs import BadCookie
from nfsd.vfs.directory import cookie_of, offset_of
from tests.vfs.world import ROOT, DirectoryWorld, World


def test_readdir_ten_thousand_while_files_go(world: World) -> None:
    """Names that stay are seen exactly once, however the directory is cut and whatever goes meanwhile."""
    names = [b"file-%05d" % number for number in range(10_000)]
    world.fill(names)
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
    world.fill(b"%d" % number for number in range(50))
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


def test_readdir_two_readers(world: World) -> None:
    """Two readers of one directory do not disturb each other."""
    world.fill(b"%d" % number for number in range(100))
    one, two = world.fs.readdir(world.root, 0, ROOT), world.fs.readdir(world.root, 0, ROOT)
    assert [next(one) for _ in range(60)] == [next(two) for _ in range(60)]
    assert list(one) == list(two)


def test_readdir_name_replaced(world: World) -> None:
    """A name that other objects take over while the directory is read is seen once."""
    spare = world.fs.mkdir(world.root, b"spare", ROOT, 0o755)
    world.fill(b"%d" % number for number in range(20))
    seen: list[bytes] = []
    cookie = 0
    while piece := list(itertools.islice(world.fs.readdir(world.root, cookie, ROOT), 3)):
        cookie = piece[-1][0]
        seen += [name for _cookie, name in piece]
        replaced = next(name for name in seen if name != b"spare")
        moved, _ = world.fs.create(spare, b"x", ROOT, 0o600)
        world.fs.rename(spare, b"x", world.root, replaced, ROOT)
        assert world.fs.lookup(world.root, replaced, ROOT) is moved
        assert len(seen) <= 21
    assert sorted(seen) == world.names()


def test_readdir_two_at_once(real: DirectoryWorld) -> None:
    """Two readers of one directory do not disturb each other and leave no descriptor behind."""
    real.fill(b"%d" % number for number in range(100))
    before = len(os.listdir("/proc/self/fd"))
    one, two = real.fs.readdir(real.root, 0, ROOT), real.fs.readdir(real.root, 0, ROOT)
    assert [next(one) for _ in range(60)] == [next(two) for _ in range(60)]
    del one
    unread = real.fs.readdir(real.root, 0, ROOT)
    del two, unread
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_cookie_ends_meet() -> None:
    """The end mark of ext4 is the largest cookie."""
    for offset in (1, 2, 1 << 40, (1 << 63) - 1):
        assert offset_of(cookie_of(offset)) == offset
    assert cookie_of((1 << 63) - 1) == (1 << 63) - 1
    assert offset_of(0) == 0
