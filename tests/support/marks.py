"""Which marks a test has: by its folder, by its file where a folder has both, and by what it asks for.

Each test is one of unit, process and kernel; root and long are further marks. A unit test starts no process and opens
no connection, which is watched while it runs: a test in the wrong drawer fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
UNIT, PROCESS, KERNEL, ROOT = "unit", "process", "kernel", "root"
KINDS = (UNIT, PROCESS, KERNEL)
# Folders whose tests start servers or other programs, or connect to something.
PROCESS_FOLDERS = frozenset({"failover", "hostile", "kernel", "once", "pair", "soak", "wire"})
# Files that are not what their folder is.
PROCESS_FILES = frozenset({
    "apart/test_hung.py",
    "bench/test_generator.py",
    "cli/test_commands.py",
    "cli/test_control.py",
    "cli/test_metrics.py",
    "cli/test_serve.py",
    "statestore/test_directory.py",
    "statestore/test_kill.py",
    "statestore/test_quarantine.py",
    "statestore/test_upgrades.py",
    "statestore/test_verify.py",
    "support/test_launcher.py",
})  # fmt: skip
# Tests that are not what their file is.
PROCESS_TESTS = frozenset({
    "support/test_turns.py::test_turns_of_a_server",
    "vfs/test_handles.py::test_mount_below_the_export",
    "vfs/test_handles.py::test_read_only_mount",
    "vfs/test_handles.py::test_union_file_system_copy_up",
    "vfs/test_size_limit.py::test_size_limit_of_a_union",
    "vfs/test_table.py::test_ordinary_user",
    "vfs/test_table.py::test_ordinary_user_behind_a_closed_directory",
})  # fmt: skip
UNIT_FILES = frozenset({"failover/test_packets.py", "hostile/test_fuzz.py", "soak/test_ledger.py"})
# The house style asks git and the compiler, which it must not import.
FREE_FOLDERS = frozenset({"style"})
# By these a test says that it needs root.
ROOT_FIXTURES = frozenset({"as_root", "keepalived", "machine", "namespaces", "pacemaker", "small_disk", "systemd"})
KERNEL_FIXTURE = "machine"
# What a parameter begins with that has a process of its own make the system calls.
APART = "apart-"
FORBIDDEN_EVENTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "socket.bind", "socket.connect"})


def kind_of(path: Path, test: str, fixtures: Iterable[str], parameters: Iterable[object] = ()) -> str:
    """Whether a test is unit, process or kernel, by its file, its name, its fixtures' names and their parameters."""
    name = path.relative_to(TESTS).as_posix()
    if KERNEL_FIXTURE in fixtures:
        return KERNEL
    if name in UNIT_FILES:
        return UNIT
    if any(str(parameter).startswith(APART) for parameter in parameters):
        return PROCESS
    if f"{name}::{test}" in PROCESS_TESTS or name in PROCESS_FILES or name.partition("/")[0] in PROCESS_FOLDERS:
        return PROCESS
    return UNIT


def needs_root(fixtures: Iterable[str], parameters: Iterable[object]) -> bool:
    """Whether a test needs root, by its fixtures or by one of their parameters (the kernel's own file handles)."""
    return not ROOT_FIXTURES.isdisjoint(fixtures) or "kernel" in parameters


class Watch:
    """Raises where a unit test starts a process or connects to something; `test` is the one that runs, if any."""

    def __init__(self) -> None:
        self.test: str | None = None

    def install(self) -> None:
        """Begin to watch this process; there is no end to that."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN_EVENTS and self.test is not None:
            raise AssertionError(f"{self.test} is a unit test, and does {event} {arguments!r:.200}")
