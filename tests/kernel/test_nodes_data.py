"""What was written and not committed when the node that serves is lost: the client has to write it again.

Both nodes of the lab share one kernel, whose page cache survives a node's death; so the test itself takes away what
the dead node had not been asked to commit.
"""

import os
from pathlib import Path

import pytest

from .clients import Site
from .cluster import Service
from .incidents import befall, restore
from .server import WORK
from .workloads import data, system, unstable

SIZE = 4 << 20
EAGER = "/run/nfs/eager"


def lose(path: Path) -> None:
    """Have a file's content be what it was before the client wrote: zeros that had been committed."""
    with path.open("r+b") as file:
        file.write(bytes(SIZE))
        os.fsync(file.fileno())


@pytest.mark.parametrize("kind", ["node off", "process killed"])
def test_unstable_data(nodes_site: Site, service: Service, seed: int, kind: str) -> None:
    """Lost with the node, it is written again before fsync returns; kept by the node's kernel, it is not."""
    site, lost = nodes_site, kind == "node off"
    host = site.host / "data"
    host.write_bytes(bytes(SIZE))
    # Otherwise Linux asks for everything to be committed as soon as it is written.
    site.a.mount_at(WORK, EAGER, ",write=eager")
    path = f"{EAGER}/{site.host.name}/data"
    before = site.a.stats(EAGER)
    writer = site.a.process()
    writer.call(unstable.write, path, seed, SIZE)
    sent = site.a.stats(EAGER).since(before)
    assert sent["WRITE"].operations and not sent["COMMIT"].operations, sent.used()
    if lost:
        node = service.cluster.active(service.group)
        node.power_off()
        lose(host)
        other = service.cluster.other(node)
        assert other.role(service.group) != "active", "the data was taken away too late to show anything"
        service.cluster.wait_role(other, service.group, "active")
    else:
        incident = befall(service, kind)
    between = site.a.stats(EAGER)
    writer.call(unstable.commit, path, timeout_s=60)
    again = site.a.stats(EAGER).since(between)
    print(f"\n{site.version} {kind}: sent {sent['WRITE'].operations} WRITEs, then {again['WRITE'].operations} again")
    assert again["COMMIT"].operations
    assert (again["WRITE"].sent >= SIZE) == lost, again.used()
    assert host.read_bytes() == unstable.content(seed, SIZE)
    assert site.b.call(data.digest, f"{site.path}/data") == site.a.call(data.digest, path)
    site.a.call(system.unmount, EAGER)
    if lost:
        service.cluster.restore()
    else:
        restore(service, incident)
