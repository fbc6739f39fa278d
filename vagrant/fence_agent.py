#!/usr/bin/env python3
"""The fence device of the virtual machines: powers a node off for the other one, and says so when it is off.

    vagrant/fence_agent.py start | run | stop      # vagrant up starts it

Guests cannot reach the hypervisor, so this runs on the host and listens on the host's address of the machines' network.
One line in: `TOKEN off VICTIM by ASKER`; one line out: `off VICTIM`, or `no: WHY`. One request at a time, and only of
a node that still runs: of two nodes that want each other off, one gets its way. It ends by itself when no machine has
run for some minutes.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vagrant.failover.machines import OFF, Hypervisor, MachineError, directory, hypervisor

ADDRESS, PORT = "192.168.56.1", 7911
NODES = ("nfs-a", "nfs-b")
LINE_SIZE_MAX = 256
READ_TIME_S = 3.0
# How often it looks whether anything runs, and how long it waits for something to.
LOOK_S, LONELY_S = 15.0, 600.0
START_TIME_S = 0.7


def say(text: str) -> None:
    """A line of the agent's own log, with the time in UTC as in the nodes' logs."""
    print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}", flush=True)


def answer(machines: Hypervisor, token: str, line: str) -> str:
    """Do what one line asks for, and say what came of it."""
    words = line.split()
    if len(words) != 5 or not hmac.compare_digest(words[0].encode(), token.encode()):
        return "no: not understood, or not the token"
    _, verb, victim, by, asker = words
    if (verb, by) != ("off", "by") or victim not in NODES or asker not in NODES or victim == asker:
        return "no: `off NODE by OTHER-NODE` is all there is"
    try:
        if machines.state(asker) == OFF:
            # It asked, and was then powered off for the other node, which may serve by now.
            return f"no: {asker} is off itself"
        machines.power_off(victim)
    except MachineError as error:
        return f"no: {error}"
    return f"off {victim}"


class Agent:
    """Listens, and answers one after the other."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The address comes with the machines' network: perhaps only after us.
        self._socket.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        self._socket.bind((ADDRESS, PORT))
        self._socket.listen()
        self._socket.settimeout(LOOK_S)

    def run(self) -> None:
        """Answer until nobody can ask any more."""
        company = time.monotonic()
        say(f"fence agent at {ADDRESS}:{PORT}, process {os.getpid()}")
        while time.monotonic() - company < LONELY_S:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                company = time.monotonic() if self._something_runs() else company
                continue
            with connection:
                try:
                    self._serve(connection)
                except OSError as error:
                    say(f"a node went away: {error}")
        say("no machine runs any more: the end")

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(READ_TIME_S)
        line = connection.recv(LINE_SIZE_MAX).decode("ascii", "replace").strip()
        began = time.monotonic()
        try:
            said = answer(hypervisor(), self._token, line)
        except MachineError as error:
            said = f"no: {error}"
        say(f"asked: {' '.join(line.split()[1:])}; answer after {time.monotonic() - began:.3f} s: {said}")
        connection.sendall(f"{said}\n".encode())

    @staticmethod
    def _something_runs() -> bool:
        try:
            machines = hypervisor()
            return any(machines.state(name) != OFF for name in NODES)
        except MachineError:
            return False


def running() -> int | None:
    """The id of an agent that runs, by its file."""
    try:
        found = int((directory() / "fence-agent.pid").read_text())
        command = Path(f"/proc/{found}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return found if b"fence_agent" in command else None


def start() -> None:
    """Have an agent run in the background."""
    if running() is not None:
        return
    log = directory() / "fence-agent.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "run"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        )  # fmt: skip
    (directory() / "fence-agent.pid").write_text(f"{process.pid}\n")
    # Nobody can connect before the machines' network is there: that it has not ended is all there is to see.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(START_TIME_S)
        sys.exit(f"the fence agent ended at once: see {log}")


def main() -> None:
    """Start, run or stop."""
    word = sys.argv[1] if len(sys.argv) == 2 else ""
    if word == "run":
        Agent((directory() / "token").read_text().strip()).run()
    elif word == "start":
        start()
    elif word == "stop":
        if (found := running()) is not None:
            os.kill(found, signal.SIGTERM)
    else:
        sys.exit("fence_agent.py start | run | stop")


if __name__ == "__main__":
    main()
