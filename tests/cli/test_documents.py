"""The documents say what the source says: settings, limits, commands and options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from nfsd.cli.main import understudy
from nfsd.cli.options import SETTINGS
from nfsd.config import Config, Limits

ROOT = Path(__file__).resolve().parents[2]


def document(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_limits_document() -> None:
    """docs/limits.md has every limit with its default and range."""
    text = document("docs/limits.md")
    for field in dataclasses.fields(Limits):
        about = field.metadata
        row = f"| `{field.name}` | {field.default} | {about['least']} | {about['most']} | {about['reason']} |"
        assert row in text


def test_configuration_document() -> None:
    """docs/configuration.md names every setting and every option."""
    text = document("docs/configuration.md")
    for field in dataclasses.fields(Config):
        assert f"`{field.name}`" in text or field.name in ("exports", "limits")
    for option in SETTINGS:
        assert f"`{option}`" in text


def test_commands_documented() -> None:
    """Every command is named in the README or in docs/operating.md."""
    text = document("README.md") + document("docs/operating.md")
    for name, command in understudy.commands.items():
        assert name in text
        if isinstance(command, click.Group):
            assert all(f"{name} {inner}" in text or inner in text for inner in command.commands)


def test_every_command_has_help() -> None:
    """Commands and options say what they are for."""
    for command in understudy.commands.values():
        assert command.help
        options = [item for item in command.params if isinstance(item, click.Option)]
        assert all(option.help for option in options)
