"""Printing: rows as a table, anything as JSON.

Owns how values look to a person. Must not know which listing it prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from tabulate import tabulate


def print_json(value: Any) -> None:
    """`value` as indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rows(rows: Sequence[Mapping[str, Any]], output: str, nothing: str) -> None:
    """Rows as JSON or as a table whose columns are the rows' keys; `nothing` says that there are none."""
    if output == "json":
        print_json(list(rows))
    elif not rows:
        click.echo(nothing)
    else:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[as_text(row.get(column)) for column in columns] for row in rows]
        # Numbers are told apart by us, not guessed: a hexadecimal name may look like 1e5.
        click.echo(tabulate(cells, headers=columns, tablefmt="simple", disable_numparse=True))


def print_record(record: Mapping[str, Any], output: str) -> None:
    """One record as JSON, or a line for each key."""
    if output == "json":
        print_json(record)
    else:
        cells = [[key, as_text(value)] for key, value in record.items()]
        click.echo(tabulate(cells, tablefmt="plain", disable_numparse=True))


def as_text(value: Any) -> str:
    """One value on one line, fit for a terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value) or "-"
    # What a client may choose (names, owners) must not reach the terminal as control characters.
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
