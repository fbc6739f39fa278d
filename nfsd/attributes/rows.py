"""The attributes this server knows: one row each.

Owns number, name, first minor version, wire format, where the value comes from and how it is
set.  It must not know requests: `nfsd.attributes.encode` compiles rows into encoders.

A row's value is one expression for each field of its `struct` format, over these names:
`node`, `fs` (the node's file system), `st` (os.stat_result), `sv` (os.statvfs_result), `born`
(birth time in ns), `c` (the environment: `c.minor`, `c.lease_time_s`), and the helpers
in `encode.HELPERS`.  Expressions, not functions, because fifteen calls a GETATTR would cost more
than everything else it does.
"""

from dataclasses import dataclass

from nfsd.attributes.settable import DECODERS, Decoder
from xdr.generated import nfs4

# Read and write sizes offered (LINUX-CLIENT notes: 1 MiB is what clients ask for).
IO_SIZE_MAX = 1 << 20
# The smallest bound among the kernel's file systems that have one: the real limit shows as MLINK.
LINKS_MAX = 255

MINOR_VERSIONS = (0, 1, 2)

STAT, STATFS, BTIME, NODE, EXPORT, CONSTANT = "stat", "statfs", "btime", "node", "export", "constant"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One FATTR4 attribute.

    `format` is the big-endian struct format of the value, or "" where its length varies and the
    single expression gives the encoded bytes.  `values` is empty for write-only attributes.
    `needs` names the dearest source read.  `shape` tells a verifier how to step over the value:
    "fixed", "opaque" or "bitmap".
    """

    number: int
    name: str
    minor: int
    needs: str
    format: str
    values: tuple[str, ...]
    shape: str = "fixed"

    @property
    def readable(self) -> bool:
        """Whether GETATTR may ask for it (RFC 8881 5.5)."""
        return bool(self.values)

    @property
    def decode(self) -> Decoder | None:
        """The decoder of a value a client sets, None for read-only attributes."""
        return DECODERS.get(self.number)


def _row(number: int, minor: int, needs: str, format: str, *values: str, shape: str = "fixed") -> Attribute:
    name = nfs4_name(number)
    return Attribute(number, name, minor, needs, format, values, shape)


def nfs4_name(number: int) -> str:
    """The RFC's name of an attribute number in lower case, without its prefix."""
    return _NAMES[number]


_NAMES = {
    value: name[len("FATTR4_") :].lower()
    for name, value in vars(nfs4).items()
    if name.startswith("FATTR4_") and isinstance(value, int)
}


def _time(source: str) -> tuple[str, str]:
    return f"(t := {source}) // 1000000000", "t % 1000000000"


