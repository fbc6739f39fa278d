"""How long objects wait for their holders after a start."""

from collections.abc import Iterator

from statestore import BY_LIFT, BY_OBJECT, Durations, Waiting
from statestore.waiting import SWEEP_COUNT

BEGAN = 1000.0


class Table(Durations):
    """Durations out of two dicts; `read` counts who has been asked what it says itself."""

    def __init__(self, own: dict[bytes, int], by_address: dict[str, int] | None = None) -> None:
        self.own = own
        self.by_address = by_address or {}
        self.read: list[bytes] = []

    def of_object(self, object: bytes) -> int | None:
        self.read.append(object)
        return self.own.get(object)

    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        return (self.by_address[address], "address") if address in self.by_address else (30, "usual")


def test_seconds() -> None:
    """The object's own word counts first, then what is configured; a lifted object waits for nobody."""
    waiting = Waiting(BEGAN, Table({b"own": 5}, {"far": 60}))
    assert waiting.seconds(b"own", "far") == (5, BY_OBJECT)
    assert waiting.seconds(b"silent", "far") == (60, "address")
    assert waiting.seconds(b"silent", "") == (30, "usual")
    assert waiting.until(b"own", "far") == BEGAN + 5
    waiting.lift(b"own")
    assert waiting.seconds(b"own", "far") == (0, BY_LIFT)
    assert waiting.until(b"own", "far") == BEGAN


def test_object_is_asked_once() -> None:
    """What an object says is what it said when it was first asked, however it changes."""
    durations = Table({b"own": 5})
    waiting = Waiting(BEGAN, durations)
    assert waiting.seconds(b"own", "", read=False) == (30, "usual")
    assert durations.read == []
    assert waiting.of_object(b"own") == 5
    durations.own[b"own"] = 0
    assert waiting.seconds(b"own", "", read=False) == waiting.seconds(b"own", "") == (5, BY_OBJECT)
    assert durations.read == [b"own"]


def test_due() -> None:
    """Each object is due once for each of its times, in their order."""
    waiting = Waiting(BEGAN, Table({b"soon": 1, b"late": 9}, {"far": 4}))

    def missing() -> Iterator[tuple[bytes, bytes, str]]:
        yield from ((b"soon", b"holder-1", ""), (b"late", b"holder-1", ""), (b"other", b"holder-2", "far"))

    assert waiting.due(missing, BEGAN) == set()
    assert not waiting.is_over()
    assert waiting.due(missing, BEGAN + 1) == {b"soon"}
    assert waiting.due(missing, BEGAN + 8) == {b"other"}
    assert waiting.due(missing, BEGAN + 9) == {b"late"}
    assert waiting.is_over()
    assert waiting.due(missing, BEGAN + 99) == set()


def test_due_reads_in_portions() -> None:
    """A turn reads what a portion of the objects says, and it is not over before the last has been read."""
    durations = Table({})
    waiting = Waiting(BEGAN, durations)
    objects = [b"%d" % number for number in range(SWEEP_COUNT + 1)]
    missing = [(each, b"holder-1", "") for each in objects]
    assert waiting.due(lambda: missing, BEGAN + 30) == set(objects[:-1])
    assert len(durations.read) == SWEEP_COUNT
    assert not waiting.is_over()
    assert waiting.due(lambda: missing, BEGAN + 30) == {objects[-1]}
    assert waiting.is_over()
