"""Files: the file system interface, this machine's below it, one in memory, and the pseudo one above the exports.

Owns every system call on files. It must not know NFS operations; `nfsd.exports` puts it together.
"""

from nfsd.vfs.credentials import as_server, become, leave
from nfsd.vfs.interface import BadCookie, BadHandle, Credentials, FileSystem, Node, StaleHandle
from nfsd.vfs.process import prepare_process

__all__ = [
    "BadCookie",
    "BadHandle",
    "Credentials",
    "FileSystem",
    "Node",
    "StaleHandle",
    "as_server",
    "become",
    "leave",
    "prepare_process",
]
