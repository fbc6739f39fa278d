"""Looking at a state directory from outside: is every record sound, does every reference lead somewhere.

Owns the check and the listing. What refers to what is given as rules; the ones below follow from how keys are
built from other keys. It must not change anything, and works beside a running server.

The engine trusts the pages of its file: a damaged one can end the process that reads it by a signal. So the check
runs in a process of its own.
"""

import faulthandler
import os
import pickle
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from statestore.directory import DATA_NAME
from statestore.errors import StoreDamaged
from statestore.kinds import HOLDER, OPEN, OWNER, QUARANTINE, RANGE, SLOT, STREAM, kind_name
from statestore.lmdbstore import OWN_PREFIX, open_readonly
from statestore.model import HOLDER_KEY_SIZE
from statestore.quarantine import decode_kept
from statestore.records import FRAME_SIZE, NEWEST, Damage, decode_record, refuse_newer
from statestore.upgrades import Upgrades, upgraded

Describe = Callable[[bytes, bytes], Mapping[str, Any]]
"""Turns a record's key and value into the fields that a listing shows."""

STREAM_KEY_SIZE: Final = 16
OPEN_KEY_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Reference:
    """The rule that each record of `kind` names an existing record of kind `target`.

    `target_key` finds its key in (key, value); None says that this record refers to nothing.
    """

    kind: int
    target: int
    target_key: Callable[[bytes, bytes], bytes | None]


REFERENCES: Final[Sequence[Reference]] = (
    Reference(STREAM, HOLDER, lambda key, value: value[:HOLDER_KEY_SIZE]),
    Reference(SLOT, STREAM, lambda key, value: key[:STREAM_KEY_SIZE]),
    Reference(OWNER, HOLDER, lambda key, value: key[:HOLDER_KEY_SIZE]),
    Reference(OPEN, HOLDER, lambda key, value: value[:HOLDER_KEY_SIZE]),
    Reference(RANGE, OPEN, lambda key, value: key[:OPEN_KEY_SIZE]),
)


@dataclass(frozen=True, slots=True)
class Dangling:
    """A record that refers to one that is not there."""

    kind: int
    key: bytes
    target: int
    target_key: bytes

    def __str__(self) -> str:
        return (
            f"{kind_name(self.kind)} {self.key.hex()}: refers to {kind_name(self.target)}"
            f" {self.target_key.hex()}, which does not exist"
        )


@dataclass(slots=True)
class Report:
    """What `verify` found. `counts` has the sound records by kind name."""

    directory: Path
    epoch: int
    file_size: int
    counts: dict[str, int] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    dangling: list[Dangling] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if nothing is damaged and nothing dangles."""
        return not self.damaged and not self.dangling

    def problems(self) -> list[str]:
        """Return one line for each problem."""
        return [str(problem) for problem in (*self.damaged, *self.dangling)]


def verify(directory: Path, references: Sequence[Reference] = REFERENCES) -> Report:
    """Check the frame, version and checksum of every record, and every reference.

    Forks. Raises StoreMissing, StoreNewer, and StoreDamaged when the file as a whole cannot be read.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(write_end, lambda: _verify(directory, references))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise StoreDamaged(
            f"{Path(directory) / DATA_NAME} has damaged pages: reading them ended in {name}; restore a backup"
        )
    found: Report | BaseException = pickle.loads(answer)
    if isinstance(found, BaseException):
        raise found
    return found


def _answer(descriptor: int, work: Callable[[], Report]) -> NoReturn:
    """In the forked process: write what `work` returns or raises, and end."""
    faulthandler.disable()  # A signal is what the parent looks for, and no news for the terminal.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = pickle.dumps(work())
    except BaseException as error:
        answer = pickle.dumps(error)
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(answer)
    os._exit(0)


def _verify(directory: Path, references: Sequence[Reference]) -> Report:
    keys: dict[int, set[bytes]] = {}
    wanted: list[Dangling] = []
    rules: dict[int, list[Reference]] = {}
    for rule in references:
        rules.setdefault(rule.kind, []).append(rule)
    with open_readonly(directory) as reader:
        report = Report(Path(directory), reader.epoch, reader.file_size())
        for stored_key, stored_value in reader.stored():
            value = decode_record(stored_key, stored_value)
            if isinstance(value, Damage):
                refuse_newer(value, directory)
                report.damaged.append(value)
                continue
            kind, key = stored_key[0], stored_key[1:]
            name = kind_name(kind)
            report.counts[name] = report.counts.get(name, 0) + 1
            keys.setdefault(kind, set()).add(key)
            for rule in rules.get(kind, ()):
                target_key = rule.target_key(key, value)
                if target_key is not None:
                    wanted.append(Dangling(kind, key, rule.target, target_key))
    report.dangling = [link for link in wanted if link.target_key not in keys.get(link.target, ())]
    return report


def dump(
    directory: Path, describe: Mapping[int, Describe] | None = None, upgrades: Upgrades | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready dict for each record, in order: kind, key, then the described fields or the value.

    Bytes are hexadecimal. A kind that has had several versions shows the record's `version`. `describe` is given
    values as `upgrades` make them; without `upgrades`, as they are stored. A damaged record, or one that a converter
    or `describe` refuses with a ValueError, says so under `damaged`. Raises as `verify` does, and StoreError where
    the converter of an older record is missing.
    """
    describers = {QUARANTINE: _describe_kept, **(describe or {})}
    with open_readonly(directory) as reader:
        for stored_key, stored_value in reader.stored():
            value = decode_record(stored_key, stored_value)
            kind, key = (stored_key[0], stored_key[1:]) if stored_key else (0, b"")
            line: dict[str, Any] = {"kind": kind_name(kind), "key": key.hex()}
            if NEWEST.get(kind, 1) > 1 and stored_value:
                line["version"] = stored_value[0]
            if isinstance(value, Damage):
                line |= {"damaged": value.reason, "stored": stored_value.hex()}
            elif key.startswith(OWN_PREFIX):
                line |= {"name": key.decode("ascii", "replace"), "number": int.from_bytes(value, "big")}
            elif kind in describers:
                try:
                    newest = value if upgrades is None else upgraded(kind, key, value, stored_value[0], upgrades)
                    line |= describers[kind](key, newest)
                except ValueError as error:
                    line |= {"damaged": f"the value cannot be read: {error}", "value": value.hex()}
            else:
                line |= {"size": len(stored_value) - FRAME_SIZE, "value": value.hex()}
            yield line


def _describe_kept(key: bytes, value: bytes) -> dict[str, Any]:
    """Return what is said of a record that was put aside. Raises ValueError."""
    kept = decode_kept(key, value)
    when = datetime.fromtimestamp(kept.when_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    stored_key = kept.stored_key
    return {
        "was": kind_name(stored_key[0]) if stored_key else "",
        "was_key": stored_key[1:].hex(),
        "epoch": kept.epoch,
        "when": when,
        "reason": kept.reason,
        "stored": kept.stored_value.hex(),
    }
