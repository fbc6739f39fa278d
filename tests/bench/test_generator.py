"""Tests of the load generator's command line and of how it meets a server that misbehaves."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import click
import pytest

from tests.bench.__main__ import choose
from tests.bench.generator import Load, Target, build, command, workloads

LOAD = Load(seconds=0.1, warmup=0, connections=None, slots=None, share="client", one_owner=False, minor=1)


@pytest.fixture(scope="module")
def program() -> Path:
    """The compiled generator."""
    if not (shutil.which("make") and shutil.which("cc")):
        pytest.skip("apt install make gcc libc6-dev")
    return build()


def run_against(program: Path, reply: bytes) -> subprocess.CompletedProcess[str]:
    """Run the generator against a server that answers each call with its xid and `reply`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                xid = peer.recv(65536)[4:8]
                peer.sendall(struct.pack(">I", 0x80000000 | 4 + len(reply)) + xid + reply)
                while peer.recv(65536):
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        target = Target(f"127.0.0.1:{listener.getsockname()[1]}", "/", ())
        words = command(program, "null", target, LOAD)
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        thread.join(5)
    return done


def accepted(*words: int) -> bytes:
    """An accepted reply, from the message type to the words given after the accept status."""
    return struct.pack(f">{5 + len(words)}I", 1, 0, 0, 0, 0, *words)


def test_error_names_operation_and_status(program: Path) -> None:
    """An operation's error ends the run with its name and the status's."""
    done = run_against(program, accepted(10013 + 5, 0, 1, 42, 10018))
    assert done.returncode == 1
    assert "EXCHANGE_ID failed with NFS4ERR_RESOURCE" in done.stderr


def test_rpc_error_is_told(program: Path) -> None:
    """A call that the RPC layer refuses ends the run: PROG_UNAVAIL, and a denied one."""
    assert "accept_stat 1" in run_against(program, struct.pack(">5I", 1, 0, 0, 0, 1)).stderr
    assert "denied" in run_against(program, struct.pack(">4I", 1, 1, 1, 5)).stderr


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (accepted(0, 0, 1, 42, 0), "ends within a result"),
        (accepted(0, 0, 0, 7), "left over"),
        (accepted(0, 0, 0), "0 results for 1 operations"),
    ],
)
def test_malformed_reply_is_told(program: Path, reply: bytes, message: str) -> None:
    """Truncated, too long and incomplete replies end the run."""
    done = run_against(program, reply)
    assert done.returncode == 1
    assert message in done.stderr


def test_connection_refused_is_told(program: Path) -> None:
    """A server that is not there is told by its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        words = command(program, "null", Target(address, "/", ()), LOAD)
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert address in done.stderr


def test_wrong_usage(program: Path) -> None:
    """An unknown workload and a number out of range are wrong usage, exit code 2."""
    for words in (["--workload", "nothing"], ["--slots", "257"], ["--address", "nowhere"], []):
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 2
        assert "usage:" in done.stderr


def test_command_shape_follows_workload(program: Path) -> None:
    """Reads and writes use one connection and 8 slots, all else two and 16, unless told otherwise."""
    target = Target("h:1", "/", (3, 4))
    assert "--connections 2 --slots 16" in " ".join(command(program, "getattr", target, LOAD))
    assert "--connections 1 --slots 8" in " ".join(command(program, "write_1m_sync", target, LOAD))
    assert "--server-pid 3,4" in " ".join(command(program, "null", target, LOAD))


def test_choose_names_and_prefixes(program: Path) -> None:
    """Names keep their order and come once; an unknown one is wrong usage."""
    known = workloads(program)
    assert choose(known, None) == known
    assert choose(known, "null,open*,open_close") == ["null", "open_close", "open_close_linux"]
    with pytest.raises(click.UsageError):
        choose(known, "getatr")
