# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went wrong, as one sentence: from exceptions of the HTTP library and from error answers to our error tree."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Type

from .address import HIDDEN, Account
from .errors import (
    ADVICE,
    BY_CODE,
    AnswerLost,
    ApiError,
    AuthError,
    ConnectError,
    ElasticHostsError,
    FailedError,
    ProtocolError,
    SystemFault,
    ThrottledError,
    TransportError,
)
from .identifiers import SECRET_KEYS

TEXT_LIMIT = 300
NEVER_BEFORE_ANSWER = (
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "ALERT",
    "UNKNOWN_CA",
    "NO_CERTIFICATE",
)
LATE = {"TimeoutError", "timeout", "ReadTimeoutError"}
BARE_CODES: Dict[int, Type[ApiError]] = {401: AuthError, 429: ThrottledError}
"""Statuses that say enough without X-Elastic-Error. A bare 404 does not: it must never read as "the server is gone"."""


class Asked(NamedTuple):
    """The call an error is about: "POST /servers/create", and what must not be told of it."""

    call: str
    endpoint: str
    account: Account
    changing: bool
    secrets: Tuple[str, ...] = ()

    def clean(self, text: str) -> str:
        """Foreign text as part of a sentence: one line, bounded, without a secret of this call."""
        for secret in (self.account.key, self.account.header().partition(" ")[2], *self.secrets):
            text = text.replace(secret, HIDDEN)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "..."


def secrets_of(properties: Optional[Mapping[str, Optional[str]]]) -> Tuple[str, ...]:
    """The values among `properties` that no text may repeat."""
    return tuple(value for key, value in (properties or {}).items() if key in SECRET_KEYS and value)


def worth_another(error: ElasticHostsError, *, reading: bool) -> bool:
    """May the transport itself send this call once more?"""
    if isinstance(error, ConnectError):
        return not error.lasting
    if isinstance(error, ThrottledError):
        return True
    return reading and isinstance(error, (AnswerLost, FailedError, SystemFault))


def api_error(status: int, headers: Mapping[str, str], content: bytes, asked: Asked) -> ElasticHostsError:
    """The error that an answer other than 2xx stands for (elastichosts-api 1.6)."""
    word = headers.get("X-Elastic-Error", "").partition(" ")[0].strip().lower()
    kind = BARE_CODES.get(status) or BY_CODE.get(word)
    if kind is None and status >= 500:
        kind = SystemFault
    text = asked.clean(content[: 4 * TEXT_LIMIT].decode("utf-8", "replace"))
    if kind is None:
        return _foreign(status, headers, asked)
    if text.startswith("<"):
        text = ""
    return kind(
        _sentence(kind, status, text, asked),
        call=asked.call,
        status=status,
        code=word or kind.code,
        text=text,
        maybe_done=asked.changing and status >= 500,
        retry_after=_seconds(headers.get("Retry-After", "")),
    )


def _sentence(kind: Type[ApiError], status: int, text: str, asked: Asked) -> str:
    said = text.rstrip(". ") or f"status {status}"
    if kind is AuthError:
        return f"{asked.call}: the endpoint {asked.endpoint} refused user {asked.account.user} ({said}): {ADVICE[kind]}"
    return f"{asked.call}: the endpoint {asked.endpoint} answered {status} {kind.code} ({said}): {ADVICE[kind]}"


def _foreign(status: int, headers: Mapping[str, str], asked: Asked) -> ProtocolError:
    if 300 <= status < 400:
        target = re.match(r"(https?://)(?:[^/@]*@)?([^/?#]*)", headers.get("Location", ""))
        where = f"redirected to {''.join(target.groups())}" if target else "redirected"
        what = (
            f"{asked.clean(where)} ({status}), and credentials do not follow: "
            "set EHURI or endpoint to the final address"
        )
    else:
        what = (
            f"answered {status} without the X-Elastic-Error header of an ElasticHosts API: "
            "check EHURI or endpoint, its path prefix, and any proxy between"
        )
    return ProtocolError(
        f"{asked.call}: {asked.endpoint} {what}",
        call=asked.call,
        status=status,
        maybe_done=asked.changing and status >= 500,
    )


