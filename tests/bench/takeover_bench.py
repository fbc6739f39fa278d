"""How long a takeover on one node takes, by the number of opens in the store.

    python -m tests.bench.takeover_bench [--opens 0,10000,100000] [--clients 1000] [--kills 20]

Prints a Markdown table for docs/performance.md. The store is filled beforehand: the opens are spread over the
clients, each with a session of 64 slots of which 8 were used, and every tenth open has a lock. Then the pair is
started, and its active worker is killed with SIGKILL again and again. Medians and worst, in milliseconds:

new conn   from the kill to the first reply on a connection that is opened right after it.
stall      from the last reply that a session's client had before the kill to its next one: it sends GETATTR
           in a tight loop and connects again at once when its connection is reset.
cpu        processor time of the takeover: on a busy machine the others are longer than they need be.
open, load, total   what the server itself says of it (`status`), counted from when the death was noticed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

from nfsd.state import records
from nfsd.state.ids import Instances
from nfsd.state.model import Channel, Client, LockState, OpenState, Session
from nfsd.vfs.interface import Credentials
from statestore import ChangeSet, LmdbStore, RangeSet
from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Connection, mount
from tests.support.client import Session as WireSession
from tests.support.launcher import installed_program
from tests.support.waiting import let_pass, until

SLOTS, SLOTS_USED = 64, 8
REPLY = bytes(200)
HANDLE_SIZE = 44
LOCK_EVERY = 10
SPACING_S = 0.6
REPLY_LIMIT_S = 120.0


def fail(error: BaseException) -> None:
    """A store that cannot be filled ends the benchmark."""
    raise error


def fill(directory: Path, opens: int, clients: int) -> None:
    """Make a store with that many opens of that many clients."""
    store = LmdbStore.open(directory, level="process", on_failure=fail)
    channel = Channel(
        request_size_max=1 << 20, reply_size_max=1 << 20, reply_cached_max=4096, operations_max=64, slots=SLOTS
    )
    instances = Instances.of_new_store(os.urandom)
    caller = Credentials(1000, 1000, (1000,))
    for number in range(clients if opens else 0):
        changes = ChangeSet()
        clientid = 1 << 32 | number + 1
        client = Client(
            clientid=clientid, family=1, owner=b"Linux NFSv4.2 host-%d" % number, verifier=os.urandom(8),
            principal=b"1:0", now=0.0,
        )  # fmt: skip
        client.confirmed = client.reclaim_complete = True
        records.put_client(changes, client)
        session = Session(os.urandom(16), client, flags=0, callback_program=0, fore=channel, back=channel)
        records.put_session(changes, session)
        for used in range(SLOTS_USED):
            slot = session.slot(used)
            slot.seqid, slot.reply = 1, REPLY
            records.put_slot(changes, slot)
        for index in range(opens // clients):
            held = OpenState(
                client, os.urandom(16), os.urandom(HANDLE_SIZE), b"open id:%020d" % index,
                instances.next(changes), caller,
            )  # fmt: skip
            held.access, held.granted, held.seqid, held.access_seen, held.deny_seen = 3, 3, 1, 8, 1
            records.put_open(changes, held)
            if index % LOCK_EVERY == 0:
                lock = LockState(held, b"lock id:%012d" % index, instances.next(changes), RangeSet())
                lock.set(0, 100, True)
                records.put_lock(changes, lock)
        store.commit(changes)
        if number % 10 == 0:
            store.flush()
    store.flush()
    store.close()


class Pair(PairProcess):
    """The supervisor and its two workers, as they are installed, with time to load a large store."""

    program = (installed_program(),)
    start_timeout_s = REPLY_LIMIT_S


def connect(port: int) -> Connection:
    """A connection that waits longer than the longest takeover."""
    connection = Connection(port)
    connection.socket.settimeout(REPLY_LIMIT_S)
    return connection


class Looper(threading.Thread):
    """A client that never rests, and the moments of its replies."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.session: WireSession = mount(connect(port))
        self.replies: list[float] = []
        self.stopped = False

    def run(self) -> None:
        """Ask, and ask again on a new connection where the old one was reset."""
        session = self.session
        while not self.stopped:
            message = session.message(ops.putfh(session.directory), ops.getattr_())
            try:
                session.connection.rpc(message)
            except (EOFError, ConnectionError):
                session.connection.close()
                session.connection = connect(self.port)
                continue
            session.seqids[0] += 1
            self.replies.append(time.monotonic())
            let_pass(0.001, "the client shall not need a processor of its own")

    def stall_after(self, moment: float) -> float:
        """Seconds without a reply around a moment; waits for the reply that ended it."""
        until(lambda: self.replies and self.replies[-1] > moment, "the client is answered again", REPLY_LIMIT_S)
        replies = list(self.replies)
        later = next(index for index, reply in enumerate(replies) if reply > moment)
        # A reply on its way when the kill came is not the new worker's.
        gaps = [after - before for before, after in zip(replies[later - 1 :], replies[later:], strict=False)]
        return max(gaps)


def measure(opens: int, clients: int, kills: int) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "state").mkdir(mode=0o700)
        fill(directory / "state", opens, clients)
        pair = Pair(directory)
        try:
            pair.start()
            pair.settled()
            looper = Looper(pair.port)
            looper.start()
            first, stalls, phases = [], [], []
            for _ in range(kills):
                let_pass(SPACING_S, "deaths in quick succession are put off")
                pid = int(pair.settled()["pid"])
                began = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                while True:
                    # A connection that the dying worker still took is reset; the next one waits for its successor.
                    try:
                        connection = connect(pair.port)
                        connection.null()
                        break
                    except (EOFError, ConnectionResetError):
                        connection.close()
                first.append(time.monotonic() - began)
                connection.close()
                let_pass(0.1, "the client's own connection takes its turn")
                stalls.append(looper.stall_after(began))
                phases.append(pair.settled()["recovery"])
            looper.stopped = True
            looper.join()
            found = pair.settled()
        finally:
            pair.stop()
        processor = [line["processor_s"] for line in pair.events("takeover.done")][1:]
    row = [f"{opens:,}", str(found["clients"]), f"{ms(first)}", f"{ms(stalls)}"]
    return row + [ms([phase[part] for phase in phases]) for part in ("open", "load", "total")] + [ms(processor)]


def ms(seconds: list[float]) -> str:
    """Median and worst, in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.1f} / {max(seconds) * 1000:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opens", default="0,10000,100000")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    chosen = parser.parse_args()
    heads = ["opens", "clients", "new conn", "stall", "open", "load", "total", "cpu"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for opens in map(int, chosen.opens.split(",")):
        print(f"| {' | '.join(measure(opens, chosen.clients, chosen.kills))} |", flush=True)


if __name__ == "__main__":
    main()
