"""The caller is allowed what Linux allows: users, groups, squashing, threads."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nfsd.exports import parse_options
from nfsd.vfs import Credentials, as_server, become, credentials
from nfsd.vfs.credentials import itself, leave
from tests.vfs.world import ALICE, BOB, ROOT, DirectoryWorld, World

pytestmark = pytest.mark.usefixtures("as_root")
RWX = os.R_OK | os.W_OK | os.X_OK


def test_access_by_owner_group_other(world: World) -> None:
    """Each class of users gets its bits, a supplementary group counts, root may all but execute a plain file."""
    node = world.make(b"a", cred=ALICE, mode=0o740)
    world.fs.setattr(node, ROOT, gid=3000)
    assert world.fs.access(node, RWX, ALICE) == RWX
    assert world.fs.access(node, RWX, BOB) == os.R_OK
    assert world.fs.access(node, RWX, Credentials(1002, 1002, ())) == 0
    world.fs.setattr(node, ROOT, mode=0o600)
    assert world.fs.access(node, RWX, ROOT) == os.R_OK | os.W_OK
    assert world.fs.access(node, os.X_OK, ROOT) == 0
    assert world.fs.access(node, 0, BOB) == 0


def test_new_objects_are_the_callers(world: World) -> None:
    """Whatever a caller makes is owned by the caller."""
    fs = world.fs
    for node in (
        world.make(b"f", cred=ALICE),
        fs.mkdir(world.root, b"d", ALICE, 0o755),
        fs.symlink(world.root, b"l", b"x", ALICE),
    ):
        st = fs.stat(node)
        assert (st.st_uid, st.st_gid) == (1000, 1000)


def test_others_are_refused(world: World) -> None:
    """Nothing can be done in or to what belongs to somebody else."""
    fs = world.fs
    home = fs.mkdir(world.root, b"home", ALICE, 0o700)
    node, _ = fs.create(home, b"f", ALICE, 0o600)
    for call in (
        lambda: fs.lookup(home, b"f", BOB),
        lambda: fs.create(home, b"g", BOB, 0o600),
        lambda: fs.mkdir(home, b"g", BOB, 0o700),
        lambda: fs.symlink(home, b"g", b"x", BOB),
        lambda: fs.remove(home, b"f", BOB),
        lambda: fs.rename(home, b"f", world.root, b"f", BOB),
        lambda: fs.readdir(home, 0, BOB),
        lambda: fs.setattr(node, BOB, mode=0o666),
        lambda: fs.setattr(node, BOB, size=0),
        lambda: fs.setattr(node, BOB, mtime_ns=0),
        lambda: fs.setattr(node, ALICE, uid=1001),
        lambda: fs.link(node, home, b"g", BOB),
    ):
        with pytest.raises(PermissionError):
            call()
    assert world.names(home, ALICE) == [b"f"]


def test_sticky_directory(world: World) -> None:
    """In a sticky directory only the owner removes."""
    world.fs.setattr(world.root, ROOT, mode=0o1777)
    world.make(b"f", cred=ALICE)
    with pytest.raises(PermissionError):
        world.fs.remove(world.root, b"f", BOB)
    world.fs.remove(world.root, b"f", ALICE)


def test_list_without_search(world: World) -> None:
    """Read permission lists a directory's names, without leave to search it; and the other way round."""
    fs = world.fs
    home = fs.mkdir(world.root, b"home", ROOT, 0o755)
    fs.create(home, b"f", ROOT, 0o644)
    fs.setattr(home, ROOT, mode=0o744)
    assert world.names(home, BOB) == [b"f"]
    with pytest.raises(PermissionError):
        fs.lookup(home, b"f", BOB)
    fs.setattr(home, ROOT, mode=0o711)
    assert fs.lookup(home, b"f", BOB)
    with pytest.raises(PermissionError):
        fs.readdir(home, 0, BOB)


