"""A start with `--recovery resume`: how conflicts with holders who have not come back yet are answered."""

from __future__ import annotations

import pytest

from tests.support import operations as ops
from tests.support.client import mount, unique
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4


@pytest.fixture(scope="module")
def patient(make_server: MakeServer) -> ServerProcess:
    """A server that lets requesters wait for holders who have not come back yet."""
    return make_server(settings={"blackout_response": "retry", "blackout_s": 60})


def test_blackout_retry(patient: ServerProcess, connect: Connect) -> None:
    """DELAY until the holder has been heard of, the plain denial afterwards."""
    holder = mount(connect(patient))
    name = unique(b"held")
    opened = holder.open(name, deny=nfs4.OPEN4_SHARE_DENY_WRITE, how=ops.unchecked())
    holder.lock(opened, 0, 10)
    patient.restart()
    other = mount(connect(patient))
    assert other.open_status(name) == nfs4.NFS4ERR_DELAY
    assert other.status(ops.putfh(opened.handle), ops.lockt(5, 1)) == nfs4.NFS4ERR_DELAY
    other.create(unique(b"free"))
    holder.connection = connect(patient)
    holder.ok(ops.putrootfh())
    assert other.open_status(name) == nfs4.NFS4ERR_SHARE_DENIED
    assert other.status(ops.putfh(opened.handle), ops.lockt(5, 1)) == nfs4.NFS4ERR_DENIED


def test_back_channel_down_until_bound(patient: ServerProcess, connect: Connect) -> None:
    """A resumed session that had a back channel says that it is down until a connection is bound to it again."""
    session = mount(connect(patient))
    wanted = nfs4.CREATE_SESSION4_FLAG_CONN_BACK_CHAN
    reply = session.connection.call(ops.create_session(session.clientid, session.create_sequence + 1, flags=wanted))
    assert reply.status == nfs4.NFS4_OK
    session.sessionid = reply.results[0].csr_resok4.csr_sessionid
    session.seqids = [0] * len(session.seqids)
    assert session.call().results[0].sr_resok4.sr_status_flags == 0
    patient.restart()
    session.connection = connect(patient)
    down = nfs4.SEQ4_STATUS_CB_PATH_DOWN_SESSION
    assert session.call().results[0].sr_resok4.sr_status_flags == down
    bind = ops.bind_conn_to_session(session.sessionid, nfs4.CDFC4_FORE_OR_BOTH)
    assert session.connection.call(bind).status == nfs4.NFS4_OK
    assert session.call().results[0].sr_resok4.sr_status_flags == 0
