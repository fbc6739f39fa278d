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
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def process_tree(pid: int) -> tuple[int, ...]:
    """Return the process and all its descendants, from /proc; without those that are gone."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return tuple(dict.fromkeys(found))


def understudy_program() -> list[str]:
    """Return the installed command of this interpreter, or the module when it is not installed."""
    installed = Path(sys.executable).parent / "understudy"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "nfsd.cli"]


def _wait_until_listening(process: subprocess.Popen[bytes], name: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        ended = process.poll()
        if ended is not None or time.monotonic() > deadline:
            what = f"ended with {ended}" if ended is not None else f"does not listen after {START_LIMIT_S} s"
            tail = log.read_bytes()[-LOG_TAIL_SIZE:].decode(errors="replace") if log.exists() else ""
            raise BenchError(f"{name} {what}; its log ends:\n{tail}")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that was started in a process group of its own; no member of it stays."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
    try:
        _wait_until_listening(process, name, port, log)
        yield Target(f"127.0.0.1:{port}", path, process_tree(process.pid))
    finally:
        _stop(process)


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
    words = understudy_program() + ["serve"]
    words += ["--export", f"{directory / 'export'}=/,insecure,no_root_squash"]
    words += ["--state", str(directory / "state"), "--listen", f"127.0.0.1:{port}"]
    words += ["--no-pair", "--durability", durability, *extra]
    with running("understudy", words, port, "/", directory / "log") as target:
        yield target
