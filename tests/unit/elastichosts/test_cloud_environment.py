# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to an endpoint: its certificate and who vouches for it, proxies of the environment, addresses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, http_client
from tests.support.endpoint import KEY, USER
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import Authority, FakeClock, Relay, free_port, good

AUTH = f"{USER}:{KEY}"


def test_an_unknown_certificate_is_refused_and_ca_path_named(authority: Authority, clock: FakeClock) -> None:
    with Relay(context=authority.context) as relay:
        wire = http_client.Transport(relay.url, AUTH, clock=clock)
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
            reply = http_client.Transport(relay.url, AUTH, clock=clock, verify=verify).read("/servers/info")
            assert reply.status == 200
        with pytest.raises(errors.ConnectError):
            http_client.Transport(relay.url, AUTH, clock=clock).read("/servers/info")


def test_the_environments_authorities_count_where_no_ca_path_is_given(
    authority: Authority, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
    with Relay(context=authority.context) as relay:
        relay.on(".*", good())
        assert http_client.Transport(relay.url, AUTH, clock=clock).read("/servers/info").status == 200


def test_a_ca_path_that_is_not_there_is_told_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"no file '/none.pem'.*correct ca_path"):
        http_client.Transport("https://127.0.0.1:1", AUTH, verify="/none.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem")
    with pytest.raises(errors.ConfigurationError, match="correct REQUESTS_CA_BUNDLE") as caught:
        http_client.Transport("https://127.0.0.1:1", AUTH)
    assert "none.pem" not in str(caught.value), "no value of an environment variable is shown"


def test_a_ca_path_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.ConfigurationError, match=r"no file '.*pipe' with certificates: correct ca_path"):
        http_client.Transport("https://127.0.0.1:1", AUTH, verify=str(tmp_path / "pipe"))


def test_a_ca_path_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(errors.ConfigurationError, match=r"empty.pem' holds no certificates .*: correct ca_path"):
        http_client.Transport("https://127.0.0.1:1", AUTH, verify=str(tmp_path / "empty.pem"))


