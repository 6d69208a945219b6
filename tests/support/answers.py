# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces the HTTP connection of an API client by a function."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import http_client
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts

Answer = tuple[int, Mapping[str, str], bytes]
"""status, headers, body"""


class FunctionAdapter(HTTPAdapter):
    """Calls a function with (method, path, headers, body); its exceptions count as errors after sending the request."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_options: Any) -> requests.Response:
        http_client._here.exchange.sent = True
        path, body = urlsplit(request.url or "").path, bytes(request.body or b"")  # type: ignore[arg-type]
        status, headers, content = self._answer(str(request.method), str(path), dict(request.headers), body)
        raw = urllib3.HTTPResponse(io.BytesIO(content), headers=headers, status=status, preload_content=False)
        return self.build_response(request, raw)


def answered(client: ElasticHosts, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> ElasticHosts:
    """Return `client`, with all its calls answered by a function."""
    client.transport._adapter = FunctionAdapter(answer)
    return client
