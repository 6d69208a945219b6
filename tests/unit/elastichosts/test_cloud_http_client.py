# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session to one endpoint: what is sent, what is tried again, what each failure is called."""

from __future__ import annotations

import base64
import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, http_client
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Deadline
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import FakeClock, Relay, free_port, good, says

USER = "11111111-2222-4333-8444-555555555555"
KEY = "s3cr3t:with-colon"
AUTH = f"{USER}:{KEY}"
OBJECT = '{"server": "6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405", "status": "active"}'


@pytest.fixture
def wire(scripted: Relay, clock: FakeClock) -> Iterator[http_client.Transport]:
    wire = http_client.Transport(scripted.url, AUTH, clock=clock)
    yield wire
    wire.close()


def test_every_call_carries_auth_agent_and_json(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", good())
    wire.read("/servers/info")
    wire.change("/servers/create", {"cpu": "500", "tags": None})
    (_unused, read, _unused), (_unused, change, body) = scripted.requests
    for headers in (read, change):
        assert base64.b64decode(headers["authorization"].split()[1]).decode() == AUTH
        assert headers["user-agent"] == f"opennebula.elastichosts/{http_client.VERSION}"
        assert headers["accept"] == "application/json"
    assert change["content-type"] == "application/json"
    assert body == b'{"cpu":"500","tags":null}'


def test_a_command_without_properties_has_an_empty_body(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(204))
    assert wire.change("/servers/x/stop").content == b""
    assert scripted.requests[0][1]["content-length"] == "0"
    assert scripted.requests[0][2] == b""


def test_a_path_prefix_goes_before_every_call(scripted: Relay, clock: FakeClock) -> None:
    scripted.on(".*", good())
    http_client.Transport(scripted.url + "/api/", AUTH, clock=clock).read("/servers/info")
    assert scripted.calls == ["GET /api/servers/info"]


def test_answers_in_text_are_understood_too(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(200, text="server a\nstatus active\n\nserver b\n"))
    assert wire.read("/servers/info").objects() == [{"server": "a", "status": "active"}, {"server": "b"}]


def test_one_connection_serves_many_calls(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", good())
    for _unused in range(20):
        wire.read("/servers/info")
        wire.change("/servers/x/stop")
    assert scripted.connections == 1


def test_sixteen_threads_share_one_client(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", lambda handler: handler.answer(200, {}, f"name {handler.path}\n".encode()))
    with ThreadPoolExecutor(16) as pool:
        names = [reply.object()["name"] for reply in pool.map(lambda n: wire.read(f"/{n}"), range(320))]
    assert names == [f"/{n}" for n in range(320)]
    assert scripted.connections <= 16


def test_an_endpoint_that_was_started_anew_is_simply_called_again(fresh_endpoint: Endpoint) -> None:
    with ElasticHosts(fresh_endpoint.url, fresh_endpoint.auth) as client:
        assert client.drives.list() == []
        fresh_endpoint.kill()
        fresh_endpoint.start()
        assert client.drives.create({"name": "root", "size": "4M"}).name == "root"


# What is tried again


@pytest.mark.parametrize(
    "failure",
    [
        script.cut_before,
        says(429, Retry_After="1"),
        says(500, "system", "Internal API error"),
        says(500, "failed", "failed"),
        says(502),
        says(503, text="<html>", Content_Type="text/html"),
        says(504),
    ],
)
def test_a_read_is_tried_again(
    scripted: Relay, wire: http_client.Transport, clock: FakeClock, failure: script.Action
) -> None:
    scripted.on(".*", failure, times=3).on(".*", good())
    assert wire.read("/servers/info").status == 200
    assert len(scripted.calls) == 4
    assert len(clock.slept) == 3


def test_a_read_gives_up_after_its_retries_and_says_why(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(503))
    with pytest.raises(errors.SystemFault, match="503") as caught:
        wire.read("/servers/info")
    assert len(scripted.calls) == 4
    assert not caught.value.maybe_done


@pytest.mark.parametrize("status", [400, 401, 402, 404, 405, 409, 507])
def test_a_clear_no_is_not_asked_again(scripted: Relay, wire: http_client.Transport, status: int) -> None:
    words = {400: "usage", 401: "auth", 402: "billing", 404: "missing", 405: "method", 409: "busy", 507: "full"}
    scripted.on(".*", says(status, words[status], "no"), times=1).on(".*", good())
    with pytest.raises(errors.ApiError):
        wire.read("/servers/info")
    assert len(scripted.calls) == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (script.cut_before, errors.AnswerLost),
        (says(500, "system"), errors.SystemFault),
        (says(500, "failed"), errors.FailedError),
        (says(503), errors.SystemFault),
        (says(409, "busy"), errors.BusyError),
        (says(200, text="<html>", Content_Type="text/html"), errors.ProtocolError),
    ],
)
def test_a_change_is_never_repeated_blindly(
    scripted: Relay, client: ElasticHosts, failure: script.Action, kind: type[errors.ElasticHostsError]
) -> None:
    scripted.on(".*", failure)
    with pytest.raises(kind) as caught:
        client.servers.create({"cpu": "500"})
    assert scripted.calls == ["POST /servers/create"]
    assert caught.value.maybe_done is (kind is not errors.BusyError)
    assert caught.value.call == "POST /servers/create"


def test_a_throttled_change_is_repeated_since_nothing_was_done(
    scripted: Relay, client: ElasticHosts, clock: FakeClock
) -> None:
    scripted.on(".*", says(429, Retry_After="7"), times=2).on(".*", good(OBJECT))
    assert client.servers.create({"cpu": "500"}).status == "active"
    assert len(scripted.calls) == 3
    assert clock.slept == [7.0, 7.0]


def test_a_change_that_was_never_sent_is_repeated(clock: FakeClock) -> None:
    port = free_port()
    wire = http_client.Transport(f"http://127.0.0.1:{port}", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match="connection refused; is the endpoint running") as caught:
        wire.change("/servers/create", {"cpu": "500"})
    assert len(clock.slept) == 3
    assert not caught.value.maybe_done
    assert f"http://127.0.0.1:{port}" in str(caught.value)


def test_pauses_grow_are_jittered_and_bounded(scripted: Relay, clock: FakeClock) -> None:
    scripted.on(".*", says(503))
    for factor, jitter in ((0.5, lambda: 0.0), (1.0, lambda: 1.0)):
        clock.slept.clear()
        wire = http_client.Transport(scripted.url, AUTH, clock=clock, retries=7, jitter=jitter)
        with pytest.raises(errors.SystemFault):
            wire.read("/servers/info")
        assert clock.slept == [factor * pause for pause in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)]


