"""The command line `understudy`.

Owns the words an administrator types, the exit codes (0 done, 1 failed, 2 wrong usage), and the tables.
Must not hold any rule of the server: it builds a Config, or asks a running server over its control socket.
"""

from nfsd.cli.main import main

__all__ = ["main"]
