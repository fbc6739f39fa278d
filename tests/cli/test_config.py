"""The settings: defaults, the file, the command line over it, and errors that name line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.config import (
    Address,
    ClientRule,
    ClientSpec,
    Config,
    ConfigError,
    as_plain,
    load_config,
    parse_address,
    parse_export,
)
from nfsd.config.locate import Locator


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A directory that can be exported."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


def write(tmp_path: Path, text: str) -> Path:
    """`text` as a configuration file."""
    file = tmp_path / "understudy.toml"
    file.write_text(text)
    return file


def problems_of(file: Path) -> list[str]:
    """What is wrong with a file, without the directory's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return [str(problem).replace(f"{file.parent}/", "") for problem in caught.value.problems]


def options(**values: object) -> dict[str, tuple[str, object]]:
    """Command-line values as the command line passes them on."""
    return {name: ("--" + name.replace("_", "-"), value) for name, value in values.items()}


def test_config_defaults(export: Path, tmp_path: Path) -> None:
    """State and one export are enough; the rest has the documented defaults."""
    config = load_config(options=options(state=str(tmp_path / "s")), exports=[str(export)])
    assert config.exports[0].path == export
    assert config.exports[0].pseudo == str(export)
    assert config.listen == Address("0.0.0.0", 2049)
    assert (config.durability, config.recovery, config.lease_time_s, config.blackout_s) == ("process", "resume", 90, 30)
    assert config.control == tmp_path / "s" / "control"
    assert (config.metrics, config.log_file, config.server_owner, config.server_scope) == (None,) * 4
    assert config.limits.record_size_max == 1024 * 1024 + 64 * 1024
    assert config.node


def test_config_file_complete(export: Path, tmp_path: Path) -> None:
    """Every table of the file is read; relative paths are the file's."""
    config = load_config(
        write(
            tmp_path,
            """
        [server]
        state = "s"
        listen = "[::1]:0"
        lease_time_s = 20
        pair = false
        metrics = "127.0.0.1:9100"
        [limits]
        slots_max = 32
        [[export]]
        path = "data"
        pseudo = "/d//e/"
        options = ["rw", "no_root_squash"]
        clients = [{ match = "10.0.0.0/8", options = "ro" }]
    """,
        )
    )
    assert config.state == tmp_path / "s"
    assert config.listen == Address("::1", 0)
    assert (config.lease_time_s, config.pair, config.limits.slots_max) == (20, False, 32)
    assert config.metrics == Address("127.0.0.1", 9100)
    spec = config.exports[0]
    assert (spec.path, spec.pseudo, spec.options) == (export, "/d/e", "rw,no_root_squash")
    assert spec.clients == (ClientSpec("10.0.0.0/8", "ro"),)
    assert spec.where.endswith("understudy.toml:10")


@pytest.mark.usefixtures("export")
def test_config_blackouts(tmp_path: Path) -> None:
    """An export's time becomes its option, and clients have tables of their own, in their order."""
    config = load_config(
        write(
            tmp_path,
            """
        [server]
        state = "s"
        [[export]]
        path = "data"
        options = "rw"
        blackout_s = 60
        [[client]]
        match = "192.0.2.1"
        blackout_s = 0
        [[client]]
        match = "192.0.2.9/24"
        blackout_s = 120
    """,
        )
    )
    assert config.exports[0].options == "rw,blackout=60"
    assert config.clients == (ClientRule("192.0.2.1/32", 0), ClientRule("192.0.2.0/24", 120))


@pytest.mark.usefixtures("export")
def test_config_blackouts_errors(tmp_path: Path) -> None:
    """What is wrong in them is named with its line."""
    found = problems_of(
        write(
            tmp_path,
            """[server]
state = "s"
[[export]]
path = "data"
blackout_s = 3601
[[client]]
match = "example.org"
blackout_s = 5
[[client]]
match = "192.0.2.1"
[[client]]
match = "192.0.2.1"
blackout = 5
blackout_s = "x"
""",
        )
    )
    expected = [
        "understudy.toml:5: blackout_s: 3601 is not allowed",
        "understudy.toml:7: match: 'example.org' is not allowed: write an address or a network",
        "understudy.toml:9: blackout_s: is missing",
        "understudy.toml:13: blackout is no known key: did you mean blackout_s?",
        "understudy.toml:14: blackout_s: 'x' is not allowed",
    ]
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_config_options_win(export: Path, tmp_path: Path) -> None:
    """The command line wins over the file, exports as a whole."""
    other = tmp_path / "other"
    other.mkdir()
    file = write(tmp_path, '[server]\nstate = "s"\nlease_time_s = 20\n[[export]]\npath = "data"\n')
    config = load_config(file, options=options(lease_time_s="30"), exports=[f"{other}=/o,ro"])
    assert config.lease_time_s == 30
    assert [(spec.path, spec.pseudo, spec.options) for spec in config.exports] == [(other, "/o", "ro")]