def test_a_wait_that_the_server_asks_for_is_bounded(
    scripted: Relay, wire: http_client.Transport, clock: FakeClock
) -> None:
    scripted.on(".*", says(429, Retry_After="86400"), times=1).on(".*", good())
    wire.read("/servers/info")
    assert clock.slept == [30.0]


def test_no_retry_goes_past_the_deadline(scripted: Relay, wire: http_client.Transport, clock: FakeClock) -> None:
    scripted.on(".*", says(429, Retry_After="20"))
    with pytest.raises(errors.ThrottledError), wire.within(Deadline(10, clock)):
        wire.read("/servers/info")
    assert len(scripted.calls) == 1
    assert clock.slept == []


def test_a_deadline_shortens_the_time_outs_and_only_in_its_block(wire: http_client.Transport, clock: FakeClock) -> None:
    assert wire._limits() == (5.0, 60.0, 300.0)
    with wire.within(Deadline(10, clock)):
        assert wire._limits() == (5.0, 10.0, 10.0)
        with wire.within(Deadline(2, clock)):
            assert wire._limits() == (2.0, 2.0, 2.0)
        assert wire._limits() == (5.0, 10.0, 10.0)
    assert wire._limits() == (5.0, 60.0, 300.0)


# What each failure is called


def test_an_unknown_name_is_told_and_not_tried_again(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    wire = http_client.Transport("http://no-such-cloud.example", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError, match=r"name in http://no-such-cloud\.example does not resolve"):
        wire.read("/servers/info")
    assert clock.slept == []


def test_no_answer_in_time_is_a_lost_answer(scripted: Relay, clock: FakeClock) -> None:
    release = threading.Event()
    scripted.on(".*", script.hang(release))
    limits = http_client.Timeouts(connect=1, read=0.05)
    wire = http_client.Transport(scripted.url, AUTH, clock=clock, timeouts=limits, retries=0)
    try:
        with pytest.raises(errors.AnswerLost, match="no answer within the time-out") as caught:
            wire.change("/servers/x/start")
        assert caught.value.maybe_done
        with pytest.raises(errors.AnswerLost) as caught:
            wire.read("/servers/info")
        assert not caught.value.maybe_done
    finally:
        release.set()


def test_half_an_answer_is_a_lost_answer(scripted: Relay, client: ElasticHosts) -> None:
    def half(handler: script.Handler) -> None:
        handler.answer(200, {"Content-Type": "text/plain"}, b"server a\n", 100)
        handler.close_connection = True

    scripted.on(".*", half)
    with pytest.raises(errors.AnswerLost) as caught:
        client.servers.create({"cpu": "1"})
    assert caught.value.maybe_done


def test_an_answer_without_end_is_refused(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(200, text="x" * 5000))
    with pytest.raises(errors.ProtocolError, match="longer than 1000 bytes"):
        wire.read("/servers/info", limit=1000)


def test_redirects_are_not_followed_with_the_credentials(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on("GET /servers/info", says(302, Location="http://me:pw@elsewhere.example:80/x?y"))
    with pytest.raises(errors.ProtocolError) as caught:
        wire.read("/servers/info")
    assert "redirected to http://elsewhere.example:80" in str(caught.value)
    assert "pw" not in str(caught.value)
    assert len(scripted.calls) == 1


@pytest.mark.parametrize("location", ["", "http://[", "//elsewhere", "http://elsewhere.example/\x00"])
def test_a_redirect_to_anywhere_is_an_error(scripted: Relay, wire: http_client.Transport, location: str) -> None:
    scripted.on(".*", says(307, Location=location))
    with pytest.raises(errors.ProtocolError, match=r"redirected.*credentials do not follow"):
        wire.change("/servers/create", {})
    assert len(scripted.calls) == 1


@pytest.mark.parametrize("status", [403, 404, 400])
def test_a_no_of_someone_else_is_never_taken_for_the_clouds(scripted: Relay, client: ElasticHosts, status: int) -> None:
    scripted.on(".*", says(status, text="<html>nginx</html>", Content_Type="text/html"))
    with pytest.raises(errors.ProtocolError, match="X-Elastic-Error"):
        client.servers.get("6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405")


def test_a_compressed_answer_is_refused_since_nobody_asked_for_one(scripted: Relay, client: ElasticHosts) -> None:
    scripted.on(".*", lambda handler: handler.answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b"server a")))
    with pytest.raises(errors.ProtocolError, match="is compressed"):
        client.servers.info()


