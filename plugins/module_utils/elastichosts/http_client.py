# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP calls of one account to one endpoint, by requests: auth, time-outs, one deadline for a call, retries by verb."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, TypeVar, Union
from urllib.parse import urlsplit

from . import errors, formats
from .address import parse_auth, parse_endpoint
from .clock import Clock, Deadline
from .errors import CallContext, ConfigurationError, ElasticHostsError, ProtocolError
from .properties import SECRET_KEYS

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
except ImportError:
    HAS_REQUESTS = False
else:
    HAS_REQUESTS = True

T = TypeVar("T")
VERSION = "1.0.0"
USER_AGENT = f"opennebula.elastichosts/{VERSION}"
CONNECTIONS = 64
"""connections that are kept open between calls: more than any caller has threads"""
REPLY_LIMIT = 256 * 1024 * 1024
"""bytes of the longest answer that is accepted; a listing of 50,000 servers has about 50 MB"""
SENT_PIECE = 1024 * 1024
"""bytes that are sent at a time"""
READ_PIECE = 4 * 1024 * 1024
"""bytes that are read at a time: the longest answer to a read of a drive, so that it is not copied once more"""
BACKOFF = 0.25
BACKOFF_CAP = 8.0
RETRY_AFTER_CAP = 30.0
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

logger = logging.getLogger(__name__)


class Timeouts(NamedTuple):
    """Seconds: to connect, between two pieces of an answer, and for one whole call."""

    connect: float = 5.0
    read: float = 60.0
    total: float = 300.0


TIMEOUTS = Timeouts()


class Reply(NamedTuple):
    """An answer with status 2xx, and the call that it belongs to."""

    status: int
    content_type: str
    content: bytes
    call: str
    changing: bool = False

    def object(self) -> formats.Properties:
        """Return the body as one object. Raises ProtocolError."""
        return self._parsed(formats.parse_object)

    def objects(self) -> List[formats.Properties]:
        """Return the body as several objects. Raises ProtocolError."""
        return self._parsed(formats.parse_objects)

    def described(
        self, make: Callable[[formats.Properties, Reply], T], left_out: Optional[List[str]] = None
    ) -> List[T]:
        """Return what `make` makes of each row of a listing.

        A row that describes no object raises ProtocolError: what is not in a listing counts as gone. Callers that only
        show what there is pass `left_out`, which takes the reasons for what is left out. A listing of which no row can
        be used is an error then too.
        """
        rows = self._parsed(lambda content, kind: formats.parse_objects(content, kind, left_out))
        found, unusable = [], None
        for row in rows:
            try:
                found.append(make(row, self))
            except ProtocolError as error:
                if left_out is None:
                    raise
                unusable = error
                left_out.append(str(error))
        if unusable and not found:
            raise unusable
        return found

    def rows(self) -> List[formats.Row]:
        """Return the body as the rows of a list call. Raises ProtocolError."""
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


