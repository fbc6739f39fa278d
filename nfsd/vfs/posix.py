"""A directory tree of this machine as a file system: everything that both ways of naming objects share.

Owns the operations on names and attributes; those on data are its base class's (data.py). It must not know how an
object is found again by its handle: that is the subclass's (kernelmode.py, tablemode.py), which offers `_find`,
`_peek`, `_made`, `reopen` and `resolve`, and may listen to `_named`, `_unnamed` and `_gone`.

Never leaves the export: names are single components opened without following, ".." is taken only in `parent`,
which proves that it ended beneath the root, and whatever lies on another mount is refused.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterator
from typing import Final

from nfsd.log import get_logger
from nfsd.vfs import attributes, credentials, directory, syscalls
from nfsd.vfs.cache import NodeCache
from nfsd.vfs.credentials import become, identity
from nfsd.vfs.data import SETID_BITS, DescriptorData
from nfsd.vfs.handles import HandleCodec
from nfsd.vfs.interface import Busy, Credentials, Exported, Node, StaleHandle, check_name

log = get_logger()

PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ACCESS_FLAGS: Final = syscalls.AT_EMPTY_PATH | syscalls.AT_EACCESS
_REFUSALS: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY)
_CREATE_TRIES: Final = 8
"""How often a name may vanish between "it exists" and "which one is it" before the caller hears of it."""
_DEPTH_MAX: Final = 4096
"""Directories between an object and its export's root: PATH_MAX holds half as many."""
_PERMISSION_BITS: Final = (os.R_OK, os.W_OK, os.X_OK)