def test_a_page_with_status_200_is_no_empty_cloud(scripted: Relay, client: ElasticHosts) -> None:
    scripted.on(".*", says(200, text="<html>It works!</html>", Content_Type="text/html"))
    with pytest.raises(errors.ProtocolError, match="text/html"):
        client.servers.info()


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "usage", errors.UsageError),
        (401, "auth", errors.AuthError),
        (401, "", errors.AuthError),
        (402, "billing", errors.BillingError),
        (404, "missing", errors.MissingError),
        (405, "method", errors.MethodError),
        (409, "busy", errors.BusyError),
        (409, "busy now", errors.BusyError),
        (429, "", errors.ThrottledError),
        (500, "failed", errors.FailedError),
        (500, "system", errors.SystemFault),
        (500, "", errors.SystemFault),
        (503, "", errors.SystemFault),
        (507, "full", errors.FullError),
    ],
)
def test_each_status_and_word_has_its_class(
    scripted: Relay, clock: FakeClock, status: int, word: str, kind: type[errors.ApiError]
) -> None:
    wire = http_client.Transport(scripted.url, AUTH, clock=clock, retries=0)
    scripted.on(".*", says(status, word, "drive 0d9a1c52 is\nin use."))
    with pytest.raises(errors.ApiError) as caught:
        wire.change("/drives/x/destroy")
    error = caught.value
    assert error.__class__ is kind
    assert error.failure() == {"status": status, "code": kind.code, "call": "POST /drives/x/destroy"}
    assert error.text == "drive 0d9a1c52 is in use."
    assert "drive 0d9a1c52 is in use" in str(error)
    assert str(error).endswith(errors.ADVICE[kind])
    assert error.maybe_done is (status >= 500)


