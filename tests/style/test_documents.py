"""What documents say of the source: paths that exist, pictures that are drawn from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.style.graph import ROOT

PATH = re.compile(r"`([\w./-]+\.py)`")
# Documents name files from the top, or within these rooms.
PLACES = ("", "nfsd", "statestore", "nfsd/failover", "nfsd/vfs", "tests/support", "tests/kernel", "tests")


def missing_paths() -> Iterator[str]:
    """Every path in a document that leads to nothing."""
    for document in sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]):
        for path in PATH.findall(document.read_text(encoding="utf-8")):
            if not any((ROOT / place / path).exists() for place in PLACES):
                yield f"{document.name}: {path}"


def test_paths_exist() -> None:
    """A file that a document names is there."""
    missing = list(missing_paths())
    assert not missing, "\n".join(missing)


@pytest.mark.skipif(os.geteuid() != 0, reason="the way goes through the kernel's file handles, which need root")
def test_pictures_are_fresh() -> None:
    """docs/design.md shows the rooms and the way as they are; `python -m tests.style.pictures` draws them."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.style.pictures", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
