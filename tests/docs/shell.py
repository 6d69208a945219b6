# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shell for all the blocks of a page."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE = 600.0
"""seconds that a block may take"""
END = "\x1eEND "
# Blocks come as files, so that no command reads the next block from its standard input.
LOOP = f"""
set -eu -o pipefail
while read -r block <&3; do
    case $block in
        fails:*) set +e; . "${{block#fails:}}" </dev/null; status=$?; set -e ;;
        *) . "$block" </dev/null; status=0 ;;
    esac
    printf '{END}%s\\n' "$status"
done
"""


class Said(NamedTuple):
    status: int | None
    """None: the shell ended, because a command failed"""
    output: str


class Shell:
    """bash in a folder, with ``set -eu``; whatever it started ends with it.

    :param enter: words to put before it, such as those that enter a namespace
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], enter: Sequence[str] = ()) -> None:
        self._folder = folder
        self._count = 0
        receive, self._send = os.pipe()
        os.set_inheritable(receive, True)
        self._process = subprocess.Popen(
            [*enter, "bash", "--noprofile", "--norc", "-c", f"exec 3<&{receive}; {LOOP}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(receive,),
            start_new_session=True,
        )
        os.close(receive)

    def run(self, text: str, *, fails: bool = False) -> Said:
        """Give the block to the shell, and wait until it is through."""
        script = self._script(text)
        os.write(self._send, f"{'fails:' if fails else ''}{script}\n".encode())
        return self._read()

    def start(self, text: str) -> str:
        """Start the block in the background; its first line. Empty where it ended without one."""
        script, log = self._script(text), self._folder / f".block-{self._count}.log"
        log.touch()
        self.run(f"(set -- ; . {script}) >{log} 2>&1 &")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if "\n" in log.read_text():
                return log.read_text()
            time.sleep(0.02)
        return ""

    def _script(self, text: str) -> Path:
        self._count += 1
        script = self._folder / f".block-{self._count}.sh"
        script.write_text(text)
        return script

    def _read(self) -> Said:
        assert self._process.stdout is not None
        descriptor, received = self._process.stdout.fileno(), b""
        end = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while time.monotonic() < end:
                if not selector.select(end - time.monotonic()):
                    break
                chunk = os.read(descriptor, 65536)
                received += chunk
                text = received.decode("utf-8", "replace")
                if not chunk:
                    return Said(None, text)
                if END in text and text.endswith("\n"):
                    output, _end, status = text.rpartition(END)
                    return Said(int(status), output)
        return Said(None, received.decode("utf-8", "replace") + f"\n(not through after {PATIENCE:g} s)")

    def close(self) -> None:
        os.close(self._send)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(timeout=5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        if self._process.stdout is not None:
            self._process.stdout.close()
