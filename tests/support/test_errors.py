"""The check of the errors that no test brings about: it finds each, and each name that is not needed."""

from __future__ import annotations

import pytest

from tests.support.errors import NAMED, Site, all_sites, named, problems, room_of, rooms, sites_in

SOURCE = """
def outer(a):
    if a:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "one")
    def inner():
        return errors.Nfs4Error(
            nfs4.NFS4ERR_STALE,
            "two",
        )
    raise Nfs4Error(nfs4.NFS4ERR_INVAL, "three")

class Thing:
    def method(self, status):
        return [Nfs4Error(status)]
"""
SITES = [
    Site("outer NFS4ERR_INVAL", "f", 4),
    Site("outer.inner NFS4ERR_STALE", "f", 6),
    Site("outer NFS4ERR_INVAL#2", "f", 10),
    Site("Thing.method status", "f", 14),
]


def test_sites_in() -> None:
    """Each call is a site, by function and status, with a number where that is not enough."""
    assert list(sites_in(SOURCE, "f")) == SITES


def test_problems() -> None:
    """What was executed or is named is none; what is neither, or named for nothing, is."""
    all_lines = {"f": {4, 6, 10, 14}}
    assert problems(SITES, all_lines, {}) == []
    assert problems(SITES, {"f": {4, 6, 14}}, {"outer NFS4ERR_INVAL#2": "why"}) == []
    assert problems(SITES, {"f": {4, 6, 14}}, {}) == ["f:10 outer NFS4ERR_INVAL#2: no test"]
    assert problems(SITES, all_lines, {"outer NFS4ERR_INVAL": "why"}) == ["outer NFS4ERR_INVAL: named, but covered"]
    assert problems(SITES, all_lines, {"nobody NFS4ERR_IO": "why"}) == ["nobody NFS4ERR_IO: named, but gone"]


def test_named() -> None:
    """A line is a name and a reason; a reason is wanted."""
    assert named("# text\n\na B: c: d\n") == {"a B": "c: d"}
    with pytest.raises(ValueError, match="no reason"):
        named("a B:\n")


def test_rooms() -> None:
    """Figures are added up by room."""
    assert [room_of(name) for name in ("xdr/codec.py", "nfsd/ops/open.py", "nfsd/rpc.py")] == [
        "xdr",
        "nfsd/ops",
        "nfsd/rpc",
    ]
    summary = {"summary": {"num_statements": 4, "covered_lines": 1}}
    empty = {"summary": {"num_statements": 0, "covered_lines": 0}}
    assert rooms({"xdr/a.py": summary, "xdr/b.py": summary, "nfsd/c.py": empty}) == [
        "xdr                       8 statements,      2 executed,  25.0 %"
    ]


def test_named_sites_exist() -> None:
    """What is named as not covered is there; whether it still is not covered, `make coverage` says."""
    known = {site.name for site in all_sites()}
    assert not [name for name in named(NAMED.read_text(encoding="utf-8")) if name not in known]
    assert len(known) > 100
