"""The process of one flood: `python -m tests.hostile.flooder NAME PORT SECONDS COUNT`; prints what it did, as JSON.

Owns the list of all floods. It is nice, so that the flood is not measured as a lack of processors.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from tests.hostile import floods_clients, floods_state, floods_wire
from tests.hostile.flood import Flood

NICE = 10

CONTROL: type[Flood] = floods_wire.Harmless
FLOODS: tuple[type[Flood], ...] = (
    floods_wire.UnreadReads,
    floods_wire.UnreadTags,
    floods_wire.GiantReaddirs,
    floods_wire.Marks,
    floods_wire.IdleConnections,
    floods_wire.LogStorm,
    floods_clients.ExchangeIds,
    floods_clients.Setclientids,
    floods_clients.ConfirmedClients,
    floods_clients.FullReplyCaches,
    floods_state.LockOwners,
    floods_state.OverlappingLocks,
    floods_state.Opens,
)


def main() -> None:
    """Run one flood to its end."""
    name, port, seconds, count = sys.argv[1:]
    os.nice(NICE)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = next(each for each in (CONTROL, *FLOODS) if each.__name__ == name)(int(port), float(seconds), int(count))
    flood.run()
    print(json.dumps(flood.did))


if __name__ == "__main__":
    main()
