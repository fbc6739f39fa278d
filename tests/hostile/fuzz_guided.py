"""One process of the fuzzer that is guided by coverage: `tests.hostile.fuzz` starts it.

Owns what Atheris wants: the server's code loaded with its coverage measured, a corpus, a mutator of ours beside its
own. Atheris is an extra of its own (`pip install -e '.[test,fuzz]'`).
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import atheris

if TYPE_CHECKING:
    from tests.hostile.fuzz import Harness
    from tests.hostile.fuzz_inputs import Writer

ROOMS = ("nfsd", "statestore", "xdr")
SEEDS = 2000
TIMEOUT_S = 120
"""An input that takes so long, Atheris ends the process for."""


def seed_corpus(corpus: Path, writer: Writer, seed: int) -> None:
    """Put real requests into the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(SEEDS):
        (corpus / f"seed-{seed}-{number}").write_bytes(writer.valid())


def fuzz(harness: Harness, writer: Writer, corpus: Path, seed: int, size_max: int) -> NoReturn:
    """Give inputs until all have been given; ends the process."""

    def one(data: bytes) -> None:
        harness.give(data)
        if harness.done():
            harness.finish()
            # Atheris ends by an exit of its own, after which nothing can be written.
            os._exit(0)

    def mutate(data: bytes, most: int, draw: int) -> bytes:
        changed: bytes = atheris.Mutate(data, most) if draw % 2 else writer.changed(data)[:most]
        return changed

    words = ["fuzz", f"-seed={seed or 1}", f"-max_len={size_max}", "-rss_limit_mb=0", f"-timeout={TIMEOUT_S}"]
    atheris.Setup([*words, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()
    raise AssertionError("Atheris has returned")


def main() -> None:
    """The command line of `tests.hostile.fuzz.children`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    with atheris.instrument_imports(include=list(ROOMS), enable_loader_override=False):
        from tests.hostile.fuzz import Harness
        from tests.hostile.fuzz_inputs import INPUT_SIZE_MAX, Writer
    writer = Writer(random.Random(options.seed))
    corpus = options.directory / "corpus"
    seed_corpus(corpus, writer, options.seed)
    harness = Harness(options.directory, options.seed, options.inputs)
    fuzz(harness, writer, corpus, options.seed, INPUT_SIZE_MAX)


if __name__ == "__main__":
    main()
