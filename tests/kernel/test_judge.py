"""The judgement of the work that goes on while a server dies: what it takes for a fault, and what not. No guest."""

from pathlib import Path

import pytest

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