class Transport:
    """Calls of one account at one endpoint; may be shared by threads.

    GET is tried again (`retries` times, with jittered backoff and Retry-After) after ConnectError, AnswerLost, 429 and
    5xx. POST is tried again only where nothing can have been done: after ConnectError and 429. `maybe_done` of the
    error says whether anything else may have been done; what to do about that is up to the caller.

    Certificates are checked against `verify`: True (REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, or those that requests takes),
    a path, or False. CA bundles and proxies of the environment are read once, when the transport is made; .netrc and
    cookies play no part, and redirects are errors.

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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not HAS_REQUESTS:
            raise ConfigurationError("the Python library requests is missing here: install python3-requests")
        self.endpoint = parse_endpoint(endpoint)
        self.account = parse_auth(auth)
        self._token = self.account.header()
        self.clock = clock or Clock()
        self.timeouts = timeouts
        self.retries = retries
        self.effects = 0
        self._jitter = jitter
        self._counting = threading.Lock()
        self._here = threading.local()
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS)
        weakref.finalize(self, self._adapter.close)
        _watch_connections(self._adapter.poolmanager)
        self._verify, self._proxies = _environment(self.endpoint, verify)
        _check_certificates(self.endpoint, self._verify, by_option=verify is not True)
        self._proxied = _prepare_proxy(self._adapter, self.endpoint, self._proxies)

    def __repr__(self) -> str:
        return f"Transport({self.endpoint!r}, user={self.account.user!r})"

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    @contextlib.contextmanager
    def within(self, deadline: Optional[Deadline]) -> Iterator[None]:
        """In this thread, and while the block runs, no call and no retry goes past `deadline`. None is no limit."""
        before = getattr(self._here, "deadline", None)
        self._here.deadline = deadline
        try:
            yield
        finally:
            self._here.deadline = before

    def read(self, path: str, *, raw: bool = False, limit: int = REPLY_LIMIT) -> Reply:
        """GET; repeated when it fails. `raw`: the answer is bytes, not properties; `limit`: most bytes accepted."""
        accept = "application/octet-stream" if raw else "application/json"
        return self._retried("GET", path, None, {"Accept": accept}, (), limit)

    def change(
        self,
        path: str,
        properties: Optional[Mapping[str, Optional[str]]] = None,
        *,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Reply:
        """POST `properties` as JSON, or `body` as it is, or nothing. Repeated only if certainly nothing was done."""
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        content = body if body is not None else b""
        if properties is not None:
            content = formats.format_json(properties)
        secrets = tuple(value for key, value in (properties or {}).items() if key in SECRET_KEYS and value)
        try:
            reply = self._retried("POST", path, content, sent, secrets, REPLY_LIMIT)
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
        body: Optional[bytes],
        headers: Dict[str, str],
        secrets: Tuple[str, ...],
        limit: int,
    ) -> Reply:
        hidden = (self.account.key, self._token.partition(" ")[2], *secrets)
        context = CallContext(f"{method} {path}", self.endpoint, self.account.user, method != "GET", hidden)
        sent = {"Authorization": self._token, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        for attempt in range(self.retries + 1):
            try:
                return self._once(method, path, body, sent, context, limit)
            except ElasticHostsError as error:
                pause = self._pause(error, attempt, reading=method == "GET")
                if pause is None:
                    raise
                logger.debug("%s; trying again in %.1f s", error, pause)
                self.clock.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: ElasticHostsError, attempt: int, *, reading: bool) -> Optional[float]:
        """Return the seconds until the next attempt, or None when there is to be none."""
        if attempt >= self.retries or not errors.may_repeat(error, reading=reading):
            return None
        pause = min(BACKOFF_CAP, BACKOFF * 2.0**attempt) * (0.5 + self._jitter() / 2)
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            pause = max(pause, min(asked, RETRY_AFTER_CAP))
        deadline: Optional[Deadline] = getattr(self._here, "deadline", None)
        return None if deadline is not None and pause >= deadline.left() else pause

    def _once(
        self, method: str, path: str, body: Optional[bytes], headers: Dict[str, str], context: CallContext, limit: int
    ) -> Reply:
        """Send the call once, and return its answer.

        The adapter is used without Session.send, which would follow redirects, keep cookies and read .netrc.
        """
        limits = self._limits()
        with _watchdog.watch(limits) as exchange:
            try:
                request = requests.Request(method, self.endpoint + path, headers=headers, data=body).prepare()
                response = self._adapter.send(
                    request,
                    stream=True,
                    timeout=(limits.connect, limits.read),
                    verify=self._verify,
                    proxies=self._proxies,
                )
                content = _content(response.raw, exchange, context, limit)
            except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError,
                    UnicodeError) as error:  # fmt: skip
                raise errors.transport_error(
                    error, context, sent=exchange.sent, expired=exchange.expired, proxied=self._proxied
                ) from None
        if 200 <= response.status_code < 300:
            kind = response.headers.get("Content-Type", "")
            return Reply(response.status_code, kind, content, context.call, context.changing)
        raise errors.api_error(response.status_code, response.headers, content, context)

    def _limits(self) -> Timeouts:
        deadline: Optional[Deadline] = getattr(self._here, "deadline", None)
        if deadline is None:
            return self.timeouts
        left = max(deadline.left(), 0.1)
        return Timeouts(*(min(seconds, left) for seconds in self.timeouts))


def _content(answer: Any, exchange: _Exchange, context: CallContext, limit: int) -> bytes:
    """Return the whole body of a urllib3 response: neither longer than `limit`, nor shorter than announced."""
    pieces: List[bytes] = []
    size = 0
    try:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise errors.unusable_answer(
                "is compressed though that was not asked for: look for a gateway between that does it", context
            )
        while True:
            piece = answer.read(READ_PIECE, decode_content=False)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise errors.unusable_answer(
                    f"is longer than {limit} bytes: check that it is an ElasticHosts API", context
                )
        if exchange.expired:
            raise socket.timeout("timed out")  # for http.client, the end of a connection may be that of head and body
        announced = answer.headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit() and size < int(announced):  # urllib3 1.26 does not check
            raise errors.answer_lost(f"{size} of {announced} bytes came", context)
    except BaseException:
        answer.close()  # what is left in the connection belongs to no call
        raise
    answer.release_conn()
    return b"".join(pieces)


# --- one deadline for a call


class _Exchange:
    """One call on its way: where it is sent, and what has happened to it."""

    def __init__(self, read_timeout: float) -> None:
        self.read_timeout = read_timeout
        self.connection: Optional[_WatchedConnection] = None
        self.sock: Any = None
        """kept beside its connection, which lets go of it when the answer ends with the connection"""
        self.sent = False
        """whether a byte of the request has been sent"""
        self.expired = False

    def give_up(self) -> None:
        """Shut the connection down, so that whatever waits for it in the thread of the call ends at once."""
        self.expired = True
        if self.connection is not None and self.connection.exchange is self:
            with contextlib.suppress(OSError):
                # TLS within TLS is no socket, but has one. SSLSocket.shutdown would take its state from the reader.
                socket.socket.shutdown(getattr(self.sock, "socket", self.sock), socket.SHUT_RDWR)


class _Watchdog:
    """One thread that gives up each call whose time is over; socket time-outs end only a wait without any byte.

    Without it, a server that sends its answer byte by byte, or "100 Continue" for ever, would hold its caller.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a process that was forked: it has neither the thread nor the calls of its parent."""
        self._changed = threading.Condition()
        self._ends: Dict[_Exchange, float] = {}
        self._thread: Optional[threading.Thread] = None
        self._wakes = 0.0
        """monotonic seconds: when the thread looks next"""

    @contextlib.contextmanager
    def watch(self, limits: Timeouts) -> Iterator[_Exchange]:
        """Give the call of the block, which this thread makes, so much time."""
        exchange = _here.exchange = _Exchange(limits.read)
        end = time.monotonic() + limits.total
        with self._changed:
            self._ends[exchange] = end
            if self._thread is None:
                self._wakes = end
                self._thread = threading.Thread(target=self._run, name="http-deadlines", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._wakes = end
                self._changed.notify()
        try:
            yield exchange
        finally:
            with self._changed:
                self._ends.pop(exchange, None)

    def _run(self) -> None:
        """Look whenever the time of a call is over; end when no call is under way then."""
        with self._changed:
            while self._ends:
                self._wakes = min(self._ends.values())
                self._changed.wait(max(0.0, self._wakes - time.monotonic()))
                for exchange in [one for one, end in self._ends.items() if end <= time.monotonic()]:
                    del self._ends[exchange]
                    exchange.give_up()
            self._thread = None


_watchdog = _Watchdog()
os.register_at_fork(after_in_child=_watchdog.reset)
_here = threading.local()
"""`exchange`: the call that this thread makes"""


class _WatchedConnection(http.client.HTTPConnection):
    """What is put before urllib3's classes of connections: it tells the call of its thread how far it has come."""

    exchange: Optional[_Exchange] = None
    ready = False
    """what is sent belongs to the call; before, it may be a CONNECT for a proxy"""

    def connect(self) -> None:
        self.ready = False
        super().connect()
        self.ready = True
        if _here.exchange.expired:
            raise socket.timeout("timed out")

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        exchange: _Exchange = _here.exchange
        exchange.connection, exchange.sock, self.exchange = self, self.sock, exchange
        if self.ready:
            exchange.sent = True
            # urllib3 sends under the time-out for connecting, and a socket has one for all that is sent at once.
            exchange.sock.settimeout(exchange.read_timeout)
        try:
            for at in range(0, len(data), SENT_PIECE):
                super().send(memoryview(data)[at : at + SENT_PIECE])
        except ConnectionResetError as error:
            # The server may have said why before it hung up; after a broken pipe, urllib3 reads the answer.
            raise BrokenPipeError(*error.args) from None


