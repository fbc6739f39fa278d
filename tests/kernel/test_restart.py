"""kill -9 of the whole server, and a start by hand: the pause is the restart and at most one reconnect of the client.

    python -m pytest tests/kernel/test_restart.py -s              # with a table

Linux notices at once that its connection is reset and connects again at once; when that is refused, because nobody
listens yet, it waits for RECONNECT_S before it tries again. No server can shorten that wait, other than by having
something that goes on listening (the supervisor, or a service manager that owns the sockets).
"""

import random
import time

from tests.support.waiting import let_pass

from .clients import Client, Site
from .judge import Stress, check_introductions
from .load import ACTIVITIES, DENIED, Load
from .mountstats import MountStats
from .server import UnderstudyServer
from .workloads import locks

# net/sunrpc/clnt.c, call_connect_status(): rpc_delay(task, 3*HZ).
RECONNECT_S = 3.0
QUIET_S = 1.0
# A step under way when the server dies is no part of the quiet time.
GUARD_S = 0.2
LEAD_S = 0.5
# How long the load goes on after the server is back and the client has connected.
AFTER_S = 1.0
# What an activity may stand still beyond what it waits for: a busy machine's own pauses, and requests queued meanwhile.
SLACK_S = 2.0


class Restart:
    """A load, in the midst of which the server is killed and started again; then what it cost."""

    def __init__(self, site: Site, server: UnderstudyServer, *, reconnects: int) -> None:
        self.site = site
        self.holder = site.a.process()
        assert self.holder.call(locks.lock, f"{site.path}/held", locks.FCNTL, True, False, 0, 1)
        before = {client: client.stats() for client in (site.a, site.b)}
        waits_s = reconnects * RECONNECT_S
        load = Load(site, LEAD_S + QUIET_S + 1.0 + waits_s + AFTER_S)
        let_pass(LEAD_S + QUIET_S, "the load is measured while nothing happens")
        killed = time.monotonic()
        server.kill_all()
        server.start()
        self.took_s = time.monotonic() - killed
        load.finish()
        quiet = (killed - QUIET_S, killed - GUARD_S)
        self.pauses_s = {kind: load.longest_gap(kind, killed, killed + 0.1) for kind in (*ACTIVITIES, DENIED)}
        self.quiet_s = {kind: load.longest_gap(kind, *quiet) for kind in self.pauses_s}
        print(
            f"\n{site.version} restart {self.took_s:.3f} s; pauses: "
            + ", ".join(
                f"{kind} {pause:.3f} s ({self.quiet_s[kind]:.3f} s before)" for kind, pause in self.pauses_s.items()
            )
        )
        self.check(before, self.took_s + waits_s)

    def check(self, before: dict[Client, MountStats], longest_s: float) -> None:
        """No pause is longer; nothing is lost and nothing was claimed again, by whatever way."""
        late = {kind: pause for kind, pause in self.pauses_s.items() if pause > longest_s + SLACK_S}
        assert not late, f"longer than {longest_s:.3f} s: {late}"
        check_introductions(before)
        # A client that doubts some of its state tests it; one of 4.0 opens it again without asking for attributes.
        doubt = "TEST_STATEID" if self.site.minor else "OPEN_NOATTR"
        assert not any(client.stats().since(stats)[doubt].operations for client, stats in before.items())
        path = f"{self.site.path}/held"
        assert self.holder.call(locks.holder, path, 0, 1) == "none", "the holder itself is denied"
        rival = self.site.b.process()
        assert not rival.call(locks.lock, path, locks.FCNTL, True, False, 0, 1)
        self.holder.call(locks.unlock, path, locks.FCNTL, 0, 1)
        assert rival.call(locks.lock, path, locks.FCNTL, True, False, 0, 1)


def test_restart_by_hand(site: Site) -> None:
    """Nobody listens for a moment: the restart, and one wait of the client's."""
    Restart(site, site.ours(), reconnects=1)


def test_restart_under_stress(site: Site, seed: int) -> None:
    """Nothing is lost or done twice by a restart either."""
    server = site.ours()
    print(f"\n{site.version}: restart, --seed {seed}")
    work = Stress(site, seed, LEAD_S + RECONNECT_S + 60)
    let_pass(LEAD_S + random.Random(seed).uniform(0.0, 0.5), "the moment of death is a random one")
    server.kill_all()
    server.start()
    let_pass(RECONNECT_S + AFTER_S, "the clients connect again, and work on for a while")
    work.finish()
    work.check()
