"""The administrator's commands around a takeover: run one, within its time, and say in the log what came of it.

Owns processes that are not ours and their environment. Must not know what they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping

from nfsd.log import get_logger

OUTPUT_SIZE_MAX = 2000
"""Bytes of a command's output that are logged: its end."""

UMASK = 0o022
"""Commands make files and mount points as an administrator's own shell does: writable by their owner alone."""

log = get_logger()


class HookFailed(Exception):
    """A command ended with another exit code than 0, or not in time; the text says which and what it wrote."""


async def run_hook(
    name: str, command: str, *, environment: Mapping[str, str], limit_s: float, runs: Callable[[int], None]
) -> None:
    """Run `command` by the shell and wait for its end; what it started is killed with it if it is late.

    `runs` is told its process group while it runs, and 0 after that. Raises HookFailed.
    """
    began = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment, "UNDERSTUDY_HOOK": name}, start_new_session=True, umask=UMASK,
        )  # fmt: skip
    except OSError as error:
        raise _failed(name, command, f"cannot be started: {error.strerror}", b"") from error
    runs(process.pid)
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise _failed(name, command, f"had not ended after {limit_s:g} s", b"") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        runs(0)
    if process.returncode:
        raise _failed(name, command, f"ended with {process.returncode}", output)
    log.info("hook.done", hook=name, seconds=round(time.monotonic() - began, 6), output=_tail(output))


def _failed(name: str, command: str, what: str, output: bytes) -> HookFailed:
    log.error("hook.failed", hook=name, command=command, reason=what, output=_tail(output))
    said = _tail(output)
    return HookFailed(f"the {name} hook ({command}) {what}" + (f": {said}" if said else ""))


def _tail(output: bytes) -> str:
    return output[-OUTPUT_SIZE_MAX:].decode("utf-8", "replace").strip()