class PosixFileSystem(DescriptorData):
    """One export's tree; its nodes are of `node_type`."""

    node_type: type[Node] = Node

    def __init__(
        self, export: Exported, cache: NodeCache, codec: HandleCodec, *, parent: Node | None = None,
        junction_fileid: int | None = None,
    ) -> None:  # fmt: skip
        credentials.as_server()
        self.export = export
        self.fsid = (export.id, 0)
        self.read_only = export.read_only
        self.outside = parent
        """The pseudo file system's node above the root; None when this tree is the root of everything."""
        self._junction_fileid = junction_fileid
        self._cache = cache
        self._codec = codec
        self._by_key: dict[bytes, Node] = {}
        self._foreign: set[bytes] = set()
        self.root_fd = os.open(export.path, DIRECTORY_FLAGS)
        about = os.fstatvfs(self.root_fd)
        self.maxname = about.f_namemax
        self.has_xattrs = attributes.supports_xattrs(self.root_fd)
        if not self.read_only and about.f_flag & os.ST_RDONLY:
            # Each change will be answered ROFS. A service manager's sandbox may be why.
            log.warning("export.read_only_mount", export=str(export.path))
        elif not self.read_only:
            self._find_size_limit()
        self.root = self._make_root()
        self.root.busy = 1

    def _find_size_limit(self) -> None:
        try:
            self.file_size_max = attributes.file_size_max(self.root_fd)
        except OSError as error:
            # Clients are told the kernel's own limit, and hear of a nearer one when they write.
            log.warning("export.size_limit_unknown", export=str(self.export.path), reason=str(error))

    def close(self) -> None:
        """Close the root."""
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    # What a subclass offers.

    def _make_root(self) -> Node:
        raise NotImplementedError

    def _find(self, parent: Node, fd: int, name: bytes) -> Node:
        """Return the node of a name in the directory `fd`; the thread is the caller."""
        raise NotImplementedError

    def _peek(self, parent: Node, fd: int, name: bytes) -> Node | None:
        """Return the node of a name when it is cached; None also for a name that does not exist."""
        raise NotImplementedError

    def _made(self, parent: Node, name: bytes, fd: int) -> Node:
        """Return the node of an object that was just made; takes over the path descriptor `fd`."""
        raise NotImplementedError

    def _named(self, node: Node, parent: Node, name: bytes) -> None:
        """The node has one more name."""

    def _unnamed(self, node: Node | None, parent: Node, name: bytes) -> None:
        """The name is gone; `node` is what it led to, when that is cached."""

    def _gone(self, node: Node) -> None:
        """The object has no name left and is not open."""

    def _is_root(self, fd: int) -> bool:
        raise NotImplementedError

    # Nodes and descriptors.

    def _adopt(self, key: bytes, body: bytes, fd: int) -> Node:
        """Return the node of a key, with the path descriptor `fd`, which it takes over."""
        handle = self._codec.encode(self.handle_version, self.export.id, body)
        node = self._cache.find(handle)
        if node is None:
            try:
                kind = stat_bits.S_IFMT(os.fstat(fd).st_mode)
            except OSError:
                os.close(fd)
                raise
            node = self._cache.add(self.node_type(handle, self, kind, key))
        self._by_key[key] = node
        node.recent = True
        self._cache.install_path(node, fd)
        return node

    def path_fd(self, node: Node) -> int:
        """Return the node's path descriptor, opened again if it had to go. Raises StaleHandle."""
        fd = node.fd
        if fd >= 0:
            return fd
        try:
            fd = self.reopen(node)
        except StaleHandle:
            self._cache.drop(node)
            raise
        return self._cache.install_path(node, fd)

    def forget(self, node: Node) -> None:
        """The node has left the cache."""
        if self._by_key.get(node.key) is node:
            del self._by_key[node.key]

    def sync(self, node: Node) -> None:
        """Bring a directory or a file to the disk; a symbolic link comes with its directory."""
        if node.kind == stat_bits.S_IFLNK:
            return
        if node.kind not in (stat_bits.S_IFDIR, stat_bits.S_IFREG):
            # fsync refuses them, and their attributes need not come with their directory. They are rare.
            syscalls.sync_file_system(self.root_fd)
            return
        path_fd = self.path_fd(node)
        credentials.as_server()
        fd = os.open(attributes.path_of(path_fd), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def release(self, node: Node) -> None:
        """Close data descriptors, so that programs here may run the file; let an unlinked file go."""
        if node.busy or node.opens:
            return
        self._cache.close_data(node)
        if node.pinned:
            node.pinned = False
            self._lost(node)

    # Reading.

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return the child with this name. Raises ENOENT, ENOTDIR, EACCES (also for another mount)."""
        check_name(name)
        fd = node.fd
        if fd < 0:
            fd = self.path_fd(node)  # The server finds a directory again; what is in it is the caller's to look for.
        if identity.cred is not cred:
            become(cred)
        return self._find(node, fd, name)

    def parent(self, node: Node, cred: Credentials) -> Node:
        """Return a directory's parent, at the export's root the pseudo file system's."""
        if node is self.root:
            if self.outside is None:
                raise OSError(errno.ENOENT, "the root has no parent")
            return self.outside
        if node.kind != stat_bits.S_IFDIR:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        own_fd = self.path_fd(node)
        become(cred)
        fd = os.open(b"..", PATH_FLAGS | os.O_DIRECTORY, dir_fd=own_fd)
        try:
            if not self._is_beneath(fd):
                raise StaleHandle("the directory was moved out of the export")
        except OSError:
            os.close(fd)
            raise
        return self._parent_node(node, fd)

    def _parent_node(self, node: Node, fd: int) -> Node:
        raise NotImplementedError

    def _is_beneath(self, fd: int) -> bool:
        """Walk up from an open directory and return whether the export's root is met."""
        credentials.as_server()
        own = -1
        try:
            for _ in range(_DEPTH_MAX):
                if self._is_root(fd):
                    return True
                above = os.open(b"..", PATH_FLAGS, dir_fd=fd)
                at_top = os.path.sameopenfile(fd, above)
                if own >= 0:
                    os.close(own)
                own = fd = above
                if at_top:
                    return False
            return False
        finally:
            if own >= 0:
                os.close(own)

    def stat(self, node: Node) -> os.stat_result:
        """Return the attributes; an object that was removed behind the server's back is stale."""
        fd = node.fd
        st = os.fstat(fd if fd >= 0 else self.path_fd(node))
        if st.st_nlink == 0 and not node.opens and not node.pinned and not node.busy:
            self._cache.drop(node)
            raise StaleHandle()
        return st

    def access(self, node: Node, want: int, cred: Credentials) -> int:
        """Return what of `want` the kernel allows the caller."""
        if self.read_only and node.kind in (stat_bits.S_IFREG, stat_bits.S_IFDIR, stat_bits.S_IFLNK):
            want &= ~os.W_OK
        if identity.cred is not cred:
            become(cred)
        fd = node.fd
        if fd < 0:
            fd = self.path_fd(node)
            become(cred)
        if syscalls.faccessat(fd, b"", want, _ACCESS_FLAGS) == 0:
            return want
        return self._access_bits(fd, want)

    def _access_bits(self, fd: int, want: int) -> int:
        """Ask bit by bit, after all together were refused."""
        without_execute = want & ~os.X_OK
        if want & os.X_OK and without_execute:
            # The common case: a plain file that its user may read and write, and nobody may execute.
            if syscalls.faccessat(fd, b"", without_execute, _ACCESS_FLAGS) == 0:
                return without_execute
        allowed = 0
        for bit in _PERMISSION_BITS:
            if want & bit:
                if syscalls.faccessat(fd, b"", bit, _ACCESS_FLAGS) == 0:
                    allowed |= bit
                else:
                    error = syscalls.failure()
                    if error.errno not in _REFUSALS:
                        raise error
        return allowed

    def readlink(self, node: Node, cred: Credentials) -> bytes:
        """Return a symbolic link's target."""
        if node.kind != stat_bits.S_IFLNK:
            return super().readlink(node, cred)
        return os.readlink(b"", dir_fd=self.path_fd(node))

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield (cookie, name) after `cookie`. Errors of opening and of the cookie come with the call.

        The directory's descriptor is kept for the next piece; while one reader has it, another opens its own.
        """
        if node.kind != stat_bits.S_IFDIR:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path_fd = self.path_fd(node)
        become(cred)
        if syscalls.faccessat(path_fd, b"", os.R_OK, _ACCESS_FLAGS):
            raise syscalls.failure()
        fd, node.read_fd = node.read_fd, -1
        if fd < 0:
            credentials.as_server()
            fd = os.open(attributes.path_of(path_fd), DIRECTORY_FLAGS)
        pieces = self._entries(node, fd, cookie)
        next(pieces)  # From here on its end, however it comes, gives the descriptor back.
        return pieces

    def _entries(self, node: Node, fd: int, cookie: int) -> Iterator[tuple[int, bytes]]:
        try:
            directory.seek(fd, cookie)
            yield 0, b""
            yield from directory.entries(fd)
        finally:
            if self._cache.nodes.get(node.handle) is node:
                self._cache.install_data(node, fd, False)
            else:
                os.close(fd)

    def statfs(self, node: Node) -> os.statvfs_result:
        """Return the space and limits."""
        return os.fstatvfs(self.path_fd(node))

    def btime_ns(self, node: Node) -> int | None:
        """Return the time of birth in ns."""
        return syscalls.birth_and_mount(self.path_fd(node))[0]

    def mounted_on_fileid(self, node: Node, st: os.stat_result) -> int:
        """Return the fileid; for the export's root that of the pseudo directory it covers."""
        if node is self.root and self._junction_fileid is not None:
            return self._junction_fileid
        return st.st_ino

    # Changing names.

    def _check_writable(self) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _begin(self, parent: Node, name: bytes, cred: Credentials) -> int:
        """Check what holds for every change of a name; return the directory's descriptor, as the caller."""
        self._check_writable()
        check_name(name)
        fd = self.path_fd(parent)
        become(cred)
        return fd

    def create(
        self, parent: Node, name: bytes, cred: Credentials, mode: int, *,
        exclusive: bool = False, verifier: bytes | None = None,
    ) -> tuple[Node, bool]:  # fmt: skip
        """Make a regular file, or find the one that is there. See FileSystem.create."""
        parent_fd = self._begin(parent, name, cred)
        for _ in range(_CREATE_TRIES):
            try:
                fd = os.open(name, CREATE_FLAGS, mode & 0o7777, dir_fd=parent_fd)
            except FileExistsError:
                if exclusive and verifier is None:
                    raise
                try:
                    node = self._find(parent, parent_fd, name)
                except FileNotFoundError:
                    become(cred)
                    continue
                if verifier is not None and not self._was_made_with(node, verifier):
                    raise
                return node, False
            return self._created(parent, name, fd, verifier), True
        raise OSError(errno.EAGAIN, "the name comes and goes")

    def _created(self, parent: Node, name: bytes, fd: int, verifier: bytes | None) -> Node:
        """Finish a create; the descriptor serves the data from now on."""
        parent.touched = True
        try:
            if verifier is not None:
                os.utime(fd, ns=attributes.verifier_times_ns(verifier))
            path_fd = os.open(attributes.path_of(fd), os.O_PATH | os.O_CLOEXEC)
            node = self._made(parent, name, path_fd)
        except OSError:
            os.close(fd)
            raise
        self._cache.install_data(node, fd, True)
        return node

    def _was_made_with(self, node: Node, verifier: bytes) -> bool:
        if node.kind != stat_bits.S_IFREG:
            return False
        st = self.stat(node)
        return st.st_size == 0 and (st.st_atime_ns, st.st_mtime_ns) == attributes.verifier_times_ns(verifier)

    def mkdir(self, parent: Node, name: bytes, cred: Credentials, mode: int) -> Node:
        """Make a directory; set-id bits, which mkdir(2) ignores, are set afterwards unless it has inherited them."""
        fd = self._begin(parent, name, cred)
        os.mkdir(name, mode & 0o1777, dir_fd=fd)
        node = self._opened(parent, fd, name)
        if mode & SETID_BITS:
            made = stat_bits.S_IMODE(os.fstat(node.fd).st_mode)
            if mode & SETID_BITS & ~made:
                os.chmod(attributes.path_of(node.fd), made | mode & SETID_BITS)
        return node

    def symlink(self, parent: Node, name: bytes, target: bytes, cred: Credentials) -> Node:
        """Make a symbolic link; the target is the client's to interpret."""
        fd = self._begin(parent, name, cred)
        os.symlink(target, name, dir_fd=fd)
        return self._opened(parent, fd, name)

    def mknod(self, parent: Node, name: bytes, cred: Credentials, mode: int, kind: int, rdev: int) -> Node:
        """Make a device, socket or fifo."""
        fd = self._begin(parent, name, cred)
        os.mknod(name, (mode & 0o7777) | kind, rdev, dir_fd=fd)
        return self._opened(parent, fd, name)

    def _opened(self, parent: Node, parent_fd: int, name: bytes) -> Node:
        parent.touched = True
        return self._made(parent, name, os.open(name, PATH_FLAGS, dir_fd=parent_fd))

    def link(self, node: Node, parent: Node, name: bytes, cred: Credentials) -> None:
        """Give the node one more name. Raises EXDEV between exports, EPERM for a directory."""
        if node.fs is not self or parent.fs is not self:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        with Busy(node):
            source_fd = self.path_fd(node)
            fd = self._begin(parent, name, cred)
            os.link(attributes.path_of(source_fd), name, dst_dir_fd=fd, follow_symlinks=True)
        node.touched = parent.touched = True
        self._named(node, parent, name)

    def remove(self, parent: Node, name: bytes, cred: Credentials) -> None:
        """Remove a file's name or an empty directory."""
        fd = self._begin(parent, name, cred)
        victim = self._peek(parent, fd, name)
        if victim is None:
            try:
                os.unlink(name, dir_fd=fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=fd)
            parent.touched = True
            self._unnamed(None, parent, name)
            return
        with Busy(parent):
            self._hold(victim)
            become(cred)
            (os.rmdir if victim.kind == stat_bits.S_IFDIR else os.unlink)(name, dir_fd=fd)
        parent.touched = True
        self._unnamed(victim, parent, name)
        self._lost(victim)

    def rename(self, parent: Node, name: bytes, newparent: Node, newname: bytes, cred: Credentials) -> None:
        """Move a name inside this export. Raises EXDEV between exports."""
        if parent.fs is not self or newparent.fs is not self:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        with Busy(parent, newparent):
            check_name(newname)
            new_fd = self.path_fd(newparent)
            old_fd = self._begin(parent, name, cred)
            moved = self._peek(parent, old_fd, name)
            victim = self._peek(newparent, new_fd, newname)
            if victim is not None:
                self._hold(victim)
                become(cred)
            os.rename(name, newname, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        parent.touched = newparent.touched = True
        if moved is not None and moved is victim:
            return  # Two names of one file: rename(2) leaves both.
        self._unnamed(victim, newparent, newname)
        if moved is not None:
            moved.touched = True
            self._named(moved, newparent, newname)
        self._unnamed(moved, parent, name)
        if victim is not None:
            self._lost(victim)

    def _hold(self, victim: Node) -> None:
        """Make sure that an open file that may lose its last name has a descriptor to live on."""
        if victim.fd < 0:
            self.path_fd(victim)

    def _lost(self, victim: Node) -> None:
        """A cached object lost a name: pin it while it is open, forget it when nothing is left."""
        victim.touched = True
        try:
            if os.fstat(self.path_fd(victim)).st_nlink:
                return
        except StaleHandle:
            return
        if victim.opens:
            victim.pinned = True
        else:
            self._cache.drop(victim)
            self._gone(victim)

    # Changing attributes.

    def setattr(
        self, node: Node, cred: Credentials, *, mode: int | None = None, uid: int | None = None,
        gid: int | None = None, size: int | None = None, atime_ns: int | None = None,
        mtime_ns: int | None = None, now_atime: bool = False, now_mtime: bool = False, by_open: bool = False,
    ) -> None:  # fmt: skip
        """Set what is given, in the order size, owner, mode, times. See FileSystem.setattr."""
        self._check_writable()
        fd = self.path_fd(node)
        try:
            if size is not None:
                self._set_size(node, fd, cred, size, by_open)
            become(cred)
            if uid is not None or gid is not None:
                attributes.set_owner(fd, uid, gid)
            if mode is not None:
                attributes.set_mode(fd, node.kind, mode)
            if now_atime or now_mtime or atime_ns is not None or mtime_ns is not None:
                self._set_times(node, fd, cred, (atime_ns, now_atime), (mtime_ns, now_mtime))
        finally:
            node.touched = True

    def _set_size(self, node: Node, fd: int, cred: Credentials, size: int, by_open: bool) -> None:
        if not by_open:
            become(cred)
            attributes.set_size(fd, node.kind, size)
            return
        with Busy(node):
            data_fd = self.data_fd(node, True)
            become(cred)
            os.ftruncate(data_fd, attributes.checked_size(size))

    def _set_times(
        self, node: Node, fd: int, cred: Credentials, atime: tuple[int | None, bool],
        mtime: tuple[int | None, bool],
    ) -> None:  # fmt: skip
        try:
            syscalls.change_times(fd, attributes.times_pair(*atime), attributes.times_pair(*mtime))
        except PermissionError:
            # Who may write a file may set one of its times to now; utimensat knows that rule for both only.
            if atime[0] is not None or mtime[0] is not None or not self.access(node, os.W_OK, cred):
                raise
            credentials.as_server()
            syscalls.change_times(fd, attributes.times_pair(*atime), attributes.times_pair(*mtime))

    def getxattr(self, node: Node, name: bytes, cred: Credentials) -> bytes:
        """Return a user extended attribute."""
        fd = self.path_fd(node)
        become(cred)
        return attributes.get_xattr(fd, name)

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int, cred: Credentials) -> None:
        """Set a user extended attribute."""
        self._check_writable()
        fd = self.path_fd(node)
        become(cred)
        attributes.set_xattr(fd, name, value, flags)
        node.touched = True

    def listxattr(self, node: Node, cred: Credentials) -> list[bytes]:
        """Return the names of the user extended attributes."""
        fd = self.path_fd(node)
        become(cred)
        return attributes.list_xattrs(fd)

    def removexattr(self, node: Node, name: bytes, cred: Credentials) -> None:
        """Remove a user extended attribute."""
        self._check_writable()
        fd = self.path_fd(node)
        become(cred)
        attributes.remove_xattr(fd, name)
        node.touched = True

    def _refuse_mount(self, name: bytes) -> OSError:
        """Return the error for a name that leads to another mount, and say so once in the log."""
        if name not in self._foreign and len(self._foreign) < 1000:
            self._foreign.add(name)
            log.warning("export.mount_refused", export=str(self.export.path), file=os.fsdecode(name),
                        why="another file system is mounted there; export it by its own path")  # fmt: skip
        return PermissionError(errno.EACCES, "another file system is mounted there")
