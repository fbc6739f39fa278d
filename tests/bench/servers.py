"""Starts and stops the servers that are measured, natively, on loopback.

Owns their command lines, configuration and temporary directories; must not know workloads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.launcher import installed_program
from tests.support.processes import Child, free_port, tail
from tests.support.waiting import until

from .generator import BenchError, Target

START_LIMIT_S = 30
STOP_LIMIT_S = 10
POLL_S = 0.05
LOG_TAIL_SIZE = 2000

GANESHA_CONFIG = """\
NFS_CORE_PARAM {{
    Protocols = 4;
    NFS_Port = {port};
    Bind_addr = 127.0.0.1;
    Enable_NLM = false;
    Enable_RQUOTA = false;
}}
NFSv4 {{
    Minor_Versions = 0,1,2;
    RecoveryBackend = fs;
    RecoveryRoot = "{state}";
    Graceless = true;
}}
EXPORT {{
    Export_Id = 1;
    Path = {export};
    Pseudo = {pseudo};
    Access_Type = RW;
    Squash = none;
    SecType = sys,none;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = WARN; }}
"""
GANESHA_PSEUDO = "/export"


def process_tree(pid: int) -> tuple[int, ...]:
    """Return the process and all its descendants, from /proc; without those that are gone."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return tuple(dict.fromkeys(found))


def _wait_until_listening(server: Child, port: int) -> None:
    """Wait until a connection is taken.  Raises BenchError if none is, with the end of the server's log."""

    def taken() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return not server.alive()

    def silence() -> str:
        return f"{server.name} listens; its log ends:\n{tail(server.output, LOG_TAIL_SIZE)}"

    until(taken, silence, START_LIMIT_S, POLL_S, BenchError)
    if not server.alive():
        raise BenchError(
            f"{server.name} ended with {server.wait()}; its log ends:\n{tail(server.output, LOG_TAIL_SIZE)}"
        )


@contextlib.contextmanager
def running(name: str, words: Sequence[str], port: int, path: str, log: Path) -> Iterator[Target]:
    """Run a server that listens on `port` while the context lasts. Raises BenchError if it does not start."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Child(name, process, log)
    try:
        _wait_until_listening(server, port)
        yield Target(f"127.0.0.1:{port}", path, process_tree(server.pid))
    finally:
        server.stop(STOP_LIMIT_S)
        server.signal_group(signal.SIGKILL)


@contextlib.contextmanager
def ganesha(directory: Path) -> Iterator[Target]:
    """Run Debian's nfs-ganesha on `directory` while the context lasts.

    It needs neither rpcbind, D-Bus nor Kerberos; it logs that they are missing and serves.

    Raises:
        BenchError: it is not installed or does not start.
    """
    program = shutil.which("ganesha.nfsd", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin")
    if program is None:
        raise BenchError("ganesha.nfsd is missing: apt install nfs-ganesha nfs-ganesha-vfs, or --peer none")
    port = free_port()
    for part in ("export", "state"):
        (directory / part).mkdir(parents=True)
    config = directory / "ganesha.conf"
    config.write_text(
        GANESHA_CONFIG.format(port=port, state=directory / "state", export=directory / "export", pseudo=GANESHA_PSEUDO)
    )
    log = directory / "log"
    words = [program, "-F", "-L", str(log), "-f", str(config), "-p", str(directory / "pid")]
    with running("nfs-ganesha", words, port, GANESHA_PSEUDO, log) as target:
        yield target


@contextlib.contextmanager
def understudy(directory: Path, durability: str, extra: Sequence[str] = ()) -> Iterator[Target]:
    """Run this repository's server on `directory` while the context lasts.

    Raises:
        BenchError: it does not start.
    """
    port = free_port()
    (directory / "export").mkdir(parents=True)
    words = [installed_program(), "serve"]
    words += ["--export", f"{directory / 'export'}=/,insecure,no_root_squash"]
    words += ["--state", str(directory / "state"), "--listen", f"127.0.0.1:{port}"]
    words += ["--no-pair", "--durability", durability, *extra]
    with running("understudy", words, port, "/", directory / "log") as target:
        yield target
