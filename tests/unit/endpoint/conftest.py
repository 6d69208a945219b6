# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to the real endpoint process in raw HTTP, so that nothing between test and wire can be kind to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import Endpoint

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.headers.get("x-elastic-error", "")


class Wire:
    """One keep-alive connection of one account. source: the address that it comes from."""

    def __init__(self, endpoint: Endpoint, auth: str | None = None, source: str = "127.0.0.1") -> None:
        self.endpoint = endpoint
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", endpoint.port, timeout=20, source_address=(source, 0)
        )
        self.headers = basic(auth or endpoint.auth)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def send(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        """Headers by keyword: content_type="text/plain". An empty one is left out."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in {**self.headers, **given}.items() if value}
        content = body.encode() if isinstance(body, str) else body
        self._connection.request(method, path, content, sent)
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    @property
    def socket_address(self) -> tuple[str, int]:
        """The address of this end: the same as long as the connection is the same."""
        address: tuple[str, int] = self._connection.sock.getsockname()
        return address

    def timeout(self, seconds: float) -> None:
        """For answers that are not expected."""
        self._connection.timeout = seconds

    def json(self, path: str, body: dict[str, Any] | None = None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        return self.send("POST", path, content, Accept="application/json", content_type="application/json")

    def text(self, path: str, body: str = "") -> Answer:
        return self.send("POST", path, body, content_type="text/plain")

    def drive(self, **properties: Any) -> str:
        keys = {key.replace("__", ":"): value for key, value in properties.items()}
        answer = self.json("/drives/create", {"name": "a drive", "size": "8M", **keys})
        assert answer.status == 200, answer.text
        return str(answer.json["drive"])

    def server(self, call: str = "create", **properties: Any) -> str:
        keys = {key.replace("__", ":"): value for key, value in properties.items()}
        answer = self.json(f"/servers/{call}", {"name": "a server", "cpu": 500, "mem": 500, **keys})
        assert answer.status == 200, answer.text
        return str(answer.json["server"])


class Control:
    """The control port of an endpoint that was started with `--control`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._connection = http.client.HTTPConnection(endpoint.control.removeprefix("http://"), timeout=20)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def send(self, method: str, call: str, body: bytes | str = b"", **headers: str) -> Answer:
        self._connection.request(method, f"/_control/{call}", body, headers)
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def rules(self, *rules: dict[str, Any], seed: int = 0) -> None:
        """Put fault rules in force, in place of those before."""
        answer = self.send("POST", "faults", json.dumps({"faults": list(rules), "seed": seed}))
        assert answer.status == 200, answer.text

    def advance(self, seconds: float) -> bool:
        """Moves the clock; true, so that it can stand in a condition."""
        assert self.send("POST", "clock", json.dumps({"advance": seconds})).status == 200
        return True

    @property
    def offset(self) -> float:
        return float(self.send("GET", "clock").json["offset"])

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"requests?since={since}").json["requests"]
        return found


def as_format_1(database: Path, *more: str) -> None:
    """Turn a state file into one of the first format, which has no checksums. more: statements that come after that."""
    statements = ("DROP TABLE removed", "ALTER TABLE objects DROP COLUMN checksum", "PRAGMA user_version = 1", *more)
    with contextlib.closing(sqlite3.connect(database)) as state:
        state.executescript(";".join(statements))


def eventually(found: Callable[[], Any]) -> Any:
    """Asks again until there is an answer other than nothing; bounded by count and patience, never by a sleep alone."""
    for attempt in range(4000):
        answer = found()
        if answer:
            return answer
        time.sleep(0.001 if attempt < 100 else 0.01)
    raise AssertionError("it did not come about")


def peak_memory(pid: int) -> int:
    """The most memory that a process ever held, in bytes."""
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("VmHWM:") + 1]) << 10


def basic(auth: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()}


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    connection = Wire(endpoint)
    yield connection
    connection.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Wire]]:
    """Opens connections that are closed after the test."""
    opened: list[Wire] = []

    def open_connection(endpoint: Endpoint, auth: str | None = None) -> Wire:
        opened.append(Wire(endpoint, auth))
        return opened[-1]

    yield open_connection
    for one in opened:
        one.close()
