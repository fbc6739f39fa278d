"""Resume keys."""

from hashlib import blake2b

from statestore import resume_key

SECRET = bytes(range(32))


def test_resume_key_is_keyed_blake2b() -> None:
    """The definition, written out: it must never change, for keys are on disk and with clients."""
    expected = blake2b(
        b"\0\0\0\x01a\0\0\0\x02bc",
        digest_size=16,
        key=SECRET,
        person=blake2b(b"rfs", digest_size=16).digest(),
    ).digest()
    assert resume_key(SECRET, b"rfs", b"a", b"bc") == expected
    assert resume_key(SECRET, b"rfs", b"a", b"bc").hex() == "58ee3fb6816ba40042e49b96b4587c20"


def test_resume_key_differs() -> None:
    """Another secret, file system, part, or another cut between the parts gives another key."""
    keys = [
        resume_key(SECRET, b"rfs", b"a", b"bc"),
        resume_key(SECRET[::-1], b"rfs", b"a", b"bc"),
        resume_key(SECRET, b"rfs2", b"a", b"bc"),
        resume_key(SECRET, b"rfs\0", b"a", b"bc"),
        resume_key(SECRET, b"rfs" * 20, b"a", b"bc"),
        resume_key(SECRET, b"rfs", b"ab", b"c"),
        resume_key(SECRET, b"rfs", b"abc"),
        resume_key(SECRET, b"rfs", b"abc", b""),
        resume_key(SECRET, b"rfs"),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16}
