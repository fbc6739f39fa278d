"""The supervisor: two worker processes, one active and one warm, and who of them serves.

Owns their lives. When the active one has died, and that is certain, the warm one is told to go on; then a new
warm one is made. Must not know what they serve: what a worker does is a function that it is given, and which
must have been imported, because workers are forks of this process. It has no threads and no event loop.

A worker hears and says JSON objects, one a message, over its channel:

    to it      {"go": {...}}        take over: see `Supervisor._promote`
               {"prepare": true}    be the second, which may look at what the first one serves
               {"warm_pid": PID}    who would take over from it
               {"stop": true}       end in good order
               {"reopen": true}     open the log file again
               {"stand": {...}}     be the node's standby: see `nfsd.failover.group`, as for the next one
               {"let_go": true}     nobody else holds the state directory's lock any more
    from it    {"warm": true}       whatever can be prepared is prepared
               {"serving": {...}}   it serves; how long each phase took, in seconds
               {"beat": true}       its event loop turns
               {"standing": ...}, {"entering": ...}, {"lock": ...}, {"released": ...}, {"left": ...},
               {"hook": ...}
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from nfsd import log as logging_
from nfsd.durable.faults import EXIT_FAULT, EXIT_FENCED
from nfsd.failover import lifeline
from nfsd.failover.service import Notifier
from nfsd.log import get_logger

QUICK_S = 0.25
"""A worker that served for less time than this has died quickly."""
QUICK_DEATHS_FREE = 5
"""Quick deaths in a row that are followed by a takeover at once; then each is waited for twice as long."""
DELAY_MIN_S, DELAY_MAX_S = 0.1, 10.0
WARM_AFTER_S = 0.02
"""How long a new active worker has the processors for itself before the next warm one is made."""
MESSAGE_SIZE_MAX = 64 * 1024
EXIT_FAILED = 1

log = get_logger()


class Worker:
    """One worker process, as the supervisor knows it. `served_since` is None until it serves."""

    __slots__ = ("pid", "pidfd", "channel", "life", "served_since", "prepared", "silent")

    def __init__(self, pid: int, channel: socket.socket, life: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.channel = channel
        self.life = life
        self.served_since: float | None = None
        self.prepared = False
        # Its end of the channel is closed: it is about to end.
        self.silent = False

    def say(self, **message: Any) -> None:
        """Send a message; one that is dead does not hear it, and its end is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.channel.send(json.dumps(message).encode())

    def heard(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The messages that have arrived, each with the descriptors that came with it."""
        messages: list[tuple[dict[str, Any], list[int]]] = []
        with contextlib.suppress(BlockingIOError):
            try:
                while (received := socket.recv_fds(self.channel, MESSAGE_SIZE_MAX, 1))[0]:
                    messages.append((json.loads(received[0]), list(received[1])))
            except ConnectionError:
                received = (b"", [], 0, None)
            self.silent = not received[0]
        return messages

    def close(self) -> None:
        """Close the supervisor's ends."""
        self.channel.close()
        os.close(self.pidfd)
        os.close(self.life)


def delay_after(quick_deaths: int) -> float:
    """Seconds to wait before the next takeover after that many quick deaths in a row."""
    beyond = quick_deaths - QUICK_DEATHS_FREE
    return 0.0 if beyond <= 0 else float(min(DELAY_MAX_S, DELAY_MIN_S * 2 ** min(beyond - 1, 10)))


class Supervisor:
    """Runs `work(channel, lock)` in worker processes; its result is the worker's exit code.

    `lock` is the descriptor of the state directory's lock, -1 while this node does not hold it. `watchdog_s` is
    how soon the service manager gives us up; a sign of life goes out whenever the active worker's event loop has
    turned.
    """

    def __init__(
        self,
        work: Callable[[socket.socket, int], int],
        *,
        lock: int = -1,
        notifier: Notifier,
        watchdog_s: float | None = None,
    ) -> None:
        self._work = work
        self._lock = lock
        self._notifier = notifier
        self._watchdog_s = watchdog_s
        self._active: Worker | None = None
        self._warm: Worker | None = None
        self._warm_at: float | None = None
        self._has_served = False
        self._stopping = False
        self._takeovers = 0
        self._quick_deaths = 0
        self._warm_deaths = 0
        self._wakeup, self._wakeup_write = socket.socketpair()
        self._exit_code: int | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code. A second signal ends everything at once."""
        self._catch_signals()
        self._begin()
        while self._exit_code is None:
            self._turn()
        self._end_warm()
        return self._exit_code

    def _begin(self) -> None:
        """Start the first worker."""
        self._promote(None)

    # -- signals ------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for sock in (self._wakeup, self._wakeup_write):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # The number arrives through the wakeup descriptor; the handler only has to be one.
            signal.signal(number, lambda *_: None)

    def _signalled(self) -> None:
        for number in self._wakeup.recv(64):
            if number == signal.SIGHUP:
                logging_.reopen()
                for worker in self._workers():
                    worker.say(reopen=True)
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop(signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping:
            # The workers go with us.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._stopping = True
        log.info("server.stopping", signal=number.name)
        self._notifier.tell("STOPPING=1", "STATUS=stopping")
        self._end_warm()
        if self._active is not None:
            self._active.say(stop=True)

    # -- what happens -------------------------------------------------------------------------------------

    def _workers(self) -> list[Worker]:
        return [worker for worker in (self._active, self._warm) if worker is not None]

    def _turn(self) -> None:
        """Wait until something happens, and deal with it: signals first, ends last."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        workers = self._workers()
        for worker in workers:
            if not worker.silent:
                poll.register(worker.channel, select.POLLIN)
            poll.register(worker.pidfd, select.POLLIN)
        wait_s = self._patience_s()
        ready = {descriptor for descriptor, _ in poll.poll(None if wait_s is None else wait_s * 1000)}
        noticed = time.monotonic()
        self._woken()
        if self._wakeup.fileno() in ready:
            self._signalled()
        for worker in workers:
            if worker not in self._workers():
                continue  # a signal has made us end it
            if worker.pidfd in ready:
                self._ended(worker, noticed)
            elif worker.channel.fileno() in ready:
                self._hear(worker)
        if self._warm_at is not None and time.monotonic() >= self._warm_at:
            self._make_warm()

    def _patience_s(self) -> float | None:
        """How long to wait if nothing happens; None: for ever."""
        return None if self._warm_at is None else max(0.0, self._warm_at - time.monotonic())

    def _woken(self) -> None:
        """Something has happened, or the patience is over."""

    def _hear(self, worker: Worker) -> None:
        for message, descriptors in worker.heard():
            self._take(worker, message, descriptors)
            if message.get("warm"):
                worker.prepared = True
                self._warm_deaths = 0
            elif "serving" in message and worker is self._active:
                self._serves(worker)
            if worker is self._active and self._watchdog_s is not None and worker.served_since is not None:
                self._notifier.tell("WATCHDOG=1")

    def _take(self, worker: Worker, message: dict[str, Any], descriptors: list[int]) -> None:
        """What else a message says; a descriptor that came with it and is not kept has to be closed."""
        for descriptor in descriptors:
            os.close(descriptor)

    def _serves(self, worker: Worker) -> None:
        worker.served_since = time.monotonic()
        status = f"STATUS=serving, process {worker.pid}, {self._takeovers} takeovers"
        self._notifier.tell(*(() if self._has_served else ("READY=1",)), status)
        self._has_served = True
        if self._warm is None:
            self._warm_at = time.monotonic() + WARM_AFTER_S

    def _ended(self, worker: Worker, noticed: float) -> None:
        """A worker has ended: nothing of it runs any more."""
        self._hear(worker)
        ending = os.waitid(os.P_PIDFD, worker.pidfd, os.WEXITED)
        code = ending.si_status if ending is not None and ending.si_code == os.CLD_EXITED else None
        number = ending.si_status if ending is not None and code is None else None
        worker.close()
        role = "active" if worker is self._active else "warm"
        cause = {"exit_code": code} if number is None else {"signal": signal.Signals(number).name}
        if worker is self._warm:
            self._warm = None
            self._warm_died(worker, cause)
            return
        self._active = None
        if self._stopping:
            self._exit_code = 0 if code == 0 else EXIT_FAILED
            return
        self._replace(worker, code, noticed)
        # Only now: clients wait.
        log.warning("worker.died", role=role, worker_pid=worker.pid, **cause)

    def _replace(self, worker: Worker, code: int | None, noticed: float) -> None:
        """The worker that served has ended, with this exit code or by a signal: let another one serve, or none."""
        if code == EXIT_FENCED:
            self._exit_code = EXIT_FAILED
        elif self._has_served:
            self._count_death(worker)
            self._takeovers += 1
            self._promote(noticed)
        else:
            # It has said why; what is wrong at the first start does not mend by itself.
            self._exit_code = code or EXIT_FAILED

    # -- who serves ---------------------------------------------------------------------------------------

    def _count_death(self, worker: Worker) -> None:
        served = worker.served_since
        quick = served is None or time.monotonic() - served < QUICK_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 0

    def _promote(self, noticed: float | None) -> None:
        """Let the warm worker, or a new one, serve. `noticed`: when the last one's end was (monotonic, s)."""
        delay_s = delay_after(self._quick_deaths)
        worker = self._warm or self._spawn()
        self._active, self._warm, self._warm_at = worker, None, None
        worker.say(
            go={
                "first": noticed is None,
                "noticed": noticed,
                "delay_s": delay_s,
                "takeovers": self._takeovers,
                "supervisor_pid": os.getpid(),
                "beat_s": None if self._watchdog_s is None else self._watchdog_s / 4,
            }
        )
        if delay_s:
            log.error("takeover.delayed", delay_s=delay_s, quick_deaths=self._quick_deaths)
            self._notifier.tell(f"STATUS=workers die quickly, {self._quick_deaths} in a row")

    def _make_warm(self) -> None:
        self._warm_at = None
        if self._stopping or self._warm is not None or self._active is None:
            return
        self._warm = self._spawn()
        self._warm.say(prepare=True)
        self._active.say(warm_pid=self._warm.pid)

    def _warm_died(self, worker: Worker, cause: dict[str, Any]) -> None:
        if self._stopping:
            return
        log.warning("worker.died", role="warm", worker_pid=worker.pid, **cause)
        self._warm_deaths = self._warm_deaths + 1 if not worker.prepared else 0
        delay_s = min(DELAY_MAX_S, DELAY_MIN_S * 2 ** min(self._warm_deaths, 10))
        self._warm_at = time.monotonic() + delay_s
        if self._active is not None:
            self._active.say(warm_pid=None)

    def _end_warm(self) -> None:
        """Kill the warm worker, which holds nothing, and wait for its end."""
        worker, self._warm, self._warm_at = self._warm, None, None
        if worker is not None:
            signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, worker.pidfd, os.WEXITED)
            worker.close()

    def _spawn(self) -> Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        life_read, life_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            supervisor_pid = os.getpid()
            pid = os.fork()
            if not pid:
                self._be_worker(theirs, life_read, (ours.fileno(), life_write), before, supervisor_pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        os.close(life_read)
        return Worker(pid, ours, life_write)

    def _be_worker(
        self,
        channel: socket.socket,
        life: int,
        supervisors_own: tuple[int, ...],
        mask: set[signal.Signals | int],
        supervisor_pid: int,
    ) -> None:
        """The rest of a worker's life; never returns."""
        code = EXIT_FAULT
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            # A terminal sends it to the whole group; the supervisor decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for descriptor in supervisors_own:
                os.close(descriptor)
            for worker in self._workers():
                worker.close()
            self._wakeup.close()
            self._wakeup_write.close()
            lifeline.die_with(supervisor_pid, life)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = self._work(channel, self._lock)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            # Nothing above this frame belongs to a worker.
            traceback.print_exc()
        finally:
            os._exit(code)
