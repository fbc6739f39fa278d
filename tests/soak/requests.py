"""Valid requests: every operation of NFSv4.0, 4.1 and 4.2, with handles and stateids that the live server gave.

Owns the templates and how they are put together into compounds that reach deep.  What is done to them afterwards
is `mutations`'.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.support.operations import channel, encoded
from xdr.generated import nfs4

_T = TypeVar("_T")

CHANNEL = channel(operations=32, slots=32)
NAMES = tuple(f"f{number}".encode() for number in range(12)) + tuple(f"d{number}".encode() for number in range(4))
# Names that would lead out of the directory or the export, or that no file system should see.
EVIL_NAMES = (
    b"..", b".", b"", b"/", b"../canary", b"../../canary/secret", b"out/secret", b"out-absolute", b"a\0b", b"\0",
    b"x" * 255, b"x" * 256, b"x" * 4096, b"\xff\xfe\xfd", "\u00e9\u0301".encode(), b"out",
)  # fmt: skip
ATTRIBUTES_ALL = (1 << 83) - 1
_FILE_MODE = (1 << nfs4.FATTR4_MODE, (0o664).to_bytes(4, "big"))
_SPECIAL = (nfs4.stateid4(0, bytes(12)), nfs4.stateid4(0xFFFFFFFF, b"\xff" * 12), nfs4.stateid4(1, bytes(12)))
_TIME = nfs4.nfstime4(1_600_000_000, 999_999_999)


@dataclass(slots=True)
class Material:
    """What a client has got from the server and can use in requests."""

    minor: int
    clientid: int = 0
    confirm: bytes = bytes(8)
    sessionid: bytes = bytes(16)
    create_sequence: int = 1
    owner: bytes = b""
    open_seqid: int = 0
    directories: list[bytes] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    opens: list[nfs4.stateid4] = field(default_factory=list)
    locks: list[nfs4.stateid4] = field(default_factory=list)


def _packed(kind: str, value: object) -> bytes:
    packer = nfs4.Nfs4Packer()
    getattr(packer, f"pack_{kind}")(value)
    return packer.get_buffer()


def settable() -> list[nfs4.fattr4]:
    """Attributes as SETATTR and CREATE take them, one by one and together."""
    hyper = {0, 1, 100, 1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1}
    found = [nfs4.fattr4(1 << nfs4.FATTR4_SIZE, size.to_bytes(8, "big")) for size in sorted(hyper)]
    found += [nfs4.fattr4(1 << nfs4.FATTR4_MODE, mode.to_bytes(4, "big")) for mode in (0, 0o644, 0o6777, 0xFFFFFFFF)]
    for owner in (b"0", b"1000", b"nobody@localdomain", b"", b"4294967295", b"-1"):
        packed = _packed("opaque", owner)
        found += [nfs4.fattr4(1 << bit, packed) for bit in (nfs4.FATTR4_OWNER, nfs4.FATTR4_OWNER_GROUP)]
    client_time = (1).to_bytes(4, "big") + _packed("nfstime4", _TIME)
    for bit in (nfs4.FATTR4_TIME_ACCESS_SET, nfs4.FATTR4_TIME_MODIFY_SET):
        found += [nfs4.fattr4(1 << bit, client_time), nfs4.fattr4(1 << bit, bytes(4))]
    both = 1 << nfs4.FATTR4_SIZE | 1 << nfs4.FATTR4_MODE
    found += [nfs4.fattr4(0, b""), nfs4.fattr4(both, bytes(11) + b"\x64" + (0o600).to_bytes(4, "big"))]
    found += [nfs4.fattr4(1 << nfs4.FATTR4_ACL, bytes(4)), nfs4.fattr4(1 << nfs4.FATTR4_FILEID, bytes(8))]
    found += [nfs4.fattr4(ATTRIBUTES_ALL, bytes(400))]
    return found


def _opens(m: Material, name: Callable[[], bytes], pick: Callable[[int], int]) -> list[bytes]:
    """OPEN with every claim and create mode."""
    owner = nfs4.open_owner4(m.clientid, m.owner)
    mode = nfs4.fattr4(*_FILE_MODE)
    size = nfs4.fattr4(1 << nfs4.FATTR4_SIZE, bytes(8))
    hows = [nfs4.openflag4(nfs4.OPEN4_NOCREATE)]
    for how in (
        nfs4.createhow4(nfs4.UNCHECKED4, createattrs=mode),
        nfs4.createhow4(nfs4.UNCHECKED4, createattrs=size),
        nfs4.createhow4(nfs4.GUARDED4, createattrs=mode),
        nfs4.createhow4(nfs4.EXCLUSIVE4, createverf=bytes([pick(4)]) * 8),
        nfs4.createhow4(nfs4.EXCLUSIVE4_1, ch_createboth=nfs4.creatverfattr(bytes(8), mode)),
    ):
        hows.append(nfs4.openflag4(nfs4.OPEN4_CREATE, how))
    stateid = m.opens[0] if m.opens else _SPECIAL[0]
    claims = [nfs4.open_claim4(nfs4.CLAIM_NULL, file=name()) for _ in hows]
    others = [
        nfs4.open_claim4(nfs4.CLAIM_PREVIOUS, delegate_type=0),
        nfs4.open_claim4(nfs4.CLAIM_DELEGATE_CUR, delegate_cur_info=nfs4.open_claim_delegate_cur4(stateid, name())),
        nfs4.open_claim4(nfs4.CLAIM_DELEGATE_PREV, file_delegate_prev=name()),
        nfs4.open_claim4(nfs4.CLAIM_FH),
        nfs4.open_claim4(nfs4.CLAIM_DELEG_CUR_FH, oc_delegate_stateid=stateid),
        nfs4.open_claim4(nfs4.CLAIM_DELEG_PREV_FH),
    ]
    pairs = [*zip(hows, claims, strict=True), *((hows[0], claim) for claim in others)]
    return [
        encoded("OPEN", nfs4.OPEN4args(m.open_seqid + 1, 1 + pick(3), pick(4), owner, how, claim))
        for how, claim in pairs
    ]


def directory_operations(m: Material, name: Callable[[], bytes], pick: Callable[[int], int]) -> dict[str, list[bytes]]:
    """Operations whose current file handle is a directory."""
    kinds = [
        nfs4.createtype4(nfs4.NF4DIR),
        nfs4.createtype4(nfs4.NF4LNK, linkdata=b"../canary/secret"),
        nfs4.createtype4(nfs4.NF4LNK, linkdata=b"/" + b"y" * 5000),
        nfs4.createtype4(nfs4.NF4FIFO),
        nfs4.createtype4(nfs4.NF4SOCK),
        nfs4.createtype4(nfs4.NF4CHR, devdata=nfs4.specdata4(1, 3)),
        nfs4.createtype4(nfs4.NF4REG),
    ]
    attributes = (0, 1 << nfs4.FATTR4_RDATTR_ERROR, ATTRIBUTES_ALL, 0x0010011A | 0x00B0A23A << 32)
    style = nfs4.Nfs4Packer()
    style.pack_uint(nfs4.OP_SECINFO_NO_NAME)
    style.pack_uint(pick(2))
    return {
        "OPEN": _opens(m, name, pick),
        "LOOKUP": [encoded("LOOKUP", nfs4.LOOKUP4args(name())) for _ in range(3)],
        "LOOKUPP": [encoded("LOOKUPP")],
        "CREATE": [encoded("CREATE", nfs4.CREATE4args(kind, name(), nfs4.fattr4(*_FILE_MODE))) for kind in kinds],
        "REMOVE": [encoded("REMOVE", nfs4.REMOVE4args(name()))],
        "RENAME": [encoded("RENAME", nfs4.RENAME4args(name(), name())) for _ in range(2)],
        "LINK": [encoded("LINK", nfs4.LINK4args(name()))],
        "READDIR": [
            encoded("READDIR", nfs4.READDIR4args(cookie, bytes(8), dircount, maxcount, mask))
            for cookie, dircount, maxcount in ((0, 8192, 32768), (0, 0, 4096), (3, 1, 1), (1 << 63, 0, 0xFFFFFFFF))
            for mask in attributes[:: 1 + pick(2)]
        ],
        "SECINFO": [encoded("SECINFO", nfs4.SECINFO4args(name()))],
        "SECINFO_NO_NAME": [style.get_buffer()],
        "OPENATTR": [encoded("OPENATTR", nfs4.OPENATTR4args(True))],
    }


def file_operations(m: Material, pick: Callable[[int], int]) -> dict[str, list[bytes]]:
    """Operations whose current file handle is a regular file: data, locks and the life of opens."""
    opened = (m.opens or list(_SPECIAL))[0]
    locked = (m.locks or list(_SPECIAL))[0]
    both = (opened, _SPECIAL[0], _SPECIAL[2])
    owner = nfs4.lock_owner4(m.clientid, m.owner + b"-lock%d" % pick(3))
    fresh = nfs4.locker4(True, open_owner=nfs4.open_to_lock_owner4(m.open_seqid + 1, opened, 0, owner))
    known = nfs4.locker4(False, lock_owner=nfs4.exist_lock_owner4(locked, 1))
    ranges = ((0, 10), (5, 1), (100, (1 << 64) - 1), (0, 0), ((1 << 64) - 1, 5), (pick(1000), 1 + pick(50)))
    offsets = (0, pick(4096), 1 << 32, (1 << 63) - 1, (1 << 64) - 1)
    data = bytes([65 + pick(26)]) * (1 << pick(14))
    return {
        "READ": [encoded("READ", nfs4.READ4args(both[pick(3)], at, 1 << pick(22))) for at in offsets],
        "WRITE": [encoded("WRITE", nfs4.WRITE4args(both[pick(2)], at, pick(3), data)) for at in offsets],
        "COMMIT": [encoded("COMMIT", nfs4.COMMIT4args(at, 0xFFFFFFFF)) for at in offsets[::2]],
        "CLOSE": [encoded("CLOSE", nfs4.CLOSE4args(m.open_seqid + 1, opened))],
        "OPEN_CONFIRM": [encoded("OPEN_CONFIRM", nfs4.OPEN_CONFIRM4args(opened, m.open_seqid + 1))],
        "OPEN_DOWNGRADE": [
            encoded("OPEN_DOWNGRADE", nfs4.OPEN_DOWNGRADE4args(opened, m.open_seqid + 1, 1 + pick(3), pick(4)))
        ],
        "LOCK": [
            encoded("LOCK", nfs4.LOCK4args(1 + pick(4), pick(9) == 0, start, length, locker))
            for start, length in ranges
            for locker in (fresh, known)
        ],
        "LOCKT": [encoded("LOCKT", nfs4.LOCKT4args(1 + pick(4), *span, owner)) for span in ranges],
        "LOCKU": [encoded("LOCKU", nfs4.LOCKU4args(1 + pick(4), 1, locked, *span)) for span in ranges],
        "DELEGRETURN": [encoded("DELEGRETURN", nfs4.DELEGRETURN4args(opened))],
    }


def space_operations(m: Material, pick: Callable[[int], int]) -> dict[str, list[bytes]]:
    """NFSv4.2 on a regular file, and extended attributes."""
    a, b = (m.opens or list(_SPECIAL))[0], (m.opens or list(_SPECIAL))[-1]
    spans = ((0, 4096), (pick(9999), 1), ((1 << 64) - 1, 2), (0, 0))
    key = b"key%d" % pick(3)
    net = nfs4.netloc4(nfs4.NL4_NAME, nl_name=b"elsewhere")
    block = nfs4.app_data_block4(0, 512, 4, 0, 0, 0, b"pattern")
    return {
        "ALLOCATE": [encoded("ALLOCATE", nfs4.ALLOCATE4args(a, *span)) for span in spans],
        "DEALLOCATE": [encoded("DEALLOCATE", nfs4.DEALLOCATE4args(a, *span)) for span in spans],
        "SEEK": [encoded("SEEK", nfs4.SEEK4args(a, span[0], pick(3))) for span in spans],
        "IO_ADVISE": [encoded("IO_ADVISE", nfs4.IO_ADVISE4args(a, 0, 0, 1 << pick(16)))],
        "CLONE": [encoded("CLONE", nfs4.CLONE4args(a, b, 0, 4096 * pick(3), span[1])) for span in spans],
        "COPY": [
            encoded("COPY", nfs4.COPY4args(a, b, span[0], pick(5), span[1], True, pick(2) == 0, sources))
            for span in spans
            for sources in ([], [net])[: 1 + (pick(4) == 0)]
        ],
        "READ_PLUS": [encoded("READ_PLUS", nfs4.READ_PLUS4args(a, 0, 4096))],
        "WRITE_SAME": [encoded("WRITE_SAME", nfs4.WRITE_SAME4args(a, 0, block))],
        "COPY_NOTIFY": [encoded("COPY_NOTIFY", nfs4.COPY_NOTIFY4args(a, net))],
        "OFFLOAD_CANCEL": [encoded("OFFLOAD_CANCEL", nfs4.OFFLOAD_CANCEL4args(a))],
        "OFFLOAD_STATUS": [encoded("OFFLOAD_STATUS", nfs4.OFFLOAD_STATUS4args(a))],
        "GETXATTR": [encoded("GETXATTR", nfs4.GETXATTR4args(key))],
        "SETXATTR": [
            encoded("SETXATTR", nfs4.SETXATTR4args(option, name, value))
            for option, name, value in ((0, key, b"v"), (1, b"", b"v"), (2, b"n" * 300, b""), (0, key, b"v" * 70_000))
        ],
        "LISTXATTRS": [encoded("LISTXATTRS", nfs4.LISTXATTRS4args(pick(3), 1 << pick(12)))],
        "REMOVEXATTR": [encoded("REMOVEXATTR", nfs4.REMOVEXATTR4args(key))],
    }


def any_operations(m: Material, pick: Callable[[int], int]) -> dict[str, list[bytes]]:
    """Operations on any object, and those that only move file handles."""
    attributes = settable()
    stateid = (*m.opens, *_SPECIAL)[0]
    masks = (0, 1, ATTRIBUTES_ALL, 1 << nfs4.FATTR4_TIME_MODIFY_SET, 0x0010011A | 0x00B0A23A << 32, 1 << 255)
    return {
        "ACCESS": [encoded("ACCESS", nfs4.ACCESS4args(mask)) for mask in (0, 0x3F, 0xFFFFFFFF)],
        "GETATTR": [encoded("GETATTR", nfs4.GETATTR4args(mask)) for mask in masks],
        "SETATTR": [encoded("SETATTR", nfs4.SETATTR4args(stateid, fattr)) for fattr in attributes],
        "VERIFY": [encoded("VERIFY", nfs4.VERIFY4args(fattr)) for fattr in attributes[::3]],
        "NVERIFY": [encoded("NVERIFY", nfs4.NVERIFY4args(fattr)) for fattr in attributes[1::3]],
        "GETFH": [encoded("GETFH")],
        "SAVEFH": [encoded("SAVEFH")],
        "RESTOREFH": [encoded("RESTOREFH")],
        "READLINK": [encoded("READLINK")],
        "PUTROOTFH": [encoded("PUTROOTFH")],
        "PUTPUBFH": [encoded("PUTPUBFH")],
        "PUTFH": [encoded("PUTFH", nfs4.PUTFH4args(handle)) for handle in (*m.directories, *m.files, *m.others)]
        + [encoded("PUTFH", nfs4.PUTFH4args(handle)) for handle in (b"", bytes(64), b"\x01" * 128)],
        "TEST_STATEID": [encoded("TEST_STATEID", nfs4.TEST_STATEID4args([*m.opens, *m.locks, *_SPECIAL]))],
        "FREE_STATEID": [encoded("FREE_STATEID", nfs4.FREE_STATEID4args(held)) for held in (stateid, *m.locks)],
    }


def client_operations(m: Material, pick: Callable[[int], int]) -> dict[str, list[bytes]]:
    """Clients and sessions; the owners are a client's own, so that what is left behind stays little."""
    owner = m.owner + b"-second"
    none = nfs4.state_protect4_a(nfs4.SP4_NONE)
    ops = nfs4.state_protect_ops4(1 << 53, 1 << 42)
    ssv = nfs4.state_protect4_a(nfs4.SP4_SSV, spa_ssv_parms=nfs4.ssv_sp_parms4(ops, [b"\x60"], [b"\x61"], 4, 1))
    mach = nfs4.state_protect4_a(nfs4.SP4_MACH_CRED, spa_mach_ops=ops)
    who = nfs4.client_owner4(bytes([pick(3)]) * 8, owner)
    sys_cred = nfs4.authsys_parms(0, b"soak", 0, 0, [0, 1])
    security = [nfs4.callback_sec_parms4(1, cbsp_sys_cred=sys_cred), nfs4.callback_sec_parms4(0)]
    tcp = nfs4.netaddr4(b"tcp", b"127.0.0.1.8.1")
    impl = [nfs4.nfs_impl_id4(b"example.org", b"soak", _TIME)]
    odd = nfs4.channel_attrs4(0, 1, 1, 1, 1, 0xFFFFFFFF, [1])
    create = [
        nfs4.CREATE_SESSION4args(m.clientid, m.create_sequence + pick(2), 3, fore, CHANNEL, 0x40000000, security)
        for fore in (CHANNEL, odd)
    ]
    return {
        "EXCHANGE_ID": [
            encoded("EXCHANGE_ID", nfs4.EXCHANGE_ID4args(who, flags, protect, impl[: pick(2)]))
            for flags in (0, nfs4.EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, 0xFFFFFFFF)
            for protect in (none, ssv, mach)
        ],
        "CREATE_SESSION": [encoded("CREATE_SESSION", args) for args in create],
        "DESTROY_SESSION": [encoded("DESTROY_SESSION", nfs4.DESTROY_SESSION4args(bytes([pick(256)]) * 16))],
        "DESTROY_CLIENTID": [encoded("DESTROY_CLIENTID", nfs4.DESTROY_CLIENTID4args(m.clientid))],
        "BIND_CONN_TO_SESSION": [
            encoded("BIND_CONN_TO_SESSION", nfs4.BIND_CONN_TO_SESSION4args(m.sessionid, way, False))
            for way in (1, 2, 3, 7)
        ],
        "BACKCHANNEL_CTL": [encoded("BACKCHANNEL_CTL", nfs4.BACKCHANNEL_CTL4args(0x40000001, security))],
        "RECLAIM_COMPLETE": [encoded("RECLAIM_COMPLETE", nfs4.RECLAIM_COMPLETE4args(pick(2) == 0))],
        "SEQUENCE": [encoded("SEQUENCE", nfs4.SEQUENCE4args(m.sessionid, 1 << pick(32), pick(64), 31, True))],
        "SET_SSV": [encoded("SET_SSV", nfs4.SET_SSV4args(bytes(20), bytes(20)))],
        "SETCLIENTID": [
            encoded(
                "SETCLIENTID",
                nfs4.SETCLIENTID4args(nfs4.nfs_client_id4(bytes([pick(3)]) * 8, owner), nfs4.cb_client4(9, tcp), 1),
            )
        ],
        "SETCLIENTID_CONFIRM": [encoded("SETCLIENTID_CONFIRM", nfs4.SETCLIENTID_CONFIRM4args(m.clientid, m.confirm))],
        "RENEW": [encoded("RENEW", nfs4.RENEW4args(m.clientid))],
        "RELEASE_LOCKOWNER": [
            encoded("RELEASE_LOCKOWNER", nfs4.RELEASE_LOCKOWNER4args(nfs4.lock_owner4(m.clientid, owner)))
        ],
        "DELEGPURGE": [encoded("DELEGPURGE", nfs4.DELEGPURGE4args(m.clientid))],
    }


