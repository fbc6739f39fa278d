"""Tests of the benchmark's arithmetic."""

from __future__ import annotations

import json

import pytest

from tests.bench.figures import (
    Sample,
    as_json,
    compare,
    paired_ratios,
    rate_text,
    sample_from,
    summarize,
    table,
)


def sample(rate: float, *, cpu: float | None = 10.0) -> Sample:
    """A sample of which only the rate matters."""
    return Sample(rate, 1e6 / rate if rate else 0.0, 2e6 / rate if rate else 0.0, cpu, 0.2)


def test_sample_from_divides_cpu_by_cycles() -> None:
    """The server's CPU time is told for each cycle, the generator's as a share of the window."""
    line = '{"cycles": 1000, "rate": 500.0, "seconds": 2.0, "p50_us": 1, "p99_us": 2, '
    line += '"server_cpu_s": 0.5, "own_cpu_s": 0.4}'
    got = sample_from(json.loads(line), with_cpu=True)
    assert got == Sample(500.0, 1, 2, 500.0, 0.2)
    assert sample_from(json.loads(line), with_cpu=False).server_cpu_us is None


def test_sample_from_run_without_cycles() -> None:
    """A window in which nothing completed has no CPU time per cycle."""
    result = {"cycles": 0, "rate": 0.0, "seconds": 0.0, "p50_us": 0, "p99_us": 0}
    got = sample_from({**result, "server_cpu_s": 0.5, "own_cpu_s": 0.0}, with_cpu=True)
    assert got.server_cpu_us is None
    assert got.generator_busy == 0.0


def test_summarize_takes_medians() -> None:
    """One outlier does not move the figure, and samples without CPU time are left out of its median."""
    got = summarize([sample(100), sample(1, cpu=None), sample(110, cpu=20.0)])
    assert got.rate == 100
    assert got.server_cpu_us == 15.0


def test_summarize_without_samples() -> None:
    """There is no median of nothing."""
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_paired_ratios_divide_neighbours() -> None:
    """The n-th sample is divided by the n-th of the peer; a peer at rest gives no ratio."""
    assert paired_ratios([sample(10), sample(30), sample(5)], [sample(5), sample(10), sample(0)]) == [
        2.0,
        3.0,
    ]


def test_compare_ratio_of_medians_and_spread() -> None:
    """The ratio is that of the medians; minimum and maximum are those of the pairs."""
    samples = {"a": [sample(10), sample(20), sample(30)], "b": [sample(10), sample(10), sample(20)]}
    row = compare("null", 0, samples, {})
    assert row.ratio == 2.0
    assert (row.ratio_min, row.ratio_max) == (1.0, 2.0)
    assert as_json(row)["servers"]["a"]["rate"] == 20


def test_compare_one_server() -> None:
    """One server alone has figures and no ratio."""
    row = compare("null", 0, {"a": [sample(10)]}, {})
    assert row.servers["a"].rate == 10
    assert row.ratio is None


def test_compare_failed_server() -> None:
    """A server that failed once has no figures for that workload, and nobody is divided by it."""
    row = compare("lock_unlock", 0, {"a": [sample(10)], "b": [sample(5)]}, {"b": "LOCK failed"})
    assert list(row.servers) == ["a"]
    assert row.ratio is None


def test_rate_text_units() -> None:
    """Large data are told in MiB/s, all else in operations."""
    assert rate_text(12345.6, 0) == "12,346/s"
    assert rate_text(12345.6, 4096) == "12,346/s"
    assert rate_text(1600, 65536) == "100 MiB/s"


def test_table_columns_line_up() -> None:
    """Every line is as wide as the head, with a failed server's cells filled."""
    good = compare("null", 0, {"a": [sample(10)], "b": [sample(5)]}, {})
    bad = compare("getattr", 0, {"a": [sample(10)], "b": []}, {"b": "refused"})
    lines = table([good, bad], ["a", "b"]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "2.00" in lines[2]
    assert "failed" in lines[3]
