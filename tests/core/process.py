# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One driver process, started, spoken to and stopped exactly as the core does (opennebula-drivers 1.2-1.4, 8, 9.1)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

GAP = 0.025
"""seconds that the old reader waits between two bytes of a line (opennebula-drivers 1.3)"""
INIT_READ = 31
"""bytes: all that the new code reads as the answer to INIT (opennebula-drivers 1.4)"""
FULL_PIPE = 10.0
"""seconds until a full pipe to the driver is a failure; the real core would wait for ever"""


class CoreFailure(AssertionError):
    """Raised when a driver broke a rule of the core, or a state was not reached in time."""


def _inherited() -> list[int]:
    """Descriptors above 2 that this process would hand on, as oned does not (opennebula-drivers 9.1)."""
    listed = (int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    found = []
    for descriptor in listed:
        with contextlib.suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


class DriverProcess:
    """The process of a driver, with the pipes to it.

    :param arguments: ARGUMENTS of its section: one argv element; None when the section has none
    :param old: the code of VMM <= 5.12 and IM <= 5.10, else that of ``onemonitord`` and 6.0
    :param heard: called with each line (without newline), in the reader's thread
    :param lost: called once when the driver's output ends or breaks the rules, with a sentence
    """

    def __init__(
        self,
        name: str,
        executable: Path,
        arguments: str | None,
        *,
        folder: Path,
        environment: Mapping[str, str],
        old: bool,
        init_seconds: float,
        heard: Callable[[bytes], None],
        lost: Callable[[str], None],
    ) -> None:
        self.name = name
        self.old = old
        self.said: deque[str] = deque(maxlen=40)
        """the last lines of both sides, for failures"""
        self._init_seconds = init_seconds
        self._heard = heard
        self._lost = lost
        self._rest = b""
        self._closing = False
        self._writing = threading.Lock()
        self.exit_status: int | None = None
        self.pid, self._to, self._from = self._spawn(executable, arguments, folder, environment)
        self._wake_read, self._wake_write = os.pipe()
        self._reader = threading.Thread(target=self._read, name=f"core reads {name}", daemon=True)

    def _spawn(
        self, executable: Path, arguments: str | None, folder: Path, environment: Mapping[str, str]
    ) -> tuple[int, int, int]:
        if not os.access(executable, os.X_OK):
            raise CoreFailure(
                f"{executable} is not executable: the core's child would run on as a second core "
                "(opennebula-drivers 1.6)"
            )
        # The new code hands on an empty string where the old one ends argv (opennebula-drivers 1.2).
        argument = [arguments] if arguments is not None else [] if self.old else [""]
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        # posix_spawn knows no working directory, so a shell goes there first; it passes the rest on unchanged.
        argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), str(executable), *argument]
        pid = os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin_read, 0),
                (os.POSIX_SPAWN_DUP2, stdout_write, 1),
                (os.POSIX_SPAWN_CLOSE, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
            ],
            setsigmask=signal.valid_signals(),  # all blocked; SIGPIPE is ignored as Python itself ignores it
        )
        os.close(stdin_read)
        os.close(stdout_write)
        os.set_blocking(stdin_write, False)
        return pid, stdin_write, stdout_read

    # --- speaking ---------------------------------------------------------------------------------------------------

    def init(self) -> float:
        """INIT, answered by the rules of the release; returns the seconds it took.

        :raises CoreFailure: when the core would not load the driver (or not start)
        """
        began = time.monotonic()
        with contextlib.suppress(CoreFailure):  # a driver that ended already is told by its exit status, below
            self.write(b"INIT")
        answer = self._init_old() if self.old else self._init_new()
        self.said.append(f"{self.name} driver: {answer!r}")
        if answer.split()[:2] != [b"INIT", b"SUCCESS"]:
            self.kill()
            raise CoreFailure(
                f"{self.name} answered {answer!r} to INIT where INIT SUCCESS is needed (opennebula-drivers 1.4)"
            )
        self._reader.start()
        return time.monotonic() - began

    def _init_old(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._from], [], [], self._init_seconds)[0]:
                self.kill()
                raise CoreFailure(f"{self.name} was silent for {self._init_seconds} s after INIT; it said {line!r}")
            sign = os.read(self._from, 1)
            if not sign:
                raise CoreFailure(f"{self.name} ended with status {self.reap(3.0)} before it answered INIT")
            line += sign
        return line

    def _init_new(self) -> bytes:
        if not select.select([self._from], [], [], self._init_seconds)[0]:
            self.kill()
            raise CoreFailure(f"{self.name} was silent for {self._init_seconds} s after INIT")
        data = os.read(self._from, INIT_READ)
        if not data:
            raise CoreFailure(f"{self.name} ended with status {self.reap(3.0)} before it answered INIT")
        line, _newline, more = data.partition(b"\n")
        if more:
            self.kill()
            raise CoreFailure(
                f"{self.name} wrote {more!r} right behind its answer to INIT: the core loses it "
                "(opennebula-drivers 9.1)"
            )
        return line

    def write(self, line: bytes) -> None:
        """One line; the newline is added."""
        self.said.append(f"core to {self.name}: {line[:160]!r}")
        data = line + b"\n"
        with self._writing:
            try:
                while data:
                    if not select.select([], [self._to], [], FULL_PIPE)[1]:
                        raise CoreFailure(
                            f"{self.name} did not read for {FULL_PIPE} s: the core stands still "
                            "(opennebula-drivers 8.5)"
                        )
                    data = data[os.write(self._to, data) :]
            except BrokenPipeError:
                raise CoreFailure(f"{self.name} does not read any more: {line[:80]!r} is lost") from None

    # --- listening --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            problem = self._read_old() if self.old else self._read_new()
        except OSError as error:
            problem = f"reading failed: {error}"
        if not self._closing:
            self._lost(f"{self.name} {problem}")

    def _ready(self, seconds: float | None) -> bool:
        """Wait until something can be read; return False after ``seconds`` or when the core closes."""
        ready = select.select([self._from, self._wake_read], [], [], seconds)[0]
        return self._from in ready and not self._closing

    def _read_old(self) -> str:
        """The old code's listener: byte by byte, at most 25 ms between two of a line, else the driver is reloaded."""
        while self._ready(None):
            data = os.read(self._from, 65536)
            if not data:
                return "closed its output: the core would restart it, and what it was doing is lost"
            self._take(data)
            while self._rest and self._ready(GAP):
                data = os.read(self._from, 65536)
                if not data:
                    return f"ended inside the line {self._rest!r}"
                self._take(data)
            if self._rest and not self._closing:
                return (
                    f"wrote half a line, {self._rest[:80]!r}, and paused: the core would restart it "
                    "(opennebula-drivers 1.3)"
                )
        return "was closed"

    def _read_new(self) -> str:
        while self._ready(None):
            data = os.read(self._from, 65536)
            if not data:
                return "closed its output: the core would restart it, and what it was doing is lost"
            self._take(data)
        return "was closed"

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.said.append(f"{self.name} driver: {line[:160]!r}")
            self._heard(line)

    # --- ending -----------------------------------------------------------------------------------------------------

    def stop(self, seconds: float, *, finalize: bool = True) -> None:
        """FINALIZE (or just the end of the pipes, as when the core is killed), then at most ``seconds`` until SIGKILL.

        :raises CoreFailure: when SIGKILL was needed: in old releases such a driver lives on and fights its successor
        """
        self._closing = True
        if finalize:
            with contextlib.suppress(CoreFailure):
                self.write(b"FINALIZE")
        self._close()
        if self.reap(seconds) is None:
            self.kill()
            raise CoreFailure(f"{self.name} still ran {seconds} s after {'FINALIZE and ' if finalize else ''}the end")

    def kill(self) -> None:
        """SIGKILL: nothing else reaches a driver whose signals are blocked."""
        self._closing = True
        if self.exit_status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.reap(10.0)
        self._close()

    def reap(self, seconds: float) -> int | None:
        """Exit status within ``seconds``, else None."""
        end = time.monotonic() + seconds
        while self.exit_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                return None
            else:
                time.sleep(0.005)
        return self.exit_status

    def _close(self) -> None:
        if self._to < 0:
            return
        os.write(self._wake_write, b".")
        if self._reader.is_alive() and threading.current_thread() is not self._reader:
            self._reader.join(5.0)
        for descriptor in (self._to, self._from, self._wake_read, self._wake_write):
            os.close(descriptor)
        self._to = -1
