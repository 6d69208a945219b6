# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the API with their HTTP status (elastichosts-api 1.6).

    ApiError              status  X-Elastic-Error
     +- Usage                400  usage
     +- Unauthorised         401  auth
     +- Billing              402  billing
     +- ForeignOrigin        403  auth
     +- Missing              404  missing
     +- Method               405  method
     +- Busy                 409  busy
     +- Failed               500  failed
     +- SystemFault          500  system
     +- Full                 507  full
         +- DiskFull         507  full

The message is the body of the reply: one line that names the object by its UUID and never holds a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ApiError(Exception):
    """An error reply. Each class has its status and its word for X-Elastic-Error."""

    status: ClassVar[int] = 500
    word: ClassVar[str] = "system"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Put the object concerned at the beginning of the messages of errors."""
    try:
        yield
    except ApiError as error:
        raise type(error)(f"{subject}: {error.message}") from None


class Usage(ApiError):
    status, word = 400, "usage"


class Unauthorised(ApiError):
    status, word = 401, "auth"


class Billing(ApiError):
    status, word = 402, "billing"


class ForeignOrigin(ApiError):
    status, word = 403, "auth"


class Missing(ApiError):
    status, word = 404, "missing"


class Method(ApiError):
    status, word = 405, "method"


class Busy(ApiError):
    status, word = 409, "busy"


class Failed(ApiError):
    status, word = 500, "failed"


class SystemFault(ApiError):
    status, word = 500, "system"


class Full(ApiError):
    status, word = 507, "full"


class DiskFull(Full):
    """The disk of the endpoint is full; a line in the log tells its administrator."""
