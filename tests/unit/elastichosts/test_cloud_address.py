# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of endpoint and auth, before any call is made."""

from __future__ import annotations

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import address
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://eh.example.org/", "https://eh.example.org"),
        (" HTTP://127.0.0.1:8099/ ", "http://127.0.0.1:8099"),
        ("https://us-east.crosspeer.com/api/", "https://us-east.crosspeer.com/api"),
        ("http://[::1]:8099", "http://[::1]:8099"),
    ],
)
def test_an_endpoint_may_have_a_prefix_and_a_final_slash(given: str, base: str) -> None:
    assert address.parse_endpoint(given) == base


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "no endpoint: set EHURI"),
        (None, "no endpoint: set EHURI"),
        ("127.0.0.1:8099", "no http:// or https:// address"),
        ("ftp://cloud.example", "no http:// or https:// address"),
        ("http://", "no http:// or https:// address"),
        ("http://cloud.example:99999", "is no address"),
        ("http://cloud.example:0", "no http:// or https:// address"),
        ("http://cloud .example", "no http:// or https:// address"),
        ("https://cloud.example/?zone=lon", "query or a fragment"),
    ],
)
def test_another_form_of_endpoint_is_named_and_refused(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        address.parse_endpoint(given)


@pytest.mark.parametrize(
    "given",
    [
        "https://1111:s3cr3t@cloud.example/",
        "https://s3cr3t@cloud.example/",
        "1111:s3cr3t@cloud.example",
        "ftp://1111:s3cr3t@cloud.example",
        "http://1111:s3cr3t@cloud.example:99999",
        "https://cloud.example/?auth=s3cr3t",
    ],
)
def test_credentials_in_the_address_are_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address.parse_endpoint(given)
    assert "s3cr3t" not in str(caught.value)
    assert "cloud.example" in str(caught.value)


def test_auth_is_split_at_the_first_colon_only() -> None:
    assert address.parse_auth("1111:a:b:c") == ("1111", "a:b:c")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "no credentials: set EHAUTH"),
        (None, "no credentials: set EHAUTH"),
        ("1111", "lacks its secret API key"),
        ("1111:", "lacks its secret API key"),
        (":s3cr3t", "lacks its user UUID"),
        ("1111:s3cr3t\nx", "control characters"),
        ("1111:s3cr3t\udcff", "not UTF-8"),
        ("11\udce911:s3cr3t", "not UTF-8"),
        ("11 11:s3cr3t", "white space"),
    ],
)
def test_another_form_of_auth_is_refused_without_the_key(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        address.parse_auth(given)
    assert "s3cr3t" not in str(caught.value)


def test_nothing_that_describes_a_client_shows_the_key() -> None:
    with ElasticHosts("http://127.0.0.1:1", "1111:s3cr3t") as client:
        for thing in (client, client.transport, client.transport.account):
            assert "s3cr3t" not in repr(thing) + str(thing)
            assert "1111" in repr(thing)
