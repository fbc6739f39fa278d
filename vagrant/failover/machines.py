"""The hypervisor's side of the virtual machines: their power, and nothing else.

Owns the words of virsh and VBoxManage. Finds the machines by the ids that Vagrant wrote down, so that only machines of
this Vagrantfile are ever switched. Must not know what runs in them.
"""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from tests.support.waiting import until

COMMAND_TIMEOUT_S = 40.0
OFF_TIMEOUT_S = 30.0
POLL_S = 0.1

RUNNING, PAUSED, OFF = "running", "paused", "off"


class MachineError(RuntimeError):
    """The hypervisor did not do what it was asked; the text says what it answered."""


def directory() -> Path:
    """Where everything of the virtual machines lies (see the Vagrantfile)."""
    found = os.environ.get("UNDERSTUDY_VAGRANT_DIR")
    return Path(found) if found else Path.home() / ".cache" / "understudy" / "vagrant"


def records() -> Path:
    """Where Vagrant writes down its machines."""
    found = os.environ.get("VAGRANT_DOTFILE_PATH")
    return Path(found) if found else Path(__file__).resolve().parents[1] / ".vagrant"


def run(*command: str) -> str:
    """Run a short command and return its output.  Raises MachineError."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=COMMAND_TIMEOUT_S)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise MachineError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Hypervisor(ABC):
    """Switches machines, named as in the Vagrantfile."""

    provider: str

    def _id(self, name: str) -> str | None:
        """The machine's id; None if Vagrant knows of none."""
        path = records() / "machines" / name / self.provider / "id"
        return path.read_text().strip() if path.exists() else None

    def _known(self, name: str) -> str:
        found = self._id(name)
        if found is None:
            raise MachineError(f"vagrant has made no machine {name}")
        return found

    def state(self, name: str) -> str:
        """RUNNING, PAUSED or OFF; a machine that was never made is off.  Raises MachineError if that is not known."""
        known = self._id(name)
        return OFF if known is None else self._state(known)

    def power_off(self, name: str) -> None:
        """Pull the plug, and return when the machine certainly is off.  Raises MachineError."""
        if self.state(name) != OFF:
            try:
                self._pull(self._known(name))
            except MachineError:
                pass  # It may have gone off by itself meanwhile: what counts is below.
        until(
            lambda: self.state(name) == OFF,
            lambda: f"{name}, whose plug was pulled and which is {self.state(name)}, is off",
            OFF_TIMEOUT_S,
            POLL_S,
            MachineError,
        )

    @abstractmethod
    def _state(self, machine: str) -> str: ...

    @abstractmethod
    def _pull(self, machine: str) -> None: ...

    @abstractmethod
    def power_on(self, name: str) -> None:
        """Switch it on; does not wait for its boot."""

    @abstractmethod
    def pause(self, name: str) -> None:
        """Have it stand still: its processors, and with them everything on it."""

    @abstractmethod
    def resume(self, name: str) -> None:
        """Have it go on."""


class Libvirt(Hypervisor):
    """Machines of vagrant-libvirt."""

    provider = "libvirt"
    _words = ("virsh", "--connect", "qemu:///system")

    def _state(self, machine: str) -> str:
        said = run(*self._words, "domstate", machine).strip()
        # `crashed` and `pmsuspended` are none of the three; who asks has to know.
        return {"running": RUNNING, "paused": PAUSED, "shut off": OFF, "in shutdown": RUNNING}.get(said, said)

    def _pull(self, machine: str) -> None:
        run(*self._words, "destroy", machine)

    def power_on(self, name: str) -> None:
        run(*self._words, "start", self._known(name))

    def pause(self, name: str) -> None:
        run(*self._words, "suspend", self._known(name))

    def resume(self, name: str) -> None:
        run(*self._words, "resume", self._known(name))


class VirtualBox(Hypervisor):
    """Machines of VirtualBox. Written by its manual; it could not be run where this was made."""

    provider = "virtualbox"

    def _state(self, machine: str) -> str:
        rows = run("VBoxManage", "showvminfo", machine, "--machinereadable").splitlines()
        said = next((row.partition("=")[2].strip('"') for row in rows if row.startswith("VMState=")), "unknown")
        return {"running": RUNNING, "paused": PAUSED, "poweroff": OFF, "aborted": OFF, "saved": OFF}.get(said, said)

    def _pull(self, machine: str) -> None:
        run("VBoxManage", "controlvm", machine, "poweroff")

    def power_on(self, name: str) -> None:
        run("VBoxManage", "startvm", self._known(name), "--type", "headless")

    def pause(self, name: str) -> None:
        run("VBoxManage", "controlvm", self._known(name), "pause")

    def resume(self, name: str) -> None:
        run("VBoxManage", "controlvm", self._known(name), "resume")


def hypervisor() -> Hypervisor:
    """The one that Vagrant has made the machines with.  Raises MachineError."""
    kinds: tuple[type[Hypervisor], ...] = (Libvirt, VirtualBox)
    for kind in kinds:
        if list((records() / "machines").glob(f"*/{kind.provider}/id")):
            return kind()
    raise MachineError(f"vagrant has made no machine yet ({records()}): vagrant up")