def test_a_proxy_that_is_down_is_told_without_its_password(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:proxypw@127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    wire = http_client.Transport("http://cloud.example", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match="proxy") as caught:
        wire.change("/servers/create", {})
    assert "proxypw" not in str(caught.value)


def test_calls_go_through_the_proxy_of_the_environment(
    scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.on(".*", good())
    monkeypatch.setenv("http_proxy", scripted.url.replace("//", "//me:proxypw@"))
    monkeypatch.delenv("no_proxy", raising=False)
    wire = http_client.Transport("http://cloud.example/api", AUTH, clock=clock)
    assert wire.read("/servers/info").objects() == []
    wire.change("/servers/x/stop")
    wire.close()
    assert scripted.calls == [
        "GET http://cloud.example/api/servers/info",
        "POST http://cloud.example/api/servers/x/stop",
    ]
    assert scripted.connections == 1
    assert all("proxy-authorization" in headers for _call, headers, _body in scripted.requests)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("ftp://me:proxypw@proxy.example:21", "write http://HOST:PORT"),
        ("http://me:proxypw@proxy.example:99999", "write http://HOST:PORT"),
        ("http://me:proxypw@", "write http://HOST:PORT"),
        ("http://me:proxypw@[::1", "write http://HOST:PORT"),
        ("socks5h://me:proxypw@proxy.example:1080", "install python3-pysocks"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_only(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, advice: str
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigurationError) as caught:
        http_client.Transport("http://cloud.example", AUTH)
    assert f"the proxy in the environment variable {variable} cannot be used: " in str(caught.value)
    if value.startswith("socks5h") and find_spec("socks"):
        pytest.skip("PySocks is here")
    assert advice in str(caught.value)
    assert caught.value.__cause__ is None
    for secret in ("proxypw", "proxy.example"):
        assert secret not in str(caught.value) + repr(caught.value)


def test_a_proxy_that_is_not_for_the_endpoint_is_not_looked_at(
    scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.on(".*", good())
    monkeypatch.setenv("http_proxy", "ftp://proxy.example")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert http_client.Transport(scripted.url, AUTH, clock=clock).read("/servers/info").status == 200


def test_a_change_that_reached_the_proxy_is_never_repeated(
    scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib3 1.26 says "cannot connect to proxy" of a connection that breaks after the request was sent, too."""
    scripted.on(".*", script.cut_before)
    monkeypatch.setenv("http_proxy", scripted.url)
    monkeypatch.delenv("no_proxy", raising=False)
    wire = http_client.Transport("http://cloud.example", AUTH, clock=clock)
    with pytest.raises(errors.AnswerLost) as caught:
        wire.change("/servers/create", {})
    assert caught.value.maybe_done
    assert len(scripted.calls) == 1


def test_the_environment_is_read_once(scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.on(".*", good())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    wire = http_client.Transport(scripted.url, AUTH, clock=clock)
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert wire.read("/servers/info").status == 200


PATCHED = """
import sys, types
sys.path[:0] = {paths!r}
sys.modules["certifi"] = None
sys.modules["requests.certs"] = types.SimpleNamespace(where=lambda: {bundle!r})
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.http_client import Transport
print(Transport({url!r}, "u:k").read("/servers/info").status)
"""


def test_certificates_are_those_of_requests_where_it_comes_without_certifi(authority: Authority) -> None:
    """As on Red Hat's systems, whose requests names the system's own bundle."""
    with Relay(context=authority.context) as relay:
        relay.on(".*", good())
        program = PATCHED.format(paths=sys.path, bundle=str(authority.certificate), url=relay.url)
        environment = {k: v for k, v in os.environ.items() if k not in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "200\n"


def test_an_address_that_no_library_takes_is_told_at_once(clock: FakeClock) -> None:
    wire = http_client.Transport(f"http://{'a' * 300}.example", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError):
        wire.read("/servers/info")
    assert clock.slept == []


def test_a_plain_http_port_behind_https_is_told(scripted: Relay, clock: FakeClock) -> None:
    wire = http_client.Transport(scripted.url.replace("http:", "https:"), AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match=r"a port that does not speak TLS: .* write http://") as caught:
        wire.read("/servers/info")
    assert caught.value.permanent and clock.slept == []


def test_plain_http_to_a_port_that_speaks_tls_is_told_to_write_https(authority: Authority, clock: FakeClock) -> None:
    with Relay(context=authority.context) as relay:
        wire = http_client.Transport(relay.url.replace("https:", "http:"), AUTH, clock=clock)
        for call in (wire.read, wire.change):
            with pytest.raises(errors.AnswerLost, match=r"if the port speaks TLS, write https://"):
                call("/servers/info")


@pytest.mark.parametrize(
    "answer", [b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"]
)
def test_what_a_tls_server_says_to_plain_http_is_understood(answer: bytes, clock: FakeClock) -> None:
    """An alert of TLS, as the standard has it, or 400, as nginx, Apache and Go answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            line, _address = listening.accept()
            with line:
                asked = b""
                while not asked.endswith(b"{}"):  # what is not read turns the end of the connection into a reset
                    asked += line.recv(65536)
                line.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        wire = http_client.Transport(f"http://127.0.0.1:{listening.getsockname()[1]}", AUTH, clock=clock)
        with pytest.raises(errors.ElasticHostsError, match="https://") as caught:
            wire.change("/servers/create", {})
    assert not caught.value.maybe_done, "a port that speaks TLS has read nothing"


def test_a_proxy_without_tls_that_is_named_with_it_is_not_taken_for_the_endpoint(
    scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", scripted.url.replace("http:", "https:"))
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(errors.ConnectError, match="the proxy that the environment names did not connect"):
        http_client.Transport("http://cloud.example", AUTH, clock=clock).read("/servers/info")
