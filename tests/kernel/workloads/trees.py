"""Many files at once: manifests, large directories, listings. Runs in the guest; the host imports it too."""

import hashlib
import os
import stat
from pathlib import Path


def describe(path: str) -> list[object]:
    """Return one file's type, permissions, size and content, in JSON."""
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    mode = stat.S_IMODE(status.st_mode)
    if kind == stat.S_IFLNK:
        return ["link", os.readlink(path)]
    if kind == stat.S_IFDIR:
        return ["directory", mode]
    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    return ["file", mode, status.st_size, int(status.st_mtime), status.st_nlink, digest]


def manifest(root: str) -> dict[str, list[object]]:
    """Return what is below a directory, by relative name."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = describe(path)
    return found


def create_files(directory: str, prefix: str, count: int) -> None:
    """Create empty files PREFIX00000 and on."""
    os.makedirs(directory, exist_ok=True)
    for number in range(count):
        os.close(os.open(f"{directory}/{prefix}{number:05}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def listing_problems(directory: str, prefix: str, count: int) -> list[str]:
    """Return in which names a listing differs from what create_files() made: lost, strange or doubled."""
    expected = {f"{prefix}{number:05}" for number in range(count)}
    names = os.listdir(directory)
    listed = set(names)
    problems = [f"lost {name}" for name in sorted(expected - listed)]
    problems += [f"strange {name}" for name in sorted(listed - expected)]
    if len(names) != len(listed):
        problems.append(f"{len(names) - len(listed)} names listed twice")
    return problems[:20]


def remove_all(directory: str) -> int:
    """Remove every file and then the directory; return how many files there were."""
    names = os.listdir(directory)
    for name in names:
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)
    return len(names)


_listings: dict[str, tuple[object, list[str]]] = {}


def begin_listing(directory: str, count: int) -> int:
    """Open a directory and take the first entries; finish_listing() goes on from there."""
    entries = os.scandir(directory)
    _listings[directory] = (entries, [next(entries).name for _ in range(count)])
    return count


def finish_listing(directory: str) -> list[str]:
    """Return every name that the listing begun before has seen."""
    entries, names = _listings.pop(directory)
    names += [entry.name for entry in entries]  # type: ignore[attr-defined]
    entries.close()  # type: ignore[attr-defined]
    return names


def remove_every(directory: str, prefix: str, count: int, step: int) -> list[str]:
    """Remove each step-th of the files that create_files() made; return their names."""
    names = [f"{prefix}{number:05}" for number in range(0, count, step)]
    for name in names:
        os.unlink(f"{directory}/{name}")
    return names
