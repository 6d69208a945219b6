# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP session to one endpoint: auth, time-outs, retries by kind of call, rate budget, redaction."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import logging
import random
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, TypeVar, Union

from . import faults, wire
from .clock import Clock, Deadline
from .endpoint import parse_auth, parse_endpoint
from .errors import ConfigurationError, ElasticHostsError, ProtocolError

try:
    import requests
    import requests.adapters
    import urllib3
    import urllib3.exceptions
except ImportError:
    HAS_REQUESTS = False
else:
    HAS_REQUESTS = True

T = TypeVar("T")
VERSION = "0.1.0"
USER_AGENT = f"opennebula.elastichosts/{VERSION}"
CONNECTIONS = 32
"""Connections kept open: more than any caller's number of threads."""
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

    def object(self) -> wire.Properties:
        """The body as one object. Raises ProtocolError."""
        return self._parsed(wire.parse_object)

    def objects(self) -> List[wire.Properties]:
        """The body as several objects. Raises ProtocolError."""
        return self._parsed(wire.parse_objects)

    def rows(self) -> List[wire.Row]:
        """The body as the rows of a list call. Raises ProtocolError."""
        return self._parsed(wire.parse_rows)

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

    Certificates are checked against `verify`: True (the system's, or REQUESTS_CA_BUNDLE), a path, or False. It is
    passed with every call, because a session's own value loses against the environment.
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
        if verify is False:
            # Asked for in so many words; a warning with every call would only fill the logs.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._session = _session(self.account.header(), user_agent)
        environment = requests.sessions.Session().merge_environment_settings(self.endpoint, {}, None, verify, None)
        self._proxies = environment["proxies"]
        self._verify = environment["verify"] if verify is True else verify
        if isinstance(self._verify, str) and not Path(self._verify).exists():
            source = "ca_path" if verify is not True else "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
            raise ConfigurationError(f"there is no file {self._verify!r} with certificates: correct {source}")

    def __repr__(self) -> str:
        return f"Transport({self.endpoint!r}, user={self.account.user!r})"

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

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
        body: Union[bytes, memoryview, None] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Reply:
        """POST `properties` as JSON, or `body` as it is, or nothing. Repeated only when certainly nothing was done."""
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        content: Union[bytes, memoryview] = body if body is not None else b""
        if properties is not None:
            content = wire.format_json(properties)
        return self._retried("POST", path, content, sent, faults.secrets_of(properties), REPLY_LIMIT)

    def _retried(
        self,
        method: str,
        path: str,
        body: Union[bytes, memoryview, None],
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
        body: Union[bytes, memoryview, None],
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
            with self._session.request(
                method,
                self.endpoint + path,
                data=body,
                headers=headers,
                timeout=(limits.connect, limits.read),
                verify=self._verify,
                proxies=self._proxies,
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = self._content(answer, asked, limit, end)
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            raise faults.transport_error(error, asked) from None
        if 200 <= answer.status_code < 300:
            kind = answer.headers.get("Content-Type", "")
            return Reply(answer.status_code, kind, content, asked.call, asked.changing)
        raise faults.api_error(answer.status_code, answer.headers, content, asked)

    def _limits(self) -> Timeouts:
        deadline: Optional[Deadline] = getattr(self._here, "deadline", None)
        if deadline is None:
            return self.timeouts
        left = max(deadline.left(), 0.1)
        return Timeouts(*(min(seconds, left) for seconds in self.timeouts))

    def _content(self, answer: Any, asked: faults.Asked, limit: int, end: float) -> bytes:
        """The whole body: neither longer than `limit`, nor shorter than announced, nor after `end`."""
        pieces: List[bytes] = []
        size = 0
        for piece in _pieces(answer):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise faults.too_long(asked, limit)
            if self.clock.monotonic() > end:
                raise faults.too_slow(asked)
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and not answer.headers.get("Content-Encoding") and size < int(announced):
            raise faults.cut_short(asked, size, int(announced))
        return b"".join(pieces)


def _pieces(answer: Any) -> Iterator[bytes]:
    """The body as it comes in, without waiting for a full piece: so the time can be looked at even when it drips."""
    raw = answer.raw
    if hasattr(raw, "read1"):
        yield from iter(lambda: raw.read1(PIECE, decode_content=True), b"")
    elif answer.headers.get("Content-Encoding"):
        yield from answer.iter_content(PIECE)
    else:
        # urllib3 1.26 (Debian 11 and 12) lacks it, the response below has it; the last read frees the connection.
        yield from iter(lambda: raw._original_response.read1(PIECE), b"")
        raw.read()


def _session(authorization: str, user_agent: str) -> Any:
    session = requests.Session()
    # The environment (.netrc, CA bundles, proxies) is looked at once, when the transport is made, not on every call.
    session.trust_env = False
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update(
        {
            "Authorization": authorization,
            "User-Agent": user_agent,
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session