def _watch_connections(manager: Any) -> None:
    """Have a pool manager of urllib3 make connections that are watched."""
    watched = {}
    for scheme, pool in manager.pool_classes_by_scheme.items():
        connection = type(pool.ConnectionCls.__name__, (_WatchedConnection, pool.ConnectionCls), {})
        watched[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = watched


# --- the environment


def _environment(endpoint: str, verify: Union[bool, str]) -> Tuple[Union[bool, str], Dict[str, str]]:
    """Return CA bundle and proxies as requests takes them from the environment for this endpoint."""
    with requests.Session() as session:
        found: Any = session.merge_environment_settings(endpoint, {}, True, verify, None)
    if verify is False:
        host = re.escape(urlsplit(endpoint).hostname or "")
        warnings.filterwarnings("ignore", f"Unverified HTTPS .*'{host}'")
    return found["verify"], dict(found["proxies"])


def _check_certificates(endpoint: str, verify: Union[bool, str], *, by_option: bool) -> None:
    """Raise ConfigurationError when there is no such file with certificates; requests would fail at the first call."""
    if verify is False or not endpoint.startswith("https:"):
        return
    path = Path(verify if isinstance(verify, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH)
    given = isinstance(verify, str) and not by_option
    source = " or ".join(CA_VARIABLES) if given else "ca_path"
    shown = f"that {source} names" if given else repr(str(path))  # no value of an environment variable is shown
    if not (path.is_file() or path.is_dir()):  # a named pipe would be waited for
        raise ConfigurationError(f"there is no file {shown} with certificates: correct {source}")
    if isinstance(verify, str):
        folder = path.is_dir()
        try:
            ssl.create_default_context(cafile=None if folder else verify, capath=verify if folder else None)
        except (OSError, ssl.SSLError) as error:
            reason = type(error).__name__ if given else error
            raise ConfigurationError(f"the file {shown} holds no certificates ({reason}): correct {source}") from None


def _prepare_proxy(adapter: HTTPAdapter, endpoint: str, proxies: Dict[str, str]) -> bool:
    """Return whether there is a proxy for this endpoint, and have its connections watched.

    Raises ConfigurationError, which names the variable and not its value, when the proxy cannot be used.
    """
    utils: Any = requests.utils
    proxy = utils.select_proxy(endpoint, proxies)
    if not proxy:
        return False
    names = (f"{urlsplit(endpoint).scheme}_proxy", "all_proxy")
    found = [name for name, value in os.environ.items() if name.lower() in names and value == proxy]
    variable = found[0] if found else names[0]
    advice = "write http://HOST:PORT, or socks5h://HOST:PORT"
    try:
        address = utils.prepend_scheme_if_needed(proxy, "http")
        usable = bool(urllib3.util.parse_url(address).host)
        manager = adapter.proxy_manager_for(address)
    except requests.exceptions.InvalidSchema:
        usable, advice = False, "SOCKS needs the Python library PySocks, install python3-pysocks"
    except Exception:  # for a malformed one, requests and urllib3 raise whatever their code runs into
        usable = False
    if not usable:
        raise ConfigurationError(f"the proxy in the environment variable {variable} cannot be used: {advice}")
    _watch_connections(manager)
    return True
