# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All errors of this package, and which of them an answer or an exception of the HTTP library becomes.

::

    ElasticHostsError
    |-- ConfigurationError      the endpoint or auth value has a wrong form; no call was made
    |-- Refused                 the wish cannot be fulfilled as it stands; nothing was changed
    |-- TransportError          no answer came
    |   |-- ConnectError        nothing was sent (refused, name, TLS, connect time-out)
    |   `-- AnswerLost          sent, but the answer did not (fully) come: it may be done
    |-- ProtocolError           an answer that is not of this API (HTML, broken JSON, a redirect)
    |-- ApiError                the API said no
    |   |-- UsageError      400 usage
    |   |-- AuthError       401 auth
    |   |-- BillingError    402 billing
    |   |-- MissingError    404 missing
    |   |-- MethodError     405 method
    |   |-- BusyError       409 busy
    |   |-- ThrottledError  429
    |   |-- FailedError     500 failed
    |   |-- SystemFault     500 system, and every other 5xx
    |   `-- FullError       507 full
    |-- NotUnique               a name that two objects have
    `-- WaitTimeout             a state was not reached in time

`str(error)` is one sentence that says what failed, where, and what to do. It never holds a secret.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type, Union

HIDDEN = "[hidden]"
"""stands for a secret wherever text is shown"""
Failure = Dict[str, Union[int, str, None]]


class ElasticHostsError(Exception):
    """The base. `maybe_done` is true when a changing call may have had its effect: look before trying again."""

    status: Optional[int] = None
    code: str = "error"
    maybe_done: bool = False

    def __init__(self, message: str, *, call: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.call = call

    def __str__(self) -> str:
        return self.message

    def failure(self) -> Failure:
        """The three facts a program may branch on."""
        return {"status": self.status, "code": self.code, "call": self.call}


class ConfigurationError(ElasticHostsError):
    """A setting has a wrong form. No call was made."""

    code = "configuration"


class Refused(ElasticHostsError):
    """What is asked for cannot be reached from what is there. Nothing was changed."""

    code = "refused"


class SourceMissing(Refused):
    """No drive has the name or UUID of the one that is to be copied."""


class SourceInUse(Refused):
    """A running server uses the drive that is to be copied."""


class TransportError(ElasticHostsError):
    """No answer came."""

    code = "transport"


class ConnectError(TransportError):
    """Nothing was sent. `permanent`: retrying cannot succeed (unknown name, TLS)."""

    code = "connect"

    def __init__(self, message: str, *, call: str = "", permanent: bool = False) -> None:
        super().__init__(message, call=call)
        self.permanent = permanent


class AnswerLost(TransportError):
    """The request was sent, and no whole answer came. `late`: nothing broke, but time ran out; it may still go on."""

    code = "answer_lost"

    def __init__(self, message: str, *, call: str = "", maybe_done: bool = True, late: bool = False) -> None:
        super().__init__(message, call=call)
        self.maybe_done = maybe_done
        self.late = late


class ProtocolError(ElasticHostsError):
    """Something answered that does not speak this API."""

    code = "protocol"

    def __init__(self, message: str, *, call: str = "", status: Optional[int] = None, maybe_done: bool = False) -> None:
        super().__init__(message, call=call)
        self.status = status
        self.maybe_done = maybe_done


class ApiError(ElasticHostsError):
    """The API said no: HTTP status, the word of X-Elastic-Error, the text of the body (elastichosts-api 1.6)."""

    code = "api"

    def __init__(
        self,
        message: str,
        *,
        call: str = "",
        status: Optional[int] = None,
        code: str = "",
        text: str = "",
        maybe_done: bool = False,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message, call=call)
        self.status = status if status is not None else type(self).status
        self.code = code or type(self).code
        self.text = text
        self.maybe_done = maybe_done
        self.retry_after = retry_after


class UsageError(ApiError):
    """A value or key that the API does not take."""

    status = 400
    code = "usage"


class AuthError(ApiError):
    """The user or the key is not known there."""

    status = 401
    code = "auth"


class BillingError(ApiError):
    """Balance, subscription or quota do not cover it."""

    status = 402
    code = "billing"


class MissingError(ApiError):
    """No such object, or no such call."""

    status = 404
    code = "missing"


class MethodError(ApiError):
    """GET on a call that changes something."""

    status = 405
    code = "method"


class BusyError(ApiError):
    """The object is in use, or in the wrong state."""

    status = 409
    code = "busy"


class ThrottledError(ApiError):
    """Too many calls. Nothing was done."""

    status = 429
    code = "throttled"


class FailedError(ApiError):
    """The command was understood and failed."""

    status = 500
    code = "failed"


class SystemFault(ApiError):
    """The cloud, or something in front of it, is ill."""

    status = 500
    code = "system"


class FullError(ApiError):
    """No space left, in the drive or in the cloud."""

    status = 507
    code = "full"


class NotUnique(ElasticHostsError):
    """Several objects have that name; `candidates` are their UUIDs."""

    code = "not_unique"

    def __init__(self, message: str, *, candidates: Tuple[str, ...] = (), call: str = "") -> None:
        super().__init__(message, call=call)
        self.candidates = candidates


class WaitTimeout(ElasticHostsError):
    """A state was not reached in time; `last` is the last one seen."""

    code = "timeout"

    def __init__(self, message: str, *, last: str = "", call: str = "") -> None:
        super().__init__(message, call=call)
        self.last = last


BY_CODE: Dict[str, Type[ApiError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        AuthError,
        BillingError,
        MissingError,
        MethodError,
        BusyError,
        ThrottledError,
        FailedError,
        SystemFault,
        FullError,
    )
}

ADVICE: Dict[Type[ElasticHostsError], str] = {
    SourceInUse: "stop that server first, or allow it with source_in_use: allow",
    UsageError: "correct the value that it names",
    AuthError: "check EHAUTH or auth, <user uuid>:<secret API key>, and that the endpoint is the zone of this account",
    BillingError: "raise the balance or subscription of the account, or free something",
    MissingError: "check the UUID, and that the endpoint is the zone where the object lives",
    MethodError: "this is a fault of the caller, please report it",
    BusyError: "wait until it is free (stop the server that uses it, let imaging end) and try again",
    ThrottledError: "make fewer calls at a time, or wait and try again",
    FailedError: "read the reason, look whether it was done all the same, then try again",
    SystemFault: "the cloud has a fault: look whether it was done all the same, then try again later",
    FullError: "use less, or free space",
}

TEXT_LIMIT = 300
"""characters of foreign text that a sentence repeats"""
TLS_REFUSED = (
    "CERTIFICATE_VERIFY_FAILED",
    "UNSUPPORTED_PROTOCOL",
    "ALERT",
    "UNKNOWN_CA",
    "NO_CERTIFICATE",
)
"""in errors of the TLS library by which no request reached the other side, and none ever will"""
PLAIN_PORT = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
"""what the TLS library makes of an answer that is no TLS, by its version"""
BROKEN = frozenset({"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"})
"""ends of a connection without a byte of an answer, which is what most TLS servers do with plain HTTP"""
TLS_ALERT = "\x15\x03"
BARE_CODES: Dict[int, Type[ApiError]] = {401: AuthError, 429: ThrottledError}
"""Statuses that say enough without X-Elastic-Error. A bare 404 does not: it must never read as "the server is gone"."""


class CallContext(NamedTuple):
    """The call that an error is about, such as "POST /servers/create", and the texts that its error must not repeat."""

    call: str
    endpoint: str
    user: str
    changing: bool
    secrets: Tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the endpoint is http://."""
        return self.endpoint.startswith("http:")

    def clean(self, text: str) -> str:
        """Make foreign text fit for a sentence: one line, bounded, without a secret of this call."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "..."


def api_error(status: int, headers: Mapping[str, str], content: bytes, context: CallContext) -> ElasticHostsError:
    """Return the error that an answer other than 2xx stands for (elastichosts-api 1.6)."""
    word = headers.get("X-Elastic-Error", "").partition(" ")[0].strip().lower()
    kind = BARE_CODES.get(status) or BY_CODE.get(word)
    if kind is None and status >= 500:
        kind = SystemFault
    if kind is None:
        return _foreign_answer(status, headers, context)
    text = context.clean(content[: 4 * TEXT_LIMIT].decode("utf-8", "replace"))
    if text.startswith("<"):
        text = ""
    reason = text.rstrip(". ") or f"status {status}"
    answer = f"answered {status} {kind.code} ({reason})"
    if kind is AuthError:
        answer = f"refused user {context.user} ({reason})"
    return kind(
        f"{context.call}: the endpoint {context.endpoint} {answer}: {ADVICE[kind]}",
        call=context.call,
        status=status,
        code=word or kind.code,
        text=text,
        maybe_done=context.changing and status >= 500,
        retry_after=_seconds(headers.get("Retry-After", "")),
    )


def _foreign_answer(status: int, headers: Mapping[str, str], context: CallContext) -> ProtocolError:
    """Return the error for an answer of something that is no ElasticHosts API, such as a redirect of a gateway."""
    if 300 <= status < 400:
        target = re.match(r"(https?://)(?:[^/@]*@)?([^/?#]*)", headers.get("Location", ""))
        where = f"redirected to {''.join(target.groups())}" if target else "redirected"
        what = (
            f"{context.clean(where)} ({status}), and credentials do not follow: "
            "set EHURI or endpoint to the final address"
        )
    else:
        scheme = ", https:// if the port speaks TLS" if status == 400 and context.is_plain else ""
        what = (
            f"answered {status} without the X-Elastic-Error header of an ElasticHosts API: "
            f"check EHURI or endpoint{scheme}, its path prefix, and any proxy between"
        )
    return ProtocolError(
        f"{context.call}: {context.endpoint} {what}",
        call=context.call,
        status=status,
        maybe_done=context.changing and status >= 500,
    )


def _seconds(text: str) -> Optional[float]:
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text.strip()) else None


def transport_error(
    error: BaseException, context: CallContext, *, sent: bool, expired: bool, proxied: bool
) -> TransportError:
    """Return the error that an exception of requests, urllib3, http.client or the system stands for.

    :param sent: whether a byte of the request had been sent
    :param expired: whether the call was ended because its time was over
    :param proxied: whether the connection goes through a proxy
    """
    causes = list(_chain(error))
    names = {type(cause).__name__ for cause in causes}
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    late = expired or bool(names & {"TimeoutError", "timeout", "ReadTimeoutError", "ConnectTimeoutError"})
    if not sent and "ProxyError" in names:
        return _unreachable("the proxy that the environment names did not connect", context)
    if context.is_plain and any(getattr(cause, "line", "").startswith(TLS_ALERT) for cause in causes):
        return ConnectError(
            f"{context.call}: {context.endpoint} is a port that speaks TLS: write https:// in EHURI or endpoint",
            call=context.call,
            permanent=True,
        )
    if tls is not None and any(word in str(tls).upper().replace(" ", "_") for word in PLAIN_PORT):
        return ConnectError(
            f"{context.call}: {context.endpoint} is a port that does not speak TLS: correct the port in EHURI or "
            "endpoint, or write http:// where nobody can listen on the way",
            call=context.call,
            permanent=True,
        )
    if tls is not None and any(word in str(tls) for word in TLS_REFUSED):
        return ConnectError(
            f"{context.call}: no trusted TLS connection to {context.endpoint} ({_tls_reason(tls)}): "
            "give the authority's certificate as ca_path, or correct EHURI or endpoint",
            call=context.call,
            permanent=True,
        )
    if sent:
        if late:
            slow = "it came too slowly" if expired else "no answer within the time-out"
            return answer_lost(slow, context, late=True)
        hint = ": if the port speaks TLS, write https://" if context.is_plain and not proxied and names & BROKEN else ""
        return answer_lost(f"the connection broke{hint}", context)
    if proxied:
        return _unreachable("the proxy that the environment names did not connect", context)
    unknown = next((cause for cause in causes if isinstance(cause, socket.gaierror)), None)
    if unknown is not None or "NameResolutionError" in names:
        return ConnectError(
            f"{context.call}: the name in {context.endpoint} does not resolve: "
            "correct EHURI or endpoint, or the resolver",
            call=context.call,
            permanent=unknown is None or unknown.args[:1] != (socket.EAI_AGAIN,),
        )
    if names & {"LocationParseError", "InvalidURL"} or any(isinstance(cause, UnicodeError) for cause in causes):
        return _unreachable("the address is not valid", context, permanent=True)
    if tls is not None:
        return _unreachable(_tls_reason(tls), context)
    system = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.errno), None)
    if system:
        return _unreachable(system.lower(), context)
    return _unreachable("no connection within the time-out" if late else "no connection", context)


def _unreachable(reason: str, context: CallContext, *, permanent: bool = False) -> ConnectError:
    return ConnectError(
        f"{context.call}: could not connect to {context.endpoint}: {reason}; "
        "is the endpoint running, is EHURI or endpoint right?",
        call=context.call,
        permanent=permanent,
    )


def answer_lost(reason: str, context: CallContext, *, late: bool = False) -> AnswerLost:
    """Return the error for a call that was sent, and whose answer did not come whole."""
    if context.changing:
        advice = "it may have been done: look before trying again"
    else:
        advice = "try again, and check the endpoint"
    return AnswerLost(
        f"{context.call}: the answer of {context.endpoint} was lost ({reason}); {advice}",
        call=context.call,
        maybe_done=context.changing,
        late=late,
    )


def unusable_answer(reason: str, context: CallContext) -> ProtocolError:
    """Return the error for an answer whose body cannot be taken."""
    return ProtocolError(
        f"{context.call}: the answer of {context.endpoint} {reason}",
        call=context.call,
        maybe_done=context.changing,
    )


def may_repeat(error: ElasticHostsError, *, reading: bool) -> bool:
    """Return whether a call that failed so can be sent again without a look at what it did."""
    if isinstance(error, ConnectError):
        return not error.permanent
    if isinstance(error, ThrottledError):
        return True
    return reading and isinstance(error, (AnswerLost, FailedError, SystemFault))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and everything that it wraps, in arguments too, as requests and urllib3 do it."""
    seen = set()
    todo: List[Any] = [error]
    while todo:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _tls_reason(error: ssl.SSLError) -> str:
    reason = getattr(error, "verify_message", "") or error.reason or "handshake failed"
    return str(reason).replace("_", " ").lower()