_ROWS = (
    _row(nfs4.FATTR4_SUPPORTED_ATTRS, 0, CONSTANT, "", "SUPPORTED_BITMAPS[c.minor]", shape="bitmap"),
    _row(nfs4.FATTR4_TYPE, 0, STAT, "I", "TYPE_OF[st.st_mode >> 12]"),
    _row(nfs4.FATTR4_FH_EXPIRE_TYPE, 0, CONSTANT, "I", "0"),
    _row(nfs4.FATTR4_CHANGE, 0, STAT, "Q", "fs.change(node, st)"),
    _row(nfs4.FATTR4_SIZE, 0, STAT, "Q", "st.st_size"),
    _row(nfs4.FATTR4_LINK_SUPPORT, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_SYMLINK_SUPPORT, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_NAMED_ATTR, 0, CONSTANT, "I", "0"),
    _row(nfs4.FATTR4_FSID, 0, NODE, "QQ", "fs.fsid[0]", "fs.fsid[1]"),
    _row(nfs4.FATTR4_UNIQUE_HANDLES, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_LEASE_TIME, 0, CONSTANT, "I", "c.lease_time_s"),
    _row(nfs4.FATTR4_RDATTR_ERROR, 0, CONSTANT, "I", "0"),
    _row(nfs4.FATTR4_ACLSUPPORT, 0, CONSTANT, "I", "0"),
    _row(nfs4.FATTR4_CANSETTIME, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_CASE_INSENSITIVE, 0, CONSTANT, "I", "0"),
    _row(nfs4.FATTR4_CASE_PRESERVING, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_CHOWN_RESTRICTED, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_FILEHANDLE, 0, NODE, "", "opaque(node.handle)", shape="opaque"),
    _row(nfs4.FATTR4_FILEID, 0, STAT, "Q", "fs.fileid(node, st)"),
    _row(nfs4.FATTR4_FILES_AVAIL, 0, STATFS, "Q", "sv.f_favail"),
    _row(nfs4.FATTR4_FILES_FREE, 0, STATFS, "Q", "sv.f_ffree"),
    _row(nfs4.FATTR4_FILES_TOTAL, 0, STATFS, "Q", "sv.f_files"),
    _row(nfs4.FATTR4_HOMOGENEOUS, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_MAXFILESIZE, 0, EXPORT, "Q", "fs.file_size_max"),
    _row(nfs4.FATTR4_MAXLINK, 0, CONSTANT, "I", str(LINKS_MAX)),
    _row(nfs4.FATTR4_MAXNAME, 0, EXPORT, "I", "fs.maxname"),
    _row(nfs4.FATTR4_MAXREAD, 0, CONSTANT, "Q", str(IO_SIZE_MAX)),
    _row(nfs4.FATTR4_MAXWRITE, 0, CONSTANT, "Q", str(IO_SIZE_MAX)),
    _row(nfs4.FATTR4_MODE, 0, STAT, "I", "st.st_mode & 0o7777"),
    _row(nfs4.FATTR4_NO_TRUNC, 0, CONSTANT, "I", "1"),
    _row(nfs4.FATTR4_NUMLINKS, 0, STAT, "I", "max(st.st_nlink - node.pinned, 0)"),
    _row(nfs4.FATTR4_OWNER, 0, STAT, "", "OWNERS[st.st_uid]", shape="opaque"),
    _row(nfs4.FATTR4_OWNER_GROUP, 0, STAT, "", "OWNERS[st.st_gid]", shape="opaque"),
    _row(nfs4.FATTR4_RAWDEV, 0, STAT, "II", "major(d) if (d := st.st_rdev) else 0", "minor(d) if d else 0"),
    _row(nfs4.FATTR4_SPACE_AVAIL, 0, STATFS, "Q", "sv.f_bavail * sv.f_frsize"),
    _row(nfs4.FATTR4_SPACE_FREE, 0, STATFS, "Q", "sv.f_bfree * sv.f_frsize"),
    _row(nfs4.FATTR4_SPACE_TOTAL, 0, STATFS, "Q", "sv.f_blocks * sv.f_frsize"),
    _row(nfs4.FATTR4_SPACE_USED, 0, STAT, "Q", "st.st_blocks << 9"),
    _row(nfs4.FATTR4_TIME_ACCESS, 0, STAT, "qI", *_time("st.st_atime_ns")),
    _row(nfs4.FATTR4_TIME_ACCESS_SET, 0, CONSTANT, ""),
    _row(nfs4.FATTR4_TIME_CREATE, 0, BTIME, "qI", *_time("born")),
    _row(nfs4.FATTR4_TIME_DELTA, 0, CONSTANT, "qI", "0", "1"),
    _row(nfs4.FATTR4_TIME_METADATA, 0, STAT, "qI", *_time("st.st_ctime_ns")),
    _row(nfs4.FATTR4_TIME_MODIFY, 0, STAT, "qI", *_time("st.st_mtime_ns")),
    _row(nfs4.FATTR4_TIME_MODIFY_SET, 0, CONSTANT, ""),
    _row(nfs4.FATTR4_MOUNTED_ON_FILEID, 0, STAT, "Q", "fs.mounted_on_fileid(node, st)"),
    _row(nfs4.FATTR4_MODE_SET_MASKED, 1, CONSTANT, ""),
    _row(nfs4.FATTR4_SUPPATTR_EXCLCREAT, 1, CONSTANT, "", "EXCLCREAT_BITMAPS[c.minor]", shape="bitmap"),
    _row(nfs4.FATTR4_CLONE_BLKSIZE, 2, STATFS, "I", "sv.f_bsize & 0xFFFFFFFF"),
    _row(nfs4.FATTR4_CHANGE_ATTR_TYPE, 2, CONSTANT, "I", str(nfs4.NFS4_CHANGE_TYPE_IS_TIME_METADATA)),
    _row(nfs4.FATTR4_MODE_UMASK, 2, CONSTANT, ""),
    _row(nfs4.FATTR4_XATTR_SUPPORT, 2, EXPORT, "I", "1 if fs.has_xattrs else 0"),
)

ATTRIBUTES: dict[int, Attribute] = {row.number: row for row in _ROWS}


def _masks(rows: list[Attribute]) -> tuple[int, ...]:
    return tuple(sum(1 << row.number for row in rows if row.minor <= minor) for minor in MINOR_VERSIONS)


# Indexed by minor version: every attribute offered, those a client may set, those it may only set.
SUPPORTED = _masks(list(_ROWS))
SETTABLE = _masks([row for row in _ROWS if row.decode is not None])
WRITE_ONLY = _masks([row for row in _ROWS if not row.readable])

# An exclusive create keeps its verifier in the times until the client sets them (RFC 8881 5.8.1.14).
_VERIFIER_KEPT_IN = 1 << nfs4.FATTR4_TIME_ACCESS_SET | 1 << nfs4.FATTR4_TIME_MODIFY_SET
EXCLCREAT = tuple(mask & ~_VERIFIER_KEPT_IN for mask in SETTABLE)
