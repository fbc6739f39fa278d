"""The server under attack: who is admitted to what, its memory, its store when it has ended.

Owns the three addresses and the configuration. Must not know what an attack does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.soak.process import ServerProcess

HONEST = "127.0.0.1"
OUTSIDER = "127.0.0.66"
"""Admitted by no export."""
NEIGHBOUR = "127.0.0.67"
"""A client like the honest one, and admitted like it; but not on the honest one's own export."""
SHARED, OWN = "/shared", "/own"
BIG_FILE, HELD, BIG_DIRECTORY = "big", "held", "many"
LEASE_TIME_S = 5
_SOCKETS = re.compile(r"^TCP: .* mem (\d+)$", re.MULTILINE)
_PAGE_SIZE = 4096


class TargetServer(ServerProcess):
    """`understudy serve --no-pair` with two exports: one for the neighbour too, one for the honest client alone."""

    def __init__(self, directory: Path, durability: str) -> None:
        super().__init__(directory, {SHARED: directory / "shared", OWN: directory / "own"})
        self.durability = durability
        for pseudo in (SHARED, OWN):
            self.path_of(pseudo).chmod(0o777)

    def path_of(self, pseudo: str) -> Path:
        """The directory of an export."""
        return self.directory / pseudo.strip("/")

    def furnish(self, entries: int) -> None:
        """Put what floods ask for into the shared export: a file of a MiB, one to hold, a directory of many."""
        shared = self.path_of(SHARED)
        (shared / BIG_FILE).write_bytes(bytes(1 << 20))
        (shared / HELD).touch()
        (shared / HELD).chmod(0o666)
        (shared / BIG_DIRECTORY).mkdir()
        for number in range(entries):
            (shared / BIG_DIRECTORY / f"file {number:08}").touch()

    def words(self) -> list[str]:
        """Serve by the configuration, which is written anew for each start."""
        quoted = json.dumps
        lines = [
            "[server]", f"state = {quoted(str(self.state))}", f"log_file = {quoted(str(self.log))}",
            f'listen = "127.0.0.1:{self.port}"', f"lease_time_s = {LEASE_TIME_S}",
            f"durability = {quoted(self.durability)}",
        ]  # fmt: skip
        for pseudo, admitted in ((SHARED, (HONEST, NEIGHBOUR)), (OWN, (HONEST,))):
            clients = ", ".join(f'{{match = "{address}", options = "rw"}}' for address in admitted)
            lines += ["[[export]]", f"path = {quoted(str(self.path_of(pseudo)))}", f"pseudo = {quoted(pseudo)}"]
            lines += ['options = "insecure,no_root_squash"', f"clients = [{clients}]"]
        file = self.directory / "understudy.toml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ["serve", "--no-pair", "--config", str(file)]

    def anonymous_bytes(self) -> int:
        """The memory that is its own, 0 if it has gone.

        Without the pages of the store's file that it has mapped: those are the kernel's cache, which takes them back.
        """
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def socket_bytes() -> int:
    """What all TCP sockets of this machine keep in the kernel: what peers do not take ends here first."""
    found = _SOCKETS.search(Path("/proc/net/sockstat").read_text(encoding="ascii"))
    return int(found.group(1)) * _PAGE_SIZE if found else 0
