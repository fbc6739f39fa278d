"""Work that goes on while the server dies, again and again, and notices every wrong answer. Runs in the guest.

Each function works until a file appears that tells it to stop, but no longer than `seconds`. A wrong answer does not
end it: it is counted by what was asked and how that failed, e.g. "link EEXIST", and the work goes on as if the answer
had been the right one, so that one fault is counted once. Must not know the server, nor when it dies.
"""

import errno
import fcntl
import hashlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

EXAMPLES_MAX = 10
KEPT_FILES = 20
FILE_SIZE_MAX = 64 * 1024
NAME_INTERVAL_S = 0.01
HOLD_INTERVAL_S = 0.02
COMMITS_BETWEEN_CHECKS = 10
GIT_TIMEOUT_S = 60
DENIED = (errno.EAGAIN, errno.EACCES)
FIELD = "{:010} {:1} {:3}"
_held: dict[str, int] = {}


class Tally:
    """What was done, and what of it went wrong."""

    def __init__(self) -> None:
        self.steps = 0
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []

    def problem(self, kind: str, example: str) -> None:
        """Count something that must not happen."""
        self.problems[kind] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{time.time():.3f} {kind}: {example}")

    def do(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what has to succeed; None if it did not."""
        try:
            return function(*arguments)
        except OSError as error:
            self.problem(f"{what} {errno.errorcode.get(error.errno or 0, error.errno)}", str(error))
            return None

    def expect(self, what: str, found: object, expected: object) -> None:
        """Compare what was found."""
        if found != expected:
            self.problem(what, f"{found!r} instead of {expected!r}")

    def result(self, **more: Any) -> dict[str, Any]:
        """What the host gets."""
        return {"steps": self.steps, "problems": dict(self.problems), "examples": self.examples, **more}


def until(stop: str, seconds: float) -> Iterator[int]:
    """Count from 0 until the file appears, or for so many seconds."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and not os.path.exists(stop):
        yield number
        number += 1


# -- files ----------------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    """Tell contents apart."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def files(directory: str, seed: int, stop: str, seconds: float) -> dict[str, Any]:
    """Create, write, fsync, rename, link, unlink, stat and read; returns also what is left, by name."""
    tally = Tally()
    rng = random.Random(seed)
    kept: dict[str, str] = {}
    os.mkdir(directory)
    for number in until(stop, seconds):
        data = rng.randbytes(rng.randrange(1, FILE_SIZE_MAX))
        # Every fourth one replaces a file.
        name = rng.choice(list(kept)) if kept and number % 4 == 3 else f"file{number}"
        _make_file(tally, f"{directory}/file{number}.new", data)
        tally.do("rename", os.rename, f"{directory}/file{number}.new", f"{directory}/{name}")
        kept[name] = digest(data)
        _check_links(tally, f"{directory}/{name}", len(data))
        _check_content(tally, f"{directory}/{name}", kept[name])
        if number % 4 == 0:
            _make_others(tally, f"{directory}/other{number}")
        if len(kept) > KEPT_FILES:
            _remove_file(tally, directory, rng.choice(list(kept)), kept)
        tally.steps += 1
    return tally.result(files=kept)


def _make_file(tally: Tally, path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    fd = tally.do("create", os.open, path, flags | os.O_EXCL, 0o644)
    if fd is None:
        fd = os.open(path, flags, 0o644)
    with os.fdopen(fd, "wb", buffering=0) as file:
        tally.expect("write", tally.do("write", file.write, data), len(data))
        tally.do("fsync", os.fsync, fd)


def _check_links(tally: Tally, path: str, size: int) -> None:
    """A second name, and not any more."""
    tally.do("link", os.link, path, f"{path}.also")
    status = tally.do("stat", os.stat, path)
    if status is not None:
        tally.expect("link count", status.st_nlink, 2)
        tally.expect("size", status.st_size, size)
    tally.do("unlink", os.unlink, f"{path}.also")
    status = tally.do("stat", os.stat, path)
    if status is not None:
        tally.expect("link count", status.st_nlink, 1)


def _check_content(tally: Tally, path: str, expected: str) -> None:
    """Read from the server, not from the cache."""
    fd = tally.do("open", os.open, path, os.O_RDONLY)
    if fd is None:
        return
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        data = tally.do("read", os.pread, fd, FILE_SIZE_MAX, 0)
        if data is not None:
            tally.expect("content", digest(data), expected)
    finally:
        tally.do("close", os.close, fd)


def _make_others(tally: Tally, path: str) -> None:
    """A directory and a symbolic link come and go."""
    tally.do("mkdir", os.mkdir, path)
    tally.do("symlink", os.symlink, "nowhere", f"{path}/link")
    tally.expect("link text", tally.do("readlink", os.readlink, f"{path}/link"), "nowhere")
    tally.do("chmod", os.chmod, path, 0o700)
    tally.do("unlink", os.unlink, f"{path}/link")
    tally.do("rmdir", os.rmdir, path)


def _remove_file(tally: Tally, directory: str, name: str, kept: dict[str, str]) -> None:
    path = f"{directory}/{name}"
    _check_content(tally, path, kept.pop(name))
    tally.do("unlink", os.unlink, path)
    tally.expect("exists after unlink", os.path.exists(path), False)


# -- git ------------------------------------------------------------------------------------------------------


def _run_git(directory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git with no configuration but ours."""
    environment = dict(os.environ, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "Test", f"GIT_{who}_EMAIL": "test@example.org"}
    return subprocess.run(
        ["git", "-c", "gc.auto=0", "-c", "safe.directory=*", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
    )


def _git(tally: Tally, directory: str, *arguments: str) -> str | None:
    """Run git; None if it failed. What it leaves behind when it fails must not make the next one fail."""
    done = _run_git(directory, *arguments)
    if done.returncode == 0:
        return done.stdout
    texts = {"File exists": "EEXIST", "No such file": "ENOENT", "Stale": "ESTALE", "Input/output": "EIO"}
    kind = next((name for text, name in texts.items() if text in done.stderr), str(done.returncode))
    tally.problem(f"git {arguments[0]} {kind}", done.stderr[-500:])
    for name in ("index.lock", "HEAD.lock", "refs/heads/main.lock"):
        if os.path.exists(f"{directory}/.git/{name}"):
            os.unlink(f"{directory}/.git/{name}")
    return None


def count_commits(tally: Tally, directory: str) -> int | None:
    """Count the commits of the branch: 0 if none was made yet, None (and a problem) if git cannot tell.

    A branch exists from its first commit on: before that git's revisions fail as if something were broken.
    """
    listed = _run_git(directory, "for-each-ref", "refs/heads/")
    # It says nothing where there is no branch; of one that it cannot read it complains, though without failing.
    if listed.returncode == 0 and not listed.stdout and not listed.stderr:
        return 0
    counted = _git(tally, directory, "rev-list", "--count", "HEAD")
    return None if counted is None else int(counted)


def check_repository(tally: Tally, directory: str, commits: int) -> None:
    """The repository is sound, has so many commits, and nothing lies beside them."""
    _git(tally, directory, "fsck", "--full", "--strict")
    tally.expect("commits", count_commits(tally, directory), commits)
    tally.expect("status", _git(tally, directory, "status", "--porcelain"), "")


def _append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def init_repository(tally: Tally, directory: str) -> None:
    """Make a directory with an empty repository."""
    os.mkdir(directory)
    _git(tally, directory, "init", "-q", "-b", "main")


def commit(tally: Tally, directory: str, number: int) -> bool:
    """Commit what has changed; whether git says that it did."""
    if _git(tally, directory, "add", "-A") is None:
        return False
    return _git(tally, directory, "commit", "-q", "-m", f"change {number}") is not None


def git(directory: str, seed: int, stop: str, seconds: float) -> dict[str, Any]:
    """Commit changes to files, with a check of the whole repository now and then and at the end."""
    tally = Tally()
    rng = random.Random(seed)
    commits = 0
    init_repository(tally, directory)
    for number in until(stop, seconds):
        tally.do("append", _append, f"{directory}/text{rng.randrange(10)}", f"change {number} {rng.random()}\n")
        commits += commit(tally, directory, number)
        if number % COMMITS_BETWEEN_CHECKS == COMMITS_BETWEEN_CHECKS - 1:
            _git(tally, directory, "fsck", "--full", "--strict")
        tally.steps += 1
    check_repository(tally, directory, commits)
    return tally.result(commits=commits)


# -- exclusive creation -----------------------------------------------------------------------------------------


def claim(directory: str, author: str, start: float, stop: str, seconds: float) -> dict[str, Any]:
    """Create 0, 1, 2 ... exclusively, each at its moment after `start` (wall clock, s), racing with another client.

    Returns also which were won; all others below `tried` were answered with EEXIST or a counted problem.
    """
    tally = Tally()
    won: list[int] = []
    for number in until(stop, seconds):
        time.sleep(max(0.0, start + number * NAME_INTERVAL_S - time.time()))
        tally.steps += 1
        try:
            fd = os.open(f"{directory}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            continue
        except OSError as error:
            tally.problem(f"create {errno.errorcode.get(error.errno or 0, error.errno)}", str(error))
            continue
        tally.do("write", os.write, fd, author.encode())
        tally.do("close", os.close, fd)
        won.append(number)
    return tally.result(won=won, tried=tally.steps)


# -- locks ------------------------------------------------------------------------------------------------------


def _lock(tally: Tally, fd: int) -> bool:
    """Lock exclusively by asking again soon; False if that failed otherwise than by being denied."""
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in DENIED:
                tally.problem(f"lock {errno.errorcode.get(error.errno or 0, error.errno)}", str(error))
                return False
        time.sleep(random.uniform(0.001, 0.01))


def count(path: str, author: str, stop: str, seconds: float) -> dict[str, Any]:
    """Add one to the number in a file, each time under a lock, and say in the file who is in there.

    Whoever finds somebody else in there has been granted a lock that conflicts.
    """
    tally = Tally()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in until(stop, seconds):
        if not _lock(tally, fd):
            continue
        text = os.pread(fd, 64, 0).decode()
        number, state, who = text.split() if text else ("0", "-", "-")
        if state != "-":
            tally.problem("conflicting grant", f"{who} is in there: {text}")
        for state in "+-":
            tally.do("write", os.pwrite, fd, FIELD.format(int(number) + 1, state, author).encode(), 0)
            tally.do("fsync", os.fsync, fd)
        tally.do("unlock", fcntl.lockf, fd, fcntl.LOCK_UN)
        tally.steps += 1
        time.sleep(random.uniform(0.0, 0.005))
    os.close(fd)
    return tally.result()


def hold(path: str, stop: str, seconds: float) -> dict[str, Any]:
    """Hold a lock all the time, and write under it; it is still held on return."""
    tally = Tally()
    fd = _held[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for number in until(stop, seconds):
        tally.do("write", os.pwrite, fd, f"{number:010}".encode(), 0)
        tally.do("fsync", os.fsync, fd)
        tally.steps += 1
        time.sleep(HOLD_INTERVAL_S)
    return tally.result()


def release(path: str) -> None:
    """Unlock and close what hold() holds."""
    fd = _held.pop(path)
    fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)


def be_denied(path: str, stop: str, seconds: float) -> dict[str, Any]:
    """Ask for a lock that somebody else holds all the time, by locking and by asking who has it."""
    tally = Tally()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in until(stop, seconds):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tally.problem("conflicting grant", "a lock that is held")
            fcntl.lockf(fd, fcntl.LOCK_UN)
        except OSError as error:
            if error.errno not in DENIED:
                tally.problem(f"lock {errno.errorcode.get(error.errno or 0, error.errno)}", str(error))
        tally.steps += 1
        time.sleep(HOLD_INTERVAL_S)
    os.close(fd)
    return tally.result()
