# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP calls of one account to one endpoint: auth, time-outs, retries by kind of call, rate budget, redaction."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import random
import ssl
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type, TypeVar, Union
from urllib.parse import urlsplit

from . import connections, faults, formats
from .address import parse_auth, parse_endpoint
from .clock import Clock, Deadline
from .errors import ConfigurationError, ElasticHostsError, ProtocolError
from .file_parts import FilePart

try:
    # Comes with requests, which itself is only needed where a proxy is, and costs each process 10 MiB.
    import certifi
except ImportError:
    HAS_REQUESTS = False
else:
    HAS_REQUESTS = True

T = TypeVar("T")
Body = Union[bytes, FilePart]
VERSION = "1.0.0"
USER_AGENT = f"opennebula.elastichosts/{VERSION}"
REPLY_LIMIT = 256 * 1024 * 1024
"""Bytes of the longest answer that is taken; a listing of 50,000 servers has about 50 MB."""
PIECE = 256 * 1024
BACKOFF = 0.25
BACKOFF_CAP = 8.0
RETRY_AFTER_CAP = 30.0

logger = logging.getLogger(__name__)


class Timeouts(NamedTuple):
    """Seconds: to connect, between two pieces of an answer, and for one whole call."""

    connect: float = 5.0
    read: float = 60.0
    total: float = 300.0


TIMEOUTS = Timeouts()


class Reply(NamedTuple):
    """A good answer, and the call that it answers."""

    status: int
    content_type: str
    content: bytes
    call: str
    changing: bool = False

    def object(self) -> formats.Properties:
        """The body as one object. Raises ProtocolError."""
        return self._parsed(formats.parse_object)

    def objects(self) -> List[formats.Properties]:
        """The body as several objects. Raises ProtocolError."""
        return self._parsed(formats.parse_objects)

    def rows(self) -> List[formats.Row]:
        """The body as the rows of a list call. Raises ProtocolError."""
        return self._parsed(formats.parse_rows)

    def _parsed(self, parse: Callable[[bytes, str], T]) -> T:
        try:
            return parse(self.content, self.content_type)
        except ProtocolError as error:
            raise ProtocolError(
                f"{self.call}: {error}; check that the endpoint is an ElasticHosts API",
                call=self.call,
                status=self.status,
                maybe_done=self.changing,
            ) from None