@pytest.mark.usefixtures("export")
def test_config_file_errors_all_listed(tmp_path: Path) -> None:
    """Every problem is listed with file, line, key and what is allowed."""
    found = problems_of(
        write(
            tmp_path,
            """[server]
state = "s"
lease_time_s = 1
durability = "always"
liste = "a:1"
log_level = 7
[limits]
slots_max = "many"
unheard = 3
[[export]]
path = "data"
[[export]]
pseudo = "/x"
[[export]]
path = "data"
pseudo = "x"
[extra]
""",
        )
    )
    expected = [
        "understudy.toml:3: lease_time_s: 1 is not allowed: it must be from 5 to 3600 seconds",
        "understudy.toml:4: durability: 'always' is not allowed: it must be one of process, power",
        "understudy.toml:5: liste is no known key: did you mean listen?",
        "understudy.toml:6: log_level: 7 is not allowed: it must be one of debug",
        "understudy.toml:8: slots_max: 'many' is not allowed: it must be a whole number",
        "understudy.toml:9: unheard is no known key: allowed are record_size_max",
        "understudy.toml:12: path: is missing",
        "understudy.toml:16: pseudo: pseudo path 'x' is not allowed: it must begin with /",
        "understudy.toml:17: extra is no known key",
    ]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_config_file_no_toml(tmp_path: Path) -> None:
    """A file that is no TOML is refused with the line."""
    assert "line 2" in problems_of(write(tmp_path, "[server]\nstate = \n"))[0]


def test_config_file_missing(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    assert "No such file" in problems_of(tmp_path / "none.toml")[0]


def test_config_nothing_given() -> None:
    """State and export are asked for, both at once, as wrong usage."""
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert [problem.where for problem in caught.value.problems] == ["export", "state"]
    assert all(problem.on_command_line for problem in caught.value.problems)


def test_config_same_pseudo_twice(export: Path, tmp_path: Path) -> None:
    """Two exports cannot have one pseudo path."""
    with pytest.raises(ConfigError, match="is taken by"):
        load_config(options=options(state=str(tmp_path)), exports=[f"{export}=/a", f"{export}=/a/"])


def test_config_export_no_directory(tmp_path: Path) -> None:
    """An export that is not there is an error at start, not at the first mount."""
    with pytest.raises(ConfigError, match="is no directory"):
        load_config(options=options(state=str(tmp_path)), exports=[str(tmp_path / "none")])


def test_config_as_plain(export: Path, tmp_path: Path) -> None:
    """The plain form has every setting, addresses and paths as texts."""
    config = load_config(options=options(state=str(tmp_path / "state")), exports=[str(export)])
    plain = as_plain(config)
    assert set(plain) == set(Config.__dataclass_fields__)
    assert plain["listen"] == "0.0.0.0:2049"
    assert plain["exports"] == [{"path": str(export), "pseudo": str(export), "options": "", "clients": []}]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:2049", Address("0.0.0.0", 2049)),
        ("[::]:1", Address("::", 1)),
        ("host.example:0", Address("host.example", 0)),
    ],
)
def test_address_allowed(text: str, address: Address) -> None:
    """What may be written, and it is written back the same."""
    assert parse_address(text) == address
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["", "2049", ":2049", "a:b", "a:70000", "::1:2049", "a:-1", "a:\u0663"])
def test_address_refused(text: str) -> None:
    """Anything else is refused with an example of what is allowed or the range of ports."""
    with pytest.raises(ValueError, match=r"HOST:PORT|0 to 65535"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "path", "pseudo", "rest"),
    [
        ("/a", "/a", "/a", ""),
        ("/a/=/b", "/a", "/b", ""),
        ("/a=/", "/a", "/", ""),
        ("/a,rw,anonuid=5", "/a", "/a", "rw,anonuid=5"),
        ("/a=/b,sec=sys:krb5", "/a", "/b", "sec=sys:krb5"),
    ],
)
def test_export_allowed(text: str, path: str, pseudo: str, rest: str) -> None:
    """PATH[=PSEUDO][,OPTION...]; options may have equals signs."""
    spec = parse_export(text)
    assert (str(spec.path), spec.pseudo, spec.options) == (path, pseudo, rest)


@pytest.mark.parametrize("text", ["", ",rw", "/a=", "/a=b", "/a=/../b"])
def test_export_refused(text: str) -> None:
    """A text without a directory, or with a pseudo path that leads nowhere."""
    with pytest.raises(ValueError, match="write|must begin"):
        parse_export(text)


def test_locator_lines() -> None:
    """Keys are found in repeated tables, quoted, and behind texts of several lines."""
    locator = Locator('a = """\nb = 1\n"""\n[[t]]\n"x" = 1\n[[t]] # second\n\nx = 2\n')
    assert locator.line("", "a") == 1
    assert locator.line("t", "x", 0) == 5
    assert locator.line("t", "x", 1) == 8
    assert locator.line("t", "y", 1) == 6
    assert locator.line("none", "y") == 1