def _seconds(text: str) -> Optional[float]:
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text.strip()) else None


def transport_error(error: BaseException, asked: Asked) -> TransportError:
    """What an exception of http.client or urllib3 means: was anything sent, and what can be done about it?"""
    causes = list(_chain(error))
    tls = _first(causes, ssl.SSLError)
    names = {type(cause).__name__ for cause in causes}
    if tls is not None and any(word in str(tls) for word in NEVER_BEFORE_ANSWER):
        return ConnectError(
            f"{asked.call}: no trusted TLS connection to {asked.endpoint} ({_tls_reason(tls)}): "
            "give the authority's certificate as ca_path, or correct EHURI or endpoint",
            call=asked.call,
            lasting=True,
        )
    unknown = _first(causes, socket.gaierror)
    if unknown is not None or "NameResolutionError" in names:
        return ConnectError(
            f"{asked.call}: the name in {asked.endpoint} does not resolve: correct EHURI or endpoint, or the resolver",
            call=asked.call,
            lasting=unknown is None or unknown.args[:1] != (socket.EAI_AGAIN,),
        )
    if "ConnectTimeoutError" in names and "NewConnectionError" not in names:
        return _unreachable("no connection within the time-out", asked)
    if "ProxyError" in names:
        return _unreachable("the proxy that the environment names did not connect", asked)
    if _first(causes, UnicodeError) is not None or "LocationParseError" in names:
        return _unreachable("the address is not valid", asked, lasting=True)
    if "NewConnectionError" in names:
        system = next((cause for cause in causes if isinstance(cause, OSError) and cause.errno), None)
        reason = (system.strerror or "").lower() if system else ""
        return _unreachable(reason or "no connection", asked)
    late = bool(names & LATE)
    return _lost("no answer within the time-out" if late else "the connection broke", asked, late=late)


def _unreachable(reason: str, asked: Asked, *, lasting: bool = False) -> ConnectError:
    return ConnectError(
        f"{asked.call}: could not connect to {asked.endpoint}: {reason}; "
        "is the endpoint running, is EHURI or endpoint right?",
        call=asked.call,
        lasting=lasting,
    )


def _lost(reason: str, asked: Asked, *, late: bool = False) -> AnswerLost:
    if asked.changing:
        advice = "it may have been done: look before trying again"
    else:
        advice = "try again, and check the endpoint"
    return AnswerLost(
        f"{asked.call}: the answer of {asked.endpoint} was lost ({reason}); {advice}",
        call=asked.call,
        maybe_done=asked.changing,
        late=late,
    )


def cut_short(asked: Asked, size: int, announced: int) -> AnswerLost:
    """An answer that ended before its announced length (bytes)."""
    return _lost(f"{size} of {announced} bytes came", asked)


def too_slow(asked: Asked) -> AnswerLost:
    """An answer that drips."""
    return _lost("it came too slowly", asked, late=True)


def too_long(asked: Asked, limit: int) -> ProtocolError:
    """An answer of more than `limit` bytes."""
    return ProtocolError(
        f"{asked.call}: the answer of {asked.endpoint} is longer than {limit} bytes: "
        "check that it is an ElasticHosts API",
        call=asked.call,
        maybe_done=asked.changing,
    )


def packed(asked: Asked) -> ProtocolError:
    """An answer in a content coding, which nobody asked for: its bytes are not what the call is about."""
    return ProtocolError(
        f"{asked.call}: the answer of {asked.endpoint} is compressed though that was not asked for: "
        "look for a gateway between that does it",
        call=asked.call,
        maybe_done=asked.changing,
    )


def _chain(error: Any) -> Iterator[BaseException]:
    """The exception and everything it wraps, in arguments too, as urllib3 does it."""
    seen = set()
    todo = [error]
    while todo:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _first(causes: Any, kind: Type[Any]) -> Any:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


def _tls_reason(error: ssl.SSLError) -> str:
    reason = getattr(error, "verify_message", "") or error.reason or "handshake failed"
    return str(reason).replace("_", " ").lower()
