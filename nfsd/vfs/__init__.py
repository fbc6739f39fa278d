"""Files: the file system interface, the real one below it, and the pseudo file system above the exports.

Owns every system call on files. It must not know NFS operations; `nfsd.exports` puts it together.
"""

from nfsd.vfs.credentials import as_server, become
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
    "prepare_process",
]