class RateBudget:
    """A token bucket: at most so many calls per second, with bursts of one second's worth. Shared by threads."""

    def __init__(self, calls_per_second: float, clock: Optional[Clock] = None) -> None:
        if not calls_per_second > 0:
            raise ConfigurationError(f"a rate of {calls_per_second} calls per second is none: give more than 0")
        self._rate = calls_per_second
        self._clock = clock or Clock()
        self._size = max(1.0, calls_per_second)
        self._tokens = self._size
        self._filled = self._clock.monotonic()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take one token; sleep until it is there."""
        with self._lock:
            now = self._clock.monotonic()
            self._tokens = min(self._size, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            self._tokens -= 1.0
            wait = -self._tokens / self._rate
        if wait > 0:
            self._clock.sleep(wait)


class Transport:
    """Calls of one account at one endpoint; may be shared by threads.

    A read is tried again (`retries` times, jittered backoff, Retry-After) after ConnectError, AnswerLost, 429 and 5xx.
    A changing call is tried again only where nothing can have happened: ConnectError and 429. Anything else is the
    caller's to judge by `maybe_done`.

    Certificates are checked against `verify`: True (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or those that requests would
    take), a path, or False. The environment (CA bundles, proxies) is looked at once, when the transport is made.

    `effects` counts the changing calls that had their effect, or may have had it.
    """

    def __init__(
        self,
        endpoint: str,
        auth: str,
        *,
        timeouts: Timeouts = TIMEOUTS,
        verify: Union[bool, str] = True,
        retries: int = 3,
        clock: Optional[Clock] = None,
        user_agent: str = USER_AGENT,
        rate: Optional[RateBudget] = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not HAS_REQUESTS:
            raise ConfigurationError("the Python library requests is missing here: install python3-requests")
        self.endpoint = parse_endpoint(endpoint)
        self.account = parse_auth(auth)
        self.clock = clock or Clock()
        self.timeouts = timeouts
        self.retries = retries
        self._rate = rate
        self._jitter = jitter
        self._here = threading.local()
        self._headers = {
            "Authorization": self.account.header(),
            "User-Agent": user_agent,
        }
        self._pool, self._base, self._broken = _way(self.endpoint, verify)
        self._counting = threading.Lock()
        self.effects = 0

    def __repr__(self) -> str:
        return f"Transport({self.endpoint!r}, user={self.account.user!r})"

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextlib.contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """In this thread, and while the block runs, no call and no retry goes past `deadline`."""
        before = getattr(self._here, "deadline", None)
        self._here.deadline = deadline
        try:
            yield
        finally:
            self._here.deadline = before

    def read(self, path: str, *, raw: bool = False, limit: int = REPLY_LIMIT) -> Reply:
        """GET; tried again when it fails. `raw`: the answer is bytes, not properties; `limit`: most bytes taken."""
        accept = "application/octet-stream" if raw else "application/json"
        return self._retried("GET", path, None, {"Accept": accept}, (), limit)

    def change(
        self,
        path: str,
        properties: Optional[Mapping[str, Optional[str]]] = None,
        *,
        body: Optional[Body] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Reply:
        """POST `properties` as JSON, or `body` as it is, or nothing. Repeated only when certainly nothing was done."""
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        content: Body = body if body is not None else b""
        if isinstance(content, FilePart):
            sent["Content-Length"] = str(len(content))
        if properties is not None:
            content = formats.format_json(properties)
        try:
            reply = self._retried("POST", path, content, sent, faults.secrets_of(properties), REPLY_LIMIT)
        except ElasticHostsError as error:
            if error.maybe_done:
                self._count_effect()
            raise
        self._count_effect()
        return reply

    def _count_effect(self) -> None:
        with self._counting:
            self.effects += 1

    def _retried(
        self,
        method: str,
        path: str,
        body: Optional[Body],
        headers: Dict[str, str],
        secrets: Tuple[str, ...],
        limit: int,
    ) -> Reply:
        for attempt in range(self.retries + 1):
            try:
                return self._once(method, path, body, headers, secrets, limit)
            except ElasticHostsError as error:
                pause = self._pause(error, attempt, reading=method == "GET")
                if pause is None:
                    raise
                logger.debug("%s %s: %s; again in %.1f s", method, path, type(error).__name__, pause)
                self.clock.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: ElasticHostsError, attempt: int, *, reading: bool) -> Optional[float]:
        """Seconds until the next attempt, or None when there is to be none."""
        if attempt >= self.retries or not faults.worth_another(error, reading=reading):
            return None
        pause = min(BACKOFF_CAP, BACKOFF * 2.0**attempt) * (0.5 + self._jitter() / 2)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            pause = max(pause, min(asked, RETRY_AFTER_CAP))
        deadline: Optional[Deadline] = getattr(self._here, "deadline", None)
        return None if deadline is not None and pause >= deadline.left() else pause

    def _once(
        self,
        method: str,
        path: str,
        body: Optional[Body],
        headers: Dict[str, str],
        secrets: Tuple[str, ...],
        limit: int,
    ) -> Reply:
        if self._rate is not None:
            self._rate.take()
        asked = faults.Asked(f"{method} {path}", self.endpoint, self.account, method != "GET", secrets)
        limits = self._limits()
        end = self.clock.monotonic() + limits.total
        try:
            sent = {**self._headers, **headers}
            timeout = limits.connect, limits.read
            answer = self._pool.request(connections.Call(method, self._base + path, sent, body, timeout))
            try:
                content = self._content(answer, asked, limit, end)
            except BaseException:
                answer.close()  # what is left in the connection belongs to no call
                raise
            finally:
                answer.release_conn()
        except self._broken as error:
            raise faults.transport_error(error, asked) from None
        if 200 <= answer.status < 300:
            kind = answer.headers.get("Content-Type", "")
            return Reply(answer.status, kind, content, asked.call, asked.changing)
        raise faults.api_error(answer.status, answer.headers, content, asked)

    def _limits(self) -> Timeouts:
        deadline: Optional[Deadline] = getattr(self._here, "deadline", None)
        if deadline is None:
            return self.timeouts
        left = max(deadline.left(), 0.1)
        return Timeouts(*(min(seconds, left) for seconds in self.timeouts))

    def _content(self, answer: connections.Answer, asked: faults.Asked, limit: int, end: float) -> bytes:
        """The whole body: neither longer than `limit`, nor shorter than announced, nor after `end`."""
        pieces: List[bytes] = []
        size = 0
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise faults.packed(asked)
        while True:
            piece = answer.read1(PIECE)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise faults.too_long(asked, limit)
            if self.clock.monotonic() > end:
                raise faults.too_slow(asked)
        announced = answer.headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit() and size < int(announced):
            raise faults.cut_short(asked, size, int(announced))
        return b"".join(pieces)


def _way(endpoint: str, verify: Union[bool, str]) -> Tuple[connections.Pool, str, Tuple[Type[BaseException], ...]]:
    """Connections, direct or by the proxy of the environment; what they want before a path; what they raise.

    Raises ConfigurationError when there is no such file with certificates.
    """
    trust = _tls(verify) if endpoint.startswith("https:") else None
    parts = urlsplit(endpoint)
    raised = (OSError, http.client.HTTPException)
    names = ("all_proxy", f"{parts.scheme}_proxy")
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in names):
        import requests
        import urllib3.exceptions

        # requests knows all that may stand in these variables; it is slow to load, and seldom needed.
        utils: Any = requests.utils
        proxy = utils.select_proxy(endpoint, utils.get_environ_proxies(endpoint))
        if proxy:
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections.CONNECTIONS)
            given = {} if trust is None else {"ssl_context": trust}
            manager = adapter.proxy_manager_for(utils.prepend_scheme_if_needed(proxy, "http"), **given)
            return connections.Proxied(manager), endpoint, (*raised, urllib3.exceptions.HTTPError)
    return connections.Direct(endpoint, trust), parts.path, raised


def _tls(verify: Union[bool, str]) -> ssl.SSLContext:
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = _certificates(verify)
    folder = path.is_dir()
    try:
        return ssl.create_default_context(cafile=None if folder else str(path), capath=str(path) if folder else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{str(path)!r} holds no certificates ({error}): correct ca_path") from None


def _certificates(verify: Union[bool, str]) -> Path:
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    path = Path(verify if isinstance(verify, str) else named or certifi.where())
    if not path.exists():
        source = "ca_path" if verify is not True else "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
        raise ConfigurationError(f"there is no file {str(path)!r} with certificates: correct {source}")
    return path
