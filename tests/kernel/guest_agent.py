"""The guest's process 1: runs the host's calls in processes of their own and sends back what they returned.

Owns the line protocol on the guest's end of the wire (JSON, one object a line, over a raw terminal) and the
guest's processes. It must not know what the workloads do, and it must not block: a process stuck in the
kernel on a dead server must not keep others from being served.
Standard library only; it runs in the guest with the host's interpreter.
"""

import importlib
import json
import os
import selectors
import signal
import sys
import time
import traceback
import tty
from pathlib import Path
from typing import Any

POWER_OFF = 0x4321FEDC
REPLY_SIZE_MAX = 4 << 20
WORKLOADS = "/run/code/workloads"


class Lines:
    """Splits what arrives on a descriptor into JSON objects."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.rest = b""

    def read(self) -> list[dict[str, Any]] | None:
        """Return the objects that arrived, or None at the end of the stream."""
        data = os.read(self.fd, 65536)
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]


def write_line(fd: int, message: dict[str, Any]) -> None:
    """Write one object as one line, however often the descriptor takes only a part."""
    data = memoryview(json.dumps(message).encode() + b"\n")
    while data:
        data = data[os.write(fd, data) :]


def evaluate(request: dict[str, Any]) -> dict[str, Any]:
    """Call the workload's function and describe its result or its exception."""
    reply: dict[str, Any] = {"process": request["process"], "call": request["call"]}
    try:
        module = importlib.import_module(request["module"])
        reply["value"] = getattr(module, request["function"])(*request["args"])
        if len(json.dumps(reply)) > REPLY_SIZE_MAX:
            raise ValueError(f"the result of {request['function']} is too large to send")
    except BaseException as error:
        reply.pop("value", None)
        reply["error"] = {
            "type": type(error).__name__,
            "errno": getattr(error, "errno", None),
            "text": traceback.format_exc()[-8000:],
        }
    return reply


def work(requests: int, replies: int, user: list[Any]) -> None:
    """Be one process of the guest: take on its user, then serve its calls in order until the pipe ends."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    uid, gid, groups = user
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(0o022)
    lines = Lines(requests)
    while (batch := lines.read()) is not None:
        for request in batch:
            write_line(replies, evaluate(request))


class Process:
    """A process of the guest and the calls it has not answered yet, each with its deadline."""

    def __init__(self, number: int, user: list[Any], inherited: list[int]) -> None:
        self.number = number
        self.calls: dict[int, float] = {}
        request_read, self.requests = os.pipe()
        reply_read, reply_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in [*inherited, self.requests, reply_read]:
                os.close(fd)
            try:
                work(request_read, reply_write, user)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        os.close(request_read)
        os.close(reply_write)
        self.replies = Lines(reply_read)

    def kill(self) -> None:
        """Kill the process and what it started."""
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Agent:
    """Relays between the host and the processes."""

    def __init__(self, terminal: int) -> None:
        self.host = Lines(terminal)
        self.processes: dict[int, Process] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(terminal, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Serve until the host says halt or is gone."""
        write_line(self.host.fd, {"ready": True})
        while True:
            for key, _ in self.selector.select(self.patience()):
                if key.data is not None:
                    self.relay(key.data)
                elif not self.obey():
                    return
            self.expire()
            self.reap()

    def obey(self) -> bool:
        """Take the host's requests; False when the guest has to stop."""
        batch = self.host.read()
        for request in [{"halt": True}] if batch is None else batch:
            if "halt" in request:
                return False
            if "kill" in request:
                self.forget(request["process"])
                continue
            process = self.processes.get(request["process"]) or self.begin(request)
            process.calls[request["call"]] = time.monotonic() + request["timeout"]
            try:
                write_line(process.requests, request)
            except BrokenPipeError:
                continue  # The end of its replies tells the host.
        return True

    def begin(self, request: dict[str, Any]) -> Process:
        """Start the process that a request names for the first time."""
        inherited = [self.host.fd, self.selector.fileno()]
        for process in self.processes.values():
            inherited += [process.requests, process.replies.fd]
        process = Process(request["process"], request["user"], inherited)
        self.processes[process.number] = process
        self.selector.register(process.replies.fd, selectors.EVENT_READ, process)
        return process

    def relay(self, process: Process) -> None:
        """Send a process's replies to the host."""
        batch = process.replies.read()
        if batch is None:
            for call in process.calls:
                error = {"type": "ProcessDied", "errno": None, "text": "the process ended before it answered"}
                write_line(self.host.fd, {"process": process.number, "call": call, "error": error})
            self.forget(process.number)
            return
        for reply in batch:
            process.calls.pop(reply["call"], None)
            write_line(self.host.fd, reply)

    def forget(self, number: int) -> None:
        """Kill a process and drop it."""
        process = self.processes.pop(number, None)
        if process is not None:
            process.kill()
            self.selector.unregister(process.replies.fd)
            os.close(process.replies.fd)
            os.close(process.requests)

    def patience(self) -> float:
        """Seconds until the next deadline."""
        deadlines = [at for process in self.processes.values() for at in process.calls.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else 5.0

    def expire(self) -> None:
        """Kill the processes that have exceeded their time, and tell the host."""
        now = time.monotonic()
        for process in list(self.processes.values()):
            late = [call for call, at in process.calls.items() if at <= now]
            if late:
                self.forget(process.number)
            for call in late:
                write_line(self.host.fd, {"process": process.number, "call": call, "timeout": True})

    def reap(self) -> None:
        """Collect dead processes, orphans included."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return


def power_off() -> None:
    """Stop the guest at once, without waiting for mounts whose server may be gone."""
    import ctypes

    ctypes.CDLL(None).reboot(POWER_OFF)


def import_workloads() -> None:
    """Import every workload now: processes of other users may not be allowed to read the library."""
    sys.path.insert(0, WORKLOADS)
    for path in sorted(Path(WORKLOADS).glob("[a-z]*.py")):
        importlib.import_module(path.stem)


def main() -> None:
    """Open the terminal that the host talks on and serve it."""
    terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(terminal)
    try:
        import_workloads()
        Agent(terminal).serve()
    except BaseException:
        traceback.print_exc()
    power_off()


if __name__ == "__main__":
    main()