def layout_operations(m: Material) -> dict[str, list[bytes]]:
    """pNFS and directory delegations, which the server knows and does not offer."""
    held = (*m.opens, *_SPECIAL)[0]
    update = nfs4.layoutupdate4(1, b"body")
    back = nfs4.layoutreturn4(nfs4.LAYOUTRETURN4_FILE, nfs4.layoutreturn_file4(0, 1 << 20, held, b"body"))
    commit = nfs4.LAYOUTCOMMIT4args(
        0, 4096, False, held, nfs4.newoffset4(True, 4095), nfs4.newtime4(True, _TIME), update
    )
    io = nfs4.io_info4(1, 4096)
    stats = nfs4.LAYOUTSTATS4args(0, 4096, held, io, io, bytes(16), update)
    error = nfs4.LAYOUTERROR4args(0, 4096, held, [nfs4.device_error4(bytes(16), 5, nfs4.OP_READ)])
    return {
        "LAYOUTGET": [encoded("LAYOUTGET", nfs4.LAYOUTGET4args(False, 1, 1, 0, 1 << 20, 4096, held, 4096))],
        "LAYOUTCOMMIT": [encoded("LAYOUTCOMMIT", commit)],
        "LAYOUTRETURN": [encoded("LAYOUTRETURN", nfs4.LAYOUTRETURN4args(False, 1, 3, back))],
        "LAYOUTSTATS": [encoded("LAYOUTSTATS", stats)],
        "LAYOUTERROR": [encoded("LAYOUTERROR", error)],
        "GETDEVICEINFO": [encoded("GETDEVICEINFO", nfs4.GETDEVICEINFO4args(bytes(16), 1, 4096, 6))],
        "GETDEVICELIST": [encoded("GETDEVICELIST", nfs4.GETDEVICELIST4args(1, 16, 0, bytes(8)))],
        "WANT_DELEGATION": [encoded("WANT_DELEGATION", nfs4.WANT_DELEGATION4args(1, nfs4.deleg_claim4(nfs4.CLAIM_FH)))],
        "GET_DIR_DELEGATION": [
            encoded("GET_DIR_DELEGATION", nfs4.GET_DIR_DELEGATION4args(False, 1, _TIME, _TIME, 1, 1))
        ],
    }


