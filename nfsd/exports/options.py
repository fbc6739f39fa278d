"""Export options with exports(5)'s names, and what they make of a caller.

Owns the options' text form and squashing. It must not know paths or clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from nfsd.vfs.interface import NOBODY, Credentials

AUTH_NONE: Final = 0
AUTH_SYS: Final = 1
_INVALID_ID: Final = 0xFFFF_FFFF
_ID_MAX: Final = _INVALID_ID - 1
_FLAVOURS: Final = {"sys": AUTH_SYS, "none": AUTH_NONE}
_LATER: Final = ("krb5", "krb5i", "krb5p")
_ALLOWED: Final = (
    "rw, ro, root_squash, no_root_squash, all_squash, anonuid=, anongid=, secure, insecure, sec=, fsid=, blackout=,"
    " apart, noapart"
)
_NUMBER: Final = re.compile(r"[0-9]{1,10}")

Squash = Literal["root", "none", "all"]


class ExportError(ValueError):
    """An export is described wrongly; the message names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for the clients of one export. `flavours` are RPC authentication flavours, best first.

    `fsid` is the export's number where one was given, 1 to 255; `blackout_s` how long its files wait for their
    holders after a start, in seconds, None for as long as the server says. `apart` is whether a process of its own
    makes its system calls, None where its kind of file system decides.
    """

    read_only: bool = False
    squash: Squash = "root"
    anonuid: int = NOBODY.uid
    anongid: int = NOBODY.gid
    secure: bool = True
    flavours: tuple[int, ...] = (AUTH_SYS,)
    fsid: int | None = None
    blackout_s: int | None = None
    apart: bool | None = None

    def anonymous(self) -> Credentials:
        """Return whom callers without an identity act as (AUTH_NONE)."""
        return Credentials(self.anonuid, self.anongid, ())

    def port_allowed(self, port: int) -> bool:
        """Return whether a client may call from this port: a reserved one, unless `insecure`."""
        return not self.secure or port < 1024

    def apply(self, cred: Credentials) -> Credentials:
        """Return whom a caller acts as. The very same object when nothing is squashed."""
        uid, gid, groups = cred.uid, cred.gid, cred.groups
        if self.squash == "all":
            return self.anonymous()
        invalid = uid == _INVALID_ID or gid == _INVALID_ID or _INVALID_ID in groups
        if self.squash == "root" and (uid == 0 or gid == 0 or 0 in groups):
            uid = uid or self.anonuid
            gid = gid or self.anongid
            groups = tuple(group or self.anongid for group in groups)
        elif not invalid:
            return cred
        if invalid:
            # The kernel takes this number for "leave as it is": it must never be tried.
            uid = self.anonuid if uid == _INVALID_ID else uid
            gid = self.anongid if gid == _INVALID_ID else gid
            groups = tuple(self.anongid if group == _INVALID_ID else group for group in groups)
        return Credentials(uid, gid, groups)


def parse_options(text: str, base: Options | None = None) -> Options:
    """Return `base` (the defaults when None) with the options of a comma-separated text.

    Raises ExportError, which names what is allowed.
    """
    options = base or Options()
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = word.partition("=")
        options = _with_value(options, name, value) if equals else _with_flag(options, name)
    return options


def _with_flag(options: Options, name: str) -> Options:
    match name:
        case "rw" | "ro":
            return replace(options, read_only=name == "ro")
        case "secure" | "insecure":
            return replace(options, secure=name == "secure")
        case "root_squash":
            return replace(options, squash="root")
        case "no_root_squash":
            return replace(options, squash="none")
        case "all_squash":
            return replace(options, squash="all")
        case "apart" | "noapart":
            return replace(options, apart=name == "apart")
        case _:
            raise _unknown(name)


def _with_value(options: Options, name: str, value: str) -> Options:
    match name:
        case "anonuid":
            return replace(options, anonuid=_number(name, value, 0, _ID_MAX))
        case "anongid":
            return replace(options, anongid=_number(name, value, 0, _ID_MAX))
        case "fsid":
            return replace(options, fsid=_number(name, value, 1, 255))
        case "blackout":
            return replace(options, blackout_s=_number(name, value, 0, 3600))
        case "sec":
            return replace(options, flavours=_flavours(value))
        case _:
            raise _unknown(f"{name}=")


def _unknown(name: str) -> ExportError:
    return ExportError(f"option {name!r} is not known: the options are {_ALLOWED}")


def _number(name: str, value: str, least: int, most: int) -> int:
    if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
        raise ExportError(f"{name}={value} is not allowed: it must be a number from {least} to {most}")
    return int(value)


def _flavours(value: str) -> tuple[int, ...]:
    flavours = []
    for name in value.split(":"):
        if name in _LATER:
            raise ExportError(f"sec={name} is not offered yet: use sys or none, joined by colons")
        if name not in _FLAVOURS or _FLAVOURS[name] in flavours:
            raise ExportError(f"sec={value} is not allowed: use sys or none, each once, joined by colons")
        flavours.append(_FLAVOURS[name])
    return tuple(flavours)
