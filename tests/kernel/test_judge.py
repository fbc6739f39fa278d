"""The judgement of the work that goes on while a server dies: what it takes for a fault, and what not. No guest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .judge import problems_of
from .workloads import stress

FOREVER_S = 60.0


def work(place: Path, count: int) -> str:
    """Let the work with git make so many commits; its directory."""
    stop = place / "stop"
    made = stress.Tally()
    directory = str(place / "tree")
    if count == 0:
        stop.touch()
        assert stress.git(directory, 1, str(stop), FOREVER_S)["problems"] == {}
        return directory
    stress.init_repository(made, directory)
    for number in range(count):
        (Path(directory) / "text").write_text(f"change {number}\n")
        assert stress.commit(made, directory, number)
    assert not made.problems
    return directory


@pytest.mark.parametrize("count", [0, 1, 3])
def test_check_repository_sound(tmp_path: Path, count: int) -> None:
    """As many commits as were made are no fault; that none was made yet is no fault either."""
    directory = work(tmp_path, count)
    tally = stress.Tally()
    assert stress.count_commits(tally, directory) == count
    stress.check_repository(tally, directory, count)
    assert not tally.problems, tally.examples


@pytest.mark.parametrize("count", [0, 2])
def test_check_repository_other_count(tmp_path: Path, count: int) -> None:
    """A commit that was acknowledged and is not there is a fault, the only one as well."""
    directory = work(tmp_path, count)
    tally = stress.Tally()
    stress.check_repository(tally, directory, count + 1)
    assert tally.problems == {"commits": 1}


def test_check_repository_lost_branch(tmp_path: Path) -> None:
    """A branch that is gone has no commits: not what was made."""
    directory = work(tmp_path, 2)
    (Path(directory) / ".git/refs/heads/main").unlink()
    tally = stress.Tally()
    stress.check_repository(tally, directory, 2)
    assert tally.problems["commits"] == 1


@pytest.mark.parametrize("text", ["no object's name\n", "1" * 40 + "\n"])
def test_check_repository_broken_branch(tmp_path: Path, text: str) -> None:
    """A branch that cannot be read, or that names nothing, is a fault even where no commit is expected."""
    directory = work(tmp_path, 2)
    (Path(directory) / ".git/refs/heads/main").write_text(text)
    tally = stress.Tally()
    assert stress.count_commits(tally, directory) is None
    assert sum(tally.problems.values()) == 1


def test_check_repository_missing(tmp_path: Path) -> None:
    """No repository at all is not one without commits."""
    tally = stress.Tally()
    assert stress.count_commits(tally, str(tmp_path)) is None
    assert sum(tally.problems.values()) == 1


Results = dict[str, dict[str, Any]]


def whole(host: Path) -> Results:
    """Work of both clients that went well, and what it left on the host."""
    results: Results = {"git": {"problems": {}, "steps": 1}}
    (host / "names").mkdir()
    (host / "number").write_text("         5 - b  ")
    for name, won, steps in (("a", [0, 2], 2), ("b", [1], 3)):
        for number in won:
            (host / "names" / str(number)).write_text(name)
        (host / f"files-{name}").mkdir()
        (host / f"files-{name}" / "kept").write_bytes(b"data of " + name.encode())
        left = {"kept": stress.digest(b"data of " + name.encode())}
        results[f"files {name}"] = {"problems": {}, "steps": 9, "files": left}
        results[f"claim {name}"] = {"problems": {}, "steps": 3, "won": won, "tried": 3}
        results[f"count {name}"] = {"problems": {}, "steps": steps}
    return results


def test_problems_none(tmp_path: Path) -> None:
    """What is as it should be is no problem."""
    assert problems_of(whole(tmp_path), tmp_path) == {}


Harm = Callable[[Results, Path], object]
HARMS: dict[str, Harm] = {
    "link EEXIST": lambda results, host: results["files a"]["problems"].update({"link EEXIST": 1}),
    "names won twice": lambda results, host: results["claim b"]["won"].append(0),
    "false EEXIST of an exclusive create": lambda results, host: results["claim b"].update(tried=4),
    "names lost or not signed": lambda results, host: (host / "names" / "2").unlink(),
    "counts lost under the lock": lambda results, host: (host / "number").write_text("4 - a"),
    "files lost": lambda results, host: (host / "files-a" / "kept").unlink(),
    "files too many": lambda results, host: (host / "files-b" / "more").mkdir(),
    "files with other content": lambda results, host: (host / "files-b" / "kept").write_bytes(b"other"),
}


@pytest.mark.parametrize("kind", HARMS)
def test_problems_each(tmp_path: Path, kind: str) -> None:
    """Each thing that is wrong is named, and counted once."""
    results = whole(tmp_path)
    HARMS[kind](results, tmp_path)
    assert problems_of(results, tmp_path)[kind] == 1
