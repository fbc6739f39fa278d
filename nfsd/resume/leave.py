"""The other end of a turn: what runs is finished before the store and the exports are closed.

Owns how long that waits, and for what it does not.
"""

from __future__ import annotations

from nfsd.apart.tasks import put_aside
from nfsd.log import get_logger
from nfsd.resume.takeover import Taken
from nfsd.rpc.connections import Connections

log = get_logger()

HUNG_S = 1.0
"""A request on a tree that is served apart and has not answered for so long is left to whoever serves next."""


async def finish(connections: Connections, taken: Taken | None, limit_s: float, *, alone: bool) -> None:
    """Accept and read nothing more, and wait for all that runs.  Raises TimeoutError after `limit_s`.

    What hangs on a tree that is served apart is not waited for where this machine serves `alone`: its intent is
    stored, its keeper holds the tree until the call has ended, and the next one on this machine waits for that.
    Another machine could not: there everything has to be finished.
    """
    if taken is None or not taken.engine.puts_aside or not alone:
        await connections.run_dry(limit_s)
        return
    try:
        await connections.run_dry(min(limit_s, HUNG_S))
    except TimeoutError:
        hung = put_aside()
        if not hung:
            raise
        log.warning("request.left", requests=hung, reason="their file system does not answer; the next start asks it")
        taken.engine.services.namespace.leave_apart()
