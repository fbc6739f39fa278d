"""The lab's power switch: takes a node off the network and kills everything that runs on it, as a real one would.

    fence_node.py NODES.json [NODE]      # without NODE: the other one than the one that asks (UNDERSTUDY_NODE)

Owns what "off" means: no packet leaves any more, not even those by which a dying process's connections end, and
nothing runs. Exit code 0 says that this is certain, 1 that it is not (or that NODES.refuses exists). NODES.json names
each node's network namespace, the process that only holds that open, and the cable with the bridge that it is plugged
into. Standard library only; a node's daemon runs it as its fence, so that its time is a part of the takeover.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

SIOCBRDELIF = 0x89A3
CLONE_NEWNET = 0x40000000
LIMIT_S = 5.0


def pull_out(namespace: str, bridge: str, cable: str) -> None:
    """Take a node's cable out of the bridge in a network namespace. Changes the calling process's own namespace.

    The node's interface stays up, so that nothing on the node reacts while it is being killed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            fcntl.ioctl(asking, SIOCBRDELIF, struct.pack("16si20x", bridge.encode(), socket.if_nametoindex(cable)))
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is not in the bridge
                raise


def processes(namespace: str, holder: int) -> list[int]:
    """Ids of the processes in a network namespace, but for its holder and this one."""
    wanted = os.stat(namespace)
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (holder, os.getpid()):
            try:
                about = os.stat(f"/proc/{name}/ns/net")
            except OSError:
                continue  # it has ended
            if (about.st_dev, about.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(name))
    return found


def kill_all(namespace: str, holder: int) -> list[int]:
    """Kill what runs in a namespace, and what that makes meanwhile, until nothing does; what was killed.

    Raises:
        TimeoutError: something still lives after LIMIT_S.
    """
    end = time.monotonic() + LIMIT_S
    killed: list[int] = []
    while left := processes(namespace, holder):
        if time.monotonic() > end:
            raise TimeoutError(f"still alive: {left}")
        endings = []
        for pid in left:
            try:
                endings.append(os.pidfd_open(pid))
                signal.pidfd_send_signal(endings[-1], signal.SIGKILL)
            except ProcessLookupError:
                continue
        for ending in endings:
            waiting = select.poll()
            waiting.register(ending, select.POLLIN)
            waiting.poll(max(0.0, end - time.monotonic()) * 1000)
            os.close(ending)
        killed += left
    return killed


def main(arguments: list[str]) -> int:
    """Switch the node off and say so in NODES.log."""
    began = time.time()
    nodes = json.loads(Path(arguments[0]).read_text())
    asking = os.environ.get("UNDERSTUDY_NODE", "")
    name = arguments[1] if len(arguments) > 1 else next(other for other in nodes if other != asking)
    node = nodes[name]
    if Path(arguments[0]).with_suffix(".refuses").exists():
        print(f"{name}: the switch does not answer", file=sys.stderr)
        return 1
    try:
        pull_out(node["bridge_namespace"], node["bridge"], node["cable"])
        killed = kill_all(node["namespace"], node["holder"])
    except (OSError, TimeoutError) as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 1
    line = {"ts": began, "node": name, "asked_by": asking, "killed": killed, "seconds": time.time() - began}
    with Path(arguments[0]).with_suffix(".log").open("a") as log:
        log.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