def test_lookup_of_cached_child_asks_again(world: World) -> None:
    """A child in the cache is no way around the directory's permission."""
    fs = world.fs
    home = fs.mkdir(world.root, b"home", ALICE, 0o755)
    fs.create(home, b"f", ALICE, 0o644)
    assert fs.lookup(home, b"f", BOB) is fs.lookup(home, b"f", ALICE)
    fs.setattr(home, ALICE, mode=0o700)
    with pytest.raises(PermissionError):
        fs.lookup(home, b"f", BOB)


def test_data_by_the_servers_right(world: World) -> None:
    """Permission belongs to OPEN: the data of a file that nobody may read any more still flow."""
    node = world.make(b"a", b"data", cred=ALICE, mode=0o000)
    world.fs.release(node)
    assert world.read(node) == b"data"
    world.write(node, b"more")
    assert world.read(node) == b"more"


def test_identity_is_per_thread(real: DirectoryWorld) -> None:
    """Threads act as different callers at the same time; a new one does not inherit its maker's identity."""
    barrier = threading.Barrier(4)

    def work(number: int) -> tuple[int, int]:
        cred = Credentials(2000 + number, 3000 + number, (4000 + number,))
        barrier.wait(10)
        for index in range(20):
            name = b"%d-%d" % (number, index)
            node, _ = real.fs.create(real.root, name, cred, 0o600)
            st = real.fs.stat(node)
            assert (st.st_uid, st.st_gid) == (cred.uid, cred.gid)
        return os.getuid(), os.geteuid()

    become(ALICE)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [(0, 0)] * 4
    assert len(real.names()) == 80


def ids_of_this_thread() -> tuple[str, str, list[str], bool]:
    """File system user and group, supplementary groups; and whether the thread may override permissions now."""
    with open("/proc/thread-self/status", encoding="ascii") as status:
        fields = {line.split(":")[0]: line.split()[1:] for line in status}
    overrides = bool(int(fields["CapEff"][0], 16) >> 1 & 1)
    return fields["Uid"][3], fields["Gid"][3], fields["Groups"], overrides


def test_leave() -> None:
    """Who leaves a caller is user 0 with its capabilities again, also where the caller could not be become."""
    credentials.configure()
    become(ALICE)
    assert ids_of_this_thread()[0] == "1000" and not ids_of_this_thread()[3]
    leave()
    assert ids_of_this_thread()[0] == "0" and ids_of_this_thread()[3]
    become(ALICE)
    with pytest.raises(OSError):
        become(Credentials(5, 5, (0xFFFFFFFF,)))
    leave()
    assert ids_of_this_thread()[0] == "0"
    become(ALICE)
    assert ids_of_this_thread()[:2] == ("1000", "1000")


def test_itself_within_a_request() -> None:
    """The server is itself in every respect for a moment, and the thread is its caller again afterwards."""
    own_groups = ids_of_this_thread()[2]
    credentials.configure()
    become(BOB)
    bob = ids_of_this_thread()
    assert bob == ("1001", "1001", ["2000", "3000"], False)
    with pytest.raises(KeyError), itself():
        assert ids_of_this_thread() == ("0", "0", own_groups, True)
        raise KeyError
    assert ids_of_this_thread() == bob
    leave()
    with itself():
        assert ids_of_this_thread() == ("0", "0", own_groups, True)
    assert ids_of_this_thread()[0] == "0"


def test_become_nobodys_id() -> None:
    """2**32 - 1 means "leave as it is" to the kernel: nobody becomes it, least of all root."""
    credentials.configure()
    become(ALICE)
    for cred in (Credentials(0xFFFFFFFF, 0), Credentials(0, 0xFFFFFFFF), Credentials(5, 5, (0xFFFFFFFF,))):
        with pytest.raises(OSError):
            become(cred)
    become(BOB)
    assert ids_of_this_thread() == ("1001", "1001", ["2000", "3000"], False)
    assert (os.getuid(), os.geteuid()) == (0, 0)
    as_server()


