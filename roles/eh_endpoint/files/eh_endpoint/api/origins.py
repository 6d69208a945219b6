# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses what a browser sends for the page of another site.

A browser remembers the credentials of HTTP Basic authentication and adds them to every request to the endpoint, also
to those of other sites' pages (cross-site request forgery). It says which site a page is of: by Origin, on every
request that can change something, and by Sec-Fetch-Site where the connection is HTTPS or loopback. A page can set
neither of them, and API clients send none.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from ..errors import ForeignOrigin

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SCHEMES = {"ws": "http", "wss": "https"}
_NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


class OwnOrigin:
    """The origin of the endpoint's own pages. given: SCHEME://HOST[:PORT], or None for that of the request's Host."""

    def __init__(self, given: str | None) -> None:
        self._given = given

    def check(self, request: HTTPConnection) -> None:
        """Raise ForeignOrigin for a request of another site's page, unless it is a link to one of the pages."""
        site = request.headers.get("sec-fetch-site")
        if site not in (None, "same-origin", "none") and not _follows_link(request):
            raise ForeignOrigin(f"Sec-Fetch-Site is {site[:40]!a}: {_ADVICE}")
        for origin in request.headers.getlist("origin"):
            # A form of a page with "Referrer-Policy: no-referrer" has the Origin null, though its site is the same.
            if not self.is_of(request, origin) and not (origin == "null" and site == "same-origin"):
                raise ForeignOrigin(f"Origin is {origin[:80]!a}: {_ADVICE}")

    def is_of(self, request: HTTPConnection, origin: str) -> bool:
        """Tell whether an Origin header names the endpoint itself. A malformed one names nothing."""
        host = request.headers.get("host")
        own = self._given
        if own is None and host:
            own = f"{_SCHEMES.get(request.scope['scheme'], request.scope['scheme'])}://{host}"
        return own is not None and _canonical(origin) == _canonical(own)


_ADVICE = (
    "pages of other sites cannot call this endpoint. If this page is its own, and a proxy is before it, start it with "
    "--origin and the address that browsers use"
)


def _follows_link(request: HTTPConnection) -> bool:
    """Tell whether a request is a link to the status page or to a console: it changes nothing, and a person sees it."""
    path = request.scope["path"]
    return (
        request.scope.get("method") == "GET"
        and (path == "/" or path.startswith("/console/"))
        and all(request.headers.get(name) == value for name, value in _NAVIGATION.items())
    )


def _canonical(origin: str) -> str:
    """Return an origin in lower case, without the port that its scheme has by default."""
    lowered = origin.lower()
    return lowered.removesuffix(_DEFAULT_PORTS.get(lowered.partition(":")[0], ""))
