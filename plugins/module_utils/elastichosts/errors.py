# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All errors of this package.

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

from typing import Dict, Optional, Tuple, Type, Union

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


class TransportError(ElasticHostsError):
    """No answer came."""

    code = "transport"


class ConnectError(TransportError):
    """Nothing was sent. `lasting` is true when another try would meet the same wall (unknown name, TLS)."""

    code = "connect"

    def __init__(self, message: str, *, call: str = "", lasting: bool = False) -> None:
        super().__init__(message, call=call)
        self.lasting = lasting


class AnswerLost(TransportError):
    """The request left, its answer did not arrive whole. `late`: nothing broke, it took too long, and may go on."""

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

ADVICE: Dict[Type[ApiError], str] = {
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
