"""What a guest does to itself: mounts, the client's counters, commands. Runs in the guest."""

import os
import subprocess
from pathlib import Path
from typing import Any

OUTPUT_SIZE_MAX = 200_000


def mount(source: str, target: str, options: str) -> None:
    """Mount an NFSv4 export, making the mount point."""
    os.makedirs(target, exist_ok=True)
    command = ["mount", "-t", "nfs4", "-o", options, source, target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40)
    if done.returncode != 0:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")


def unmount(target: str) -> None:
    """Unmount."""
    subprocess.run(["umount", target], check=True, capture_output=True, timeout=40)


def mount_options(target: str) -> dict[str, str]:
    """Return the options of a mount as the kernel lists them (a flag's value is an empty string)."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if where == target and kind == "nfs4":
            pairs = (option.partition("=") for option in options.split(","))
            return {name: value for name, _, value in pairs}
    raise LookupError(f"{target} is not an NFS mount")


def mountstats() -> str:
    """Return the client's counters as text, for mountstats.parse() on the host."""
    return Path("/proc/self/mountstats").read_text()


def shell(command: str, directory: str) -> dict[str, Any]:
    """Run a shell command in a directory; return its exit code and its output, errors included."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return {"code": done.returncode, "output": done.stdout.decode(errors="replace")[-OUTPUT_SIZE_MAX:]}


def drop_caches() -> None:
    """Forget clean cached data, names and inodes, so that what is read next comes from the server."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def show_blocked() -> None:
    """Print the kernel's blocked tasks on the console."""
    Path("/proc/sysrq-trigger").write_text("w\n")


def identity() -> dict[str, Any]:
    """Return who and where the caller is."""
    release = os.uname()
    return {
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "groups": sorted(os.getgroups()),
        "node": release.nodename,
        "kernel": release.release,
        "pid": os.getpid(),
    }


def sleep(seconds: float) -> None:
    """Do nothing for a while; the harness's own tests use it."""
    subprocess.run(["sleep", str(seconds)], check=True)
