# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of a FAILURE: what to do, a colon, and what was wrong where.

OpenNebula 6.6 and later shows 100 characters of it in a VM's ERROR, the action's name among them; the rest is in the
VM's log only. The sentences of the drivers themselves have this order. Those of the API's client have it the other way
round, as the modules want it; this file turns them.
"""

from __future__ import annotations

from typing import Dict, Type

from ..elastichosts.errors import (
    ADVICE,
    AnswerLost,
    ApiError,
    AuthError,
    BillingError,
    BusyError,
    ConfigurationError,
    ConnectError,
    ElasticHostsError,
    FailedError,
    FullError,
    MethodError,
    MissingError,
    NotUnique,
    ProtocolError,
    Refused,
    SourceInUse,
    SystemFault,
    ThrottledError,
    TransportError,
    UsageError,
    WaitTimeout,
)

REMEDIES: Dict[Type[ElasticHostsError], str] = {
    ConfigurationError: "Correct EHURI, EHAUTH, EHCA or the proxy in the settings",
    SourceInUse: "Stop the server that uses the source of IMAGE, or set SOURCE_IN_USE=allow",
    Refused: "Correct EH=[...] of the VM, or what it names at ElasticHosts",
    ConnectError: "Look whether the endpoint is up, and EHURI in vmm_ehrc is right",
    AnswerLost: "Try again when the endpoint answers",
    TransportError: "Try again when the endpoint answers",
    ProtocolError: "Check EHURI in vmm_ehrc, and the proxies and gateways on the way",
    UsageError: "Correct the value in EH=[...] that the answer of the cloud names",
    AuthError: "Check EHAUTH in vmm_ehrc, and that EHURI is the zone of this account",
    BillingError: "Raise the balance or subscription of the account, or free something",
    MissingError: "Check the UUIDs in EH=[...], and that EHURI is the zone where they live",
    MethodError: "Report this as a fault, please",
    BusyError: "Stop the server that uses the drive or address, or let imaging end",
    ThrottledError: "Try again in a while, with fewer actions at a time",
    FailedError: "Read the answer of the cloud, and try again",
    SystemFault: "Try again later, the cloud has a fault",
    FullError: "Free space in the account, or ask for less",
    ApiError: "Read the answer of the cloud, and try again",
    NotUnique: "Name the drive in EH=[...] by its UUID",
    WaitTimeout: "Try again, or raise ACTION_TIMEOUT or IMAGE_TIMEOUT in vmm_ehrc",
    ElasticHostsError: "Read the answer of the cloud, and try again",
}
"""what to do about an error of the API's client; the nearest base class counts"""


SHORT = 80
"""characters: a text that is shown whole anyway; the longest name of an action, a colon and a blank are 20"""


def sentence(error: Exception) -> str:
    """Return the text of ``error`` for the core, with what to do first."""
    if not isinstance(error, ElasticHostsError):
        return str(error)
    if len(str(error)) <= SHORT:
        return str(error)[:1].upper() + str(error)[1:]
    remedy = next(REMEDIES[kind] for kind in type(error).__mro__ if kind in REMEDIES)
    return f"{remedy}: {details(error)}"


def details(error: Exception) -> str:
    """Return what was wrong where, without the general advice that ends the text of an ``ApiError``."""
    text = str(error)
    for advice in (ADVICE[kind] for kind in type(error).__mro__ if kind in ADVICE):
        text = text[: -len(advice)].rstrip(": ") if text.endswith(advice) else text
    return f"{text}." if text and not text.endswith((".", "?")) else text


def internal_error(error: BaseException) -> str:
    """Return the text of a FAILURE after an unexpected exception: with its class, not its message (secrets)."""
    return (
        f"See the driver's log, and report this as a fault: the driver met a fault of its own ({type(error).__name__})."
    )