def test_a_wrong_key_names_the_endpoint_and_the_user(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(401, "auth", "unauthorised"))
    with pytest.raises(errors.AuthError) as caught:
        wire.read("/servers/info")
    assert scripted.url in str(caught.value)
    assert USER in str(caught.value)
    assert "check EHAUTH" in str(caught.value)


# Secrets


def test_secrets_come_back_in_no_error(scripted: Relay, wire: http_client.Transport) -> None:
    token = base64.b64encode(AUTH.encode()).decode()
    scripted.on(".*", says(400, "usage", f"invalid: {KEY} {token} vncpw123 x vncpw456"))
    with pytest.raises(errors.UsageError) as caught:
        wire.change("/servers/create", {"password": "vncpw123", "vnc:password": "vncpw456"})
    for text in (str(caught.value), caught.value.text, repr(caught.value), str(caught.value.args)):
        assert not any(secret in text for secret in (KEY, token, "vncpw123", "vncpw456"))
    assert "invalid: [hidden] [hidden] [hidden] x [hidden]" in str(caught.value)


def test_no_exception_behind_an_error_tells_more_than_it_does(clock: FakeClock) -> None:
    wire = http_client.Transport(f"http://127.0.0.1:{free_port()}", AUTH, clock=clock)
    with pytest.raises(errors.ConnectError) as caught:
        wire.read("/servers/info")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_are_in_no_log_at_any_level(
    scripted: Relay, wire: http_client.Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.on(".*", says(429), times=2).on(".*", good(OBJECT))
    wire.change("/servers/create", {"password": "vncpw123"})
    assert "again in" in caplog.text
    token = base64.b64encode(AUTH.encode()).decode()
    assert not any(secret in caplog.text for secret in (KEY, token, "vncpw123"))


def test_an_error_text_is_one_bounded_printable_line(scripted: Relay, wire: http_client.Transport) -> None:
    scripted.on(".*", says(400, "usage", "bad\x1b[31m\x00" + "x" * 5000))
    with pytest.raises(errors.UsageError) as caught:
        wire.change("/servers/create", {})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


# The environment


def test_netrc_and_cookies_play_no_part(
    scripted: Relay, wire: http_client.Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    scripted.on(".*", says(200, Set_Cookie="session=1; Path=/"))
    wire.read("/servers/info")
    wire.read("/servers/info")
    for _unused, headers, _unused in scripted.requests:
        assert base64.b64decode(headers["authorization"].split()[1]).decode() == AUTH
        assert "cookie" not in headers


def test_an_answer_to_a_long_body_counts_though_the_body_was_not_taken(clock: FakeClock) -> None:
    """A cloud that is full says so after the headers and hangs up; the reason must not get lost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            line, _address = listening.accept()
            line.recv(1024)
            line.sendall(b"HTTP/1.1 507 Full\r\nX-Elastic-Error: full\r\nContent-Length: 8\r\n\r\nno space")
            line.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        wire = http_client.Transport(f"http://127.0.0.1:{listening.getsockname()[1]}", AUTH, clock=clock)
        with pytest.raises(errors.FullError, match="no space"):
            wire.change("/drives/d/write/0", body=bytes(8 << 20))
        refusing.join()


def test_a_long_body_may_take_longer_than_a_connection(clock: FakeClock) -> None:
    """urllib3 sends under the time-out for connecting; a piece of a body has that for reading."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            line, _address = listening.accept()
            time.sleep(0.6)
            left = 16 << 20
            while left > 0:
                left -= len(line.recv(1 << 20))
            line.sendall(b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n")
            line.close()

        taking = threading.Thread(target=take)
        taking.start()
        limits = http_client.Timeouts(connect=0.3, read=30)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        wire = http_client.Transport(address, AUTH, clock=clock, timeouts=limits, retries=0)
        assert wire.change("/drives/d/write/0", body=bytes(16 << 20)).status == 204
        taking.join()