class Composer:
    """Puts operations together: the file handle that they need first, then what uses it.

    The operations are encoded once for each `Material`; `compose` only chooses.
    """

    def __init__(self, material: Material, rng: random.Random) -> None:
        self.material = material
        self._random = rng.random
        pick = rng.randrange

        def name() -> bytes:
            draw = rng.random()
            if draw < 0.4:
                return b"n%d" % pick(64)
            return rng.choice(NAMES if draw < 0.85 else EVIL_NAMES)

        self._directory = directory_operations(material, name, pick)
        self._file = file_operations(material, pick) | (space_operations(material, pick) if material.minor > 1 else {})
        self._any = any_operations(material, pick)
        self._client = client_operations(material, pick)
        self.families: tuple[dict[str, list[bytes]], ...]
        self.families = (self._directory, self._file, self._any, self._client, layout_operations(material))
        if material.minor < 2:
            self.families += (space_operations(material, pick),)
        # By families first, so that a rare family is not drowned by one with many variants.
        self._all = [[form for forms in family.values() for form in forms] for family in self.families]
        self._by_name = [list(family.values()) for family in self.families]
        self._directories = [encoded("PUTFH", nfs4.PUTFH4args(handle)) for handle in material.directories]
        self._files = [encoded("PUTFH", nfs4.PUTFH4args(handle)) for handle in material.files]
        self._save = encoded("SAVEFH")
        self._pairs = self._with_two_handles()

    def _with_two_handles(self) -> list[tuple[list[bytes], list[bytes]]]:
        """Requests that need a saved handle: what comes before, and the operations to choose from."""
        top, first, last = self._directories[0], self._files[0], self._files[-1]
        found = [
            ([first, self._save, top], self._directory["LINK"]),
            ([top, self._save], self._directory["RENAME"]),
        ]
        if self.material.minor > 1:
            found += [([first, self._save, last], self._file[name]) for name in ("COPY", "CLONE")]
        return found

    def _one(self, choices: list[_T]) -> _T:
        return choices[int(self._random() * len(choices))]

    def _of(self, family: int) -> bytes:
        names = self._by_name[family]
        return self._one(names[int(self._random() * len(names))])

    def anything(self) -> bytes:
        """An operation of any family."""
        return self._one(self._all[int(self._random() * len(self._all))])

    def compose(self) -> list[bytes]:
        """The operations of one request, without SEQUENCE."""
        draw = self._random()
        if draw < 0.40:
            # The stateids are of the first and the last file.
            operations = [self._files[0] if draw < 0.3 else self._one(self._files), self._of(1)]
            if draw < 0.12:
                operations += [self._of(1), self._of(2)]
        elif draw < 0.70:
            operations = [self._one(self._directories), self._of(0)]
            if draw > 0.60:
                operations += [self._of(2), self._of(2)]
        elif draw < 0.80:
            before, choices = self._one(self._pairs)
            operations = [*before, self._one(choices)]
        elif draw < 0.90:
            operations = [self._one(self._files if draw < 0.85 else self._directories), self._of(2), self._of(2)]
        elif draw < 0.95:
            operations = [self._of(3)]
        else:
            operations = [self.anything() for _ in range(1 + int(self._random() * 8))]
        return operations