def test_squash_root() -> None:
    """root_squash maps user 0 and group 0 wherever they stand, and leaves the others alone."""
    options = parse_options("root_squash,anonuid=99,anongid=98")
    assert options.apply(Credentials(0, 0, (0, 5))) == Credentials(99, 98, (98, 5))
    assert options.apply(Credentials(7, 0, ())) == Credentials(7, 98, ())
    assert options.apply(ALICE) is ALICE
    assert options.anonymous() == Credentials(99, 98, ())


def test_squash_all_and_none() -> None:
    """all_squash maps everybody, no_root_squash nobody but the number that is nobody's."""
    assert parse_options("all_squash").apply(ALICE) == Credentials(65534, 65534, ())
    options = parse_options("no_root_squash")
    assert options.apply(ROOT) is ROOT
    nobody = Credentials(0xFFFFFFFF, 0xFFFFFFFF, (1, 0xFFFFFFFF))
    assert options.apply(nobody) == Credentials(65534, 65534, (1, 65534))
    assert parse_options("").apply(nobody) == Credentials(65534, 65534, (1, 65534))


def test_squashed_root_is_refused(world: World) -> None:
    """What root_squash makes of root can do what user 65534 can."""
    cred = parse_options("root_squash").apply(ROOT)
    node = world.make(b"a", cred=ALICE, mode=0o600)
    assert world.fs.access(node, RWX, cred) == 0
    with pytest.raises(PermissionError):
        world.fs.setattr(node, cred, mode=0o666)
    with pytest.raises(PermissionError):
        world.fs.mknod(world.root, b"dev", cred, 0o600, 0o020000, os.makedev(1, 3))


def test_search_of_a_directory_found_again(world: World) -> None:
    """Whoever finds a directory again for a caller, its names and its parent are the caller's to look for."""
    fs = world.fs
    home = fs.mkdir(world.root, b"home", ALICE, 0o700)
    fs.mkdir(home, b"d", ALICE, 0o755)
    calls: list[Callable[[Credentials], object]] = [
        lambda cred: fs.lookup(home, b"d", cred),
        lambda cred: fs.parent(home, cred),
    ]
    for call in calls:
        for cred, may in ((BOB, False), (ALICE, True), (BOB, False)):
            world.namespace.cache.close_path(home)
            if may:
                call(cred)
            else:
                with pytest.raises(PermissionError):
                    call(cred)


def test_handle_beneath_what_may_not_be_searched(world: World) -> None:
    """A handle leads to its object whoever may search the directories above: there its own permissions decide."""
    fs = world.fs
    home = fs.mkdir(world.root, b"home", ALICE, 0o700)
    inner = fs.mkdir(home, b"inner", ALICE, 0o755)
    node, _made = fs.create(inner, b"f", ALICE, 0o640)
    readable, _made = fs.create(inner, b"g", ALICE, 0o644)
    world.restart()
    again = [world.namespace.resolve(each.handle) for each in (inner, node, readable)]
    assert [world.fs.access(each, RWX, BOB) for each in again] == [os.R_OK | os.X_OK, 0, os.R_OK]
    assert world.fs.lookup(again[0], b"g", BOB) is again[2]
    with pytest.raises(PermissionError):
        world.fs.lookup(world.namespace.resolve(home.handle), b"inner", BOB)


def test_directory_inherits_set_group_id(world: World) -> None:
    """A directory has the set-group-id bit of the one that it is made in, also where its maker asks for that bit.

    A second call to set it would take it away, as the group is not one of the maker's.
    """
    fs = world.fs
    shared = fs.mkdir(world.root, b"shared", ROOT, 0o777)
    fs.setattr(shared, ROOT, gid=5000)
    fs.setattr(shared, ROOT, mode=0o2777)
    for name, mode in ((b"asked", 0o2755), (b"not", 0o755)):
        st = fs.stat(fs.mkdir(shared, name, ALICE, mode))
        assert (stat.S_IMODE(st.st_mode), st.st_gid) == (0o2755, 5000)
    assert stat.S_IMODE(fs.stat(fs.mkdir(world.root, b"own", ALICE, 0o2711)).st_mode) == 0o2711
