"""What the samples of a benchmark say: medians, ratios and how far they spread.

Owns the arithmetic and the table; must not know processes, servers or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

DATA_SIZE_MIN = 64 << 10
"""Bytes a cycle moves from which on MiB/s say more than operations per second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one workload against one server."""

    rate: float
    """Cycles per second."""
    p50_us: float
    p99_us: float
    server_cpu_us: float | None
    """CPU time of the server for each cycle, microseconds; None where it was not measured."""
    generator_busy: float
    """Share of one processor that the load generator used, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of one server's samples of one workload."""

    rate: float
    p50_us: float
    p99_us: float
    server_cpu_us: float | None
    generator_busy: float


@dataclass(slots=True)
class Row:
    """One workload: the summary of each server, by its name, and their comparison."""

    workload: str
    bytes_per_cycle: int
    servers: dict[str, Summary] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None


def sample_from(result: dict[str, Any], *, with_cpu: bool) -> Sample:
    """Turn the load generator's line of JSON into a sample."""
    cycles = result["cycles"]
    cpu = result["server_cpu_s"] * 1e6 / cycles if with_cpu and cycles else None
    busy = result["own_cpu_s"] / result["seconds"] if result["seconds"] else 0.0
    return Sample(result["rate"], result["p50_us"], result["p99_us"], cpu, busy)


def summarize(samples: Sequence[Sample]) -> Summary:
    """Take the median of each figure.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no samples to summarize")
    cpu = [s.server_cpu_us for s in samples if s.server_cpu_us is not None]
    return Summary(
        rate=median(s.rate for s in samples),
        p50_us=median(s.p50_us for s in samples),
        p99_us=median(s.p99_us for s in samples),
        server_cpu_us=median(cpu) if cpu else None,
        generator_busy=median(s.generator_busy for s in samples),
    )


def paired_ratios(subject: Sequence[Sample], peer: Sequence[Sample]) -> list[float]:
    """Divide the rates of samples taken one after the other; a peer that did nothing is left out."""
    return [a.rate / b.rate for a, b in zip(subject, peer, strict=False) if b.rate > 0]


def compare(
    workload: str,
    bytes_per_cycle: int,
    samples: dict[str, list[Sample]],
    errors: dict[str, str],
) -> Row:
    """Make a workload's row; the first server in `samples` is the subject, the second its peer."""
    row = Row(workload, bytes_per_cycle, errors=dict(errors))
    complete = {name: taken for name, taken in samples.items() if taken and name not in errors}
    row.servers = {name: summarize(taken) for name, taken in complete.items()}
    if len(samples) == 2 and len(complete) == 2:
        subject, peer = complete.values()
        summaries = list(row.servers.values())
        ratios = paired_ratios(subject, peer)
        if ratios and summaries[1].rate > 0:
            row.ratio = summaries[0].rate / summaries[1].rate
            row.ratio_min, row.ratio_max = min(ratios), max(ratios)
    return row


def as_json(row: Row) -> dict[str, Any]:
    """Return a row as JSON's types."""
    return asdict(row)


def rate_text(rate: float, bytes_per_cycle: int) -> str:
    """Word a rate in operations per second, or in MiB/s for large data."""
    if bytes_per_cycle >= DATA_SIZE_MIN:
        return f"{rate * bytes_per_cycle / (1 << 20):,.0f} MiB/s"
    return f"{rate:,.0f}/s"


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Lay the rows out as a Markdown table; `names` are the servers in their columns' order."""
    head = ["workload", *names]
    if len(names) == 2:
        head += ["ratio", "pairs"]
    head += [f"p50/p99 us {name}" for name in names]
    head += [f"CPU us/op {name}" for name in names]
    lines = [head]
    for row in rows:
        taken = [row.servers.get(name) for name in names]
        line = [row.workload]
        line += [rate_text(s.rate, row.bytes_per_cycle) if s else "failed" for s in taken]
        if len(names) == 2:
            spread = f"{_optional(row.ratio_min, '.2f')}-{_optional(row.ratio_max, '.2f')}"
            line += [_optional(row.ratio, ".2f"), spread if row.ratio is not None else "-"]
        line += [f"{s.p50_us:,.0f}/{s.p99_us:,.0f}" if s else "-" for s in taken]
        line += [_optional(s.server_cpu_us, ".1f") if s else "-" for s in taken]
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [_line(line, widths) for line in lines]
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (w - 1) + ":" for w in widths[1:]]
    text.insert(1, _line(rule, widths))
    return "\n".join(text)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [cells[0].ljust(widths[0])]
    aligned += [cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join(aligned) + " |"
