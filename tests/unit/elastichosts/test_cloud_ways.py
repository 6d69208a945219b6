# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to an endpoint: its certificate and who vouches for it, proxies of the environment, addresses."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, transport
from tests.support.endpoint import KEY, USER
from tests.unit.elastichosts.scripted import FakeClock, Relay, free_port, good

AUTH = f"{USER}:{KEY}"


class Authority:
    """A certificate for 127.0.0.1 that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(key), "-out", str(self.certificate), "-days", "2", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_an_unknown_certificate_is_refused_and_ca_path_named(authority: Authority, clock: FakeClock) -> None:
    with Relay(context=authority.context) as relay:
        wire = transport.Transport(relay.url, AUTH, clock=clock)
        with pytest.raises(errors.ConnectError, match=r"certificate.*ca_path") as caught:
            wire.change("/servers/create", {})
    assert not caught.value.maybe_done
    assert clock.slept == []


def test_a_ca_path_is_used_against_any_environment(
    authority: Authority, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(Authority(other).certificate))
    with Relay(context=authority.context) as relay:
        relay.on(".*", good())
        for verify in (str(authority.certificate), False):
            reply = transport.Transport(relay.url, AUTH, clock=clock, verify=verify).read("/servers/info")
            assert reply.status == 200
        with pytest.raises(errors.ConnectError):
            transport.Transport(relay.url, AUTH, clock=clock).read("/servers/info")


def test_the_environments_authorities_count_where_no_ca_path_is_given(
    authority: Authority, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
    with Relay(context=authority.context) as relay:
        relay.on(".*", good())
        assert transport.Transport(relay.url, AUTH, clock=clock).read("/servers/info").status == 200


def test_a_ca_path_that_is_not_there_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"no file '/none.pem'.*correct ca_path"):
        transport.Transport("https://127.0.0.1:1", AUTH, verify="/none.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem")
    with pytest.raises(errors.ConfigurationError, match="correct REQUESTS_CA_BUNDLE"):
        transport.Transport("https://127.0.0.1:1", AUTH)


def test_a_ca_path_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(errors.ConfigurationError, match=r"empty.pem' holds no certificates .*: correct ca_path"):
        transport.Transport("https://127.0.0.1:1", AUTH, verify=str(tmp_path / "empty.pem"))


def test_a_proxy_that_is_down_is_told_without_its_password(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:proxypw@127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    wire = transport.Transport("http://cloud.example", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match="proxy") as caught:
        wire.change("/servers/create", {})
    assert "proxypw" not in str(caught.value)


def test_calls_go_through_the_proxy_of_the_environment(
    scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.on(".*", good())
    monkeypatch.setenv("http_proxy", scripted.url.replace("//", "//me:proxypw@"))
    monkeypatch.delenv("no_proxy", raising=False)
    wire = transport.Transport("http://cloud.example/api", AUTH, clock=clock)
    assert wire.read("/servers/info").objects() == []
    wire.change("/servers/x/stop")
    wire.close()
    assert scripted.calls == [
        "GET http://cloud.example/api/servers/info",
        "POST http://cloud.example/api/servers/x/stop",
    ]
    assert scripted.connections == 1
    assert all("proxy-authorization" in headers for _call, headers, _body in scripted.requests)


def test_an_address_that_no_library_takes_is_told_at_once(clock: FakeClock) -> None:
    wire = transport.Transport(f"http://{'a' * 300}.example", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError):
        wire.read("/servers/info")
    assert clock.slept == []


def test_a_plain_http_port_behind_https_is_told(scripted: Relay, clock: FakeClock) -> None:
    wire = transport.Transport(scripted.url.replace("http:", "https:"), AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match="no trusted TLS connection"):
        wire.read("/servers/info")
