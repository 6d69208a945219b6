# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and stops the ElasticHosts endpoint as its own process, as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "roles" / "eh_endpoint" / "files"
USER = "11111111-2222-4333-8444-555555555555"
KEY = "s3cr3t"


class Endpoint:
    """`python -m eh_endpoint` on a free loopback port, with its state under a folder.

    `kill()` is kill -9; `start()` afterwards comes back on the same state folder and, unless told otherwise, the
    same port, so that a client's endpoint address stays true.
    """

    PYTHON = sys.executable

    def __init__(
        self,
        state: Path,
        *arguments: str,
        user: str = USER,
        key: str = KEY,
        start: bool = True,
        before: Sequence[str] = (),
        stderr: int | None = None,
    ) -> None:
        """Before: a command that becomes the endpoint. stderr: a descriptor in place of the file `log`."""
        self.before = before
        self.stderr = stderr
        self.state = state
        self.user = user
        self.key = key
        self.auth = f"{user}:{key}"
        self.arguments = arguments
        self.port = 0
        self.control = ""
        """URL of the control port, where the arguments have `--control`."""
        self._process: subprocess.Popen[bytes] | None = None
        if start:
            self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {"EHURI": self.url, "EHAUTH": self.auth}

    @property
    def log(self) -> Path:
        return self.state.parent / f"{self.state.name}.log"

    def start(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        command = [*self.before, self.PYTHON, "-m", "eh_endpoint", "--listen", f"127.0.0.1:{self.port}"]
        # Our end of its standard input closes with this process however that ends, and then the endpoint ends too.
        command += ["--exit-on-eof", "--state", str(self.state), "--auth", self.auth]
        command += ["--reserve", "1M", *self.arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log if self.stderr is None else self.stderr,
                stdin=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )
        assert self._process.stdout is not None
        first = self._process.stdout.readline().decode().strip()
        if not first.startswith(("listening on http://", "listening on https://")):
            self.stop()
            raise RuntimeError(f"the endpoint said {first!r}; its log: {self.log.read_text()[-2000:]}")
        self.port = int(first.rsplit(":", 1)[1])
        if "--control" in self.arguments:
            second = self._process.stdout.readline().decode().strip()
            self.control = second.removeprefix("control on ")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def call(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> requests.Response:
        """One raw API call in JSON, for preparing a test, and for checking the result without the client."""
        return requests.request(
            method,
            self.url + path,
            json=body,
            headers={"Accept": "application/json"},
            auth=(self.user, self.key),
            timeout=30,
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
