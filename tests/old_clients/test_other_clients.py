# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the other known clients send, and what each must find in the answer (elastichosts-api 1.7, 5.3 to 5.8).

No client runs here. Each test is named after its client in the reference, and its requests are written by us from what
stands there, header by header; `cli` sends those of the vendor's shell scripts by the same curl command, where there is
a curl. test_libcloud and test_pyeh run the clients themselves.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.endpoint import Endpoint

UBUNTU = "62f512cd-82c7-498e-88d8-a09ac2ef20e7"
MIB = 1 << 20


class Answer:
    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content
        self.text = content.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    def line(self, key: str) -> str:
        """The value of a line, found as shell scripts find it: key, space, rest of the line."""
        found = re.search(rf"^{re.escape(key)} +(.*)$", self.text, re.MULTILINE)
        assert found is not None, f"no line {key!r} in {self.text!r}"
        return found.group(1)


class Client:
    """Sends exactly the headers of a client, and Authorization."""

    def __init__(self, endpoint: Endpoint, **headers: str) -> None:
        token = base64.b64encode(endpoint.auth.encode()).decode()
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Basic {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}

    def __call__(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._endpoint.port, timeout=20)
        content = body.encode() if isinstance(body, str) else body
        given = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, content, given)
        response = connection.getresponse()
        found = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return found


@pytest.fixture(scope="module", params=["new", "old"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp(request.param)
    with Endpoint(folder, "--platform", request.param, "--acpi-delay", "0") as running:
        yield running


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint(tmp_path_factory.mktemp("new"), "--acpi-delay", "0") as running:
        yield running


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint(tmp_path_factory.mktemp("old"), "--platform", "old", "--acpi-delay", "0") as running:
        yield running


def until_imaged(client: Client, drive: str, absences: int = 1) -> None:
    missing = 0
    for _number in range(5000):
        missing = 0 if "imaging" in client("GET", f"/drives/{drive}/info").text else missing + 1
        if missing >= absences:
            return
    raise AssertionError("imaging does not end")


def cli(endpoint: Endpoint, *words: str, data: str | None = None, as_json: bool = False, vintage: int = 2016) -> Answer:
    """`elastichosts WORDS` (-c, -j): by curl as the script calls it, or the same bytes without."""
    kind = "application/json" if as_json else "application/octet-stream"
    if data is None:
        kind = "text/plain" if vintage == 2016 else "application/x-www-form-urlencoded"
        kind = "application/json" if as_json else kind
    accept = "application/json" if as_json else "*/*"
    path = "/" + "/".join(words)
    if shutil.which("curl") is None:
        return Client(endpoint, Accept=accept, Content_Type=kind)("POST", path, data or "")
    command = ["curl", "-s", "-i", "--user", endpoint.auth, "--data-binary", "@-" if data is not None else ""]
    command += ["-H", f"Content-Type: {kind}", "-H", f"Accept: {accept}", "-H", "Expect:", endpoint.url + path]
    done = subprocess.run(command, input=(data or "").encode(), capture_output=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    head, _blank, content = done.stdout.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), headers, content)


@pytest.mark.parametrize("vintage", [2014, 2016])
def test_cli(either: Endpoint, vintage: int) -> None:
    drive = cli(either, "drives", "create", data="name cli\nsize 9000000\n").line("drive")
    assert drive in cli(either, "drives", "list", vintage=vintage).text.split("\n")
    assert cli(either, "drives", drive, "info", vintage=vintage).line("size") == "12582912"
    body = f"name cli\ncpu 500\nmem 256\nide:0:0 {drive}\nboot ide:0:0\nnic:0:model e1000\nnic:0:dhcp auto\n"
    server = cli(either, "servers", "create", data=f"{body}persistent true\n").line("server")
    as_json = cli(either, "servers", server, "info", as_json=True).json
    assert (as_json["status"], as_json["ide:0:0"]) == ("active", drive)
    assert cli(either, "servers", server, "set", data='{"cpu": 600}', as_json=True).json["cpu"] == 600
    missing = cli(either, "servers", "nonsense", vintage=vintage)
    assert (missing.status, missing.headers["x-elastic-error"]) == (404, "missing")
    for verb in ("stop", "destroy"):
        gone = cli(either, "servers", server, verb, vintage=vintage)
        assert (gone.status, gone.content) == (204, b"")
    assert cli(either, "drives", drive, "destroy").status == 204


def test_upload_and_download_scripts(new: Endpoint) -> None:
    client = Client(new, Accept="*/*")
    data = b"\xeb\x63" + bytes(5 * MIB) + b"the end of the image"
    created = client("POST", "/drives/create", f"name up\nsize {len(data)}\ntier disk", Content_Type="text/plain")
    drive = re.sub(r"^drive  *", "", next(row for row in created.text.split("\n") if row.startswith("drive ")))
    for offset in range(0, len(data), 4 * MIB):
        chunk = gzip.compress(data[offset : offset + 4 * MIB])
        kinds = {"Content_Type": "application/octet-stream", "Content_Encoding": "gzip"}
        assert client("POST", f"/drives/{drive}/write/{offset}", chunk, **kinds).status == 204
    size = int(client("GET", f"/drives/{drive}/info").line("size"))
    found = b""
    while len(found) < size:
        found += client("GET", f"/drives/{drive}/read/{len(found)}/{min(4 * MIB, size - len(found))}").content
    assert found == data.ljust(size, b"\0")
    assert client("POST", f"/drives/{drive}/write/0", b"no gzip", Content_Encoding="gzip").status == 400


def test_tel_shrinks_a_temporary_drive(either: Endpoint) -> None:
    client = Client(either, Accept="*/*", Content_Type="application/octet-stream")
    drive = client("POST", "/drives/create", "name tmp\nsize 1G\nclaim:type shared\n").line("drive")
    assert client("POST", f"/drives/{drive}/write", b"x" * MIB).status == 204
    assert client("POST", f"/drives/{drive}/set", "size 1048576").line("size") == "4194304"


def test_prov(new: Endpoint) -> None:
    vlan = cli(new, "resources", "vlan", "create", data="name net", vintage=2014).line("resource")
    other = cli(new, "drives", "create", data="name a\nsize 10000000\ntier ssd").line("drive")
    created = cli(new, "drives", "create", data=f"name b\nsize 1G\ntier disk\navoid {other}")
    drive = created.line("drive")
    cli(new, "drives", drive, "image", UBUNTU, "gunzip", vintage=2014)
    for _number in range(5000):
        info = cli(new, "drives", drive, "info", vintage=2014)
        if not re.search("^imaging", info.text, re.MULTILINE) and info.line("status") == "active":
            break
    body = (
        f"name web\ncpu 500\nmem 512\nsmp auto\npersistent true\nide:0:0 {drive}\nboot ide:0:0\nnic:0:model e1000\n"
        f"nic:0:dhcp auto\nnic:0:firewall:policy reject\nnic:0:firewall:accept tcp/22 tcp/80\nnic:1:model e1000\n"
        f"nic:1:vlan {vlan}\navoid:drives {other}\nvnc auto\nvnc:tls on\npassword Xx12yy34\ntags a b\n"
    )
    answer = cli(new, "servers", "create", data=body)
    assert re.fullmatch(r"(\d+\.){3}\d+", answer.line("nic:0:dhcp:ip"))
    assert len(answer.line("server")) == 36
    assert answer.line("nic:0:firewall:accept") == "tcp/22 tcp/80"


def test_fogsl_on_the_old_generation(old: Endpoint) -> None:
    client = Client(old, Accept="application/json")  # no Content-Type, bodies in text
    image = client("POST", "/drives/create", "name img\nsize 1G").json
    assert isinstance(image["size"], int)
    assert isinstance(image["read:bytes"], str)
    drive = image["drive"]
    imaged = client("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip")
    assert (imaged.status, imaged.content) == (204, b"")
    until_imaged(client, drive)
    assert client("POST", f"/drives/{drive}/set", "name other").json["name"] == "other"
    body = f"name s\ncpu 500\nmem 512\npersistent true\nide:0:0 {drive}\nboot ide:0:0\nnic:0:dhcp auto\nvnc:ip auto\n"
    made = client("POST", "/servers/create/stopped", f"{body}vnc:password geheim")
    assert (made.status, made.json["status"], made.json["cpu"]) == (200, "stopped", 500)
    server = made.json["server"]
    assert client("POST", f"/servers/{server}/start").status == 200
    assert client("GET", f"/servers/{server}/info").json["vnc:password"] == "geheim"
    assert client("POST", f"/servers/{server}/set", "name x").status == 200
    for verb, status in {"reset": 204, "shutdown": 204, "start": 200, "stop": 204, "destroy": 204}.items():
        assert client("POST", f"/servers/{server}/{verb}").status == status
    assert client("POST", f"/drives/{drive}/destroy").status == 204


def test_fogeh(new: Endpoint) -> None:
    client = Client(new, Accept="application/json", Content_Type="application/json")
    assert isinstance(client("GET", "/drives/list").json, list)
    address = client("POST", "/resources/ip/create", json.dumps({"name": "a"})).json["resource"]
    assert {"type": "ip", "resource": address} in client("GET", "/resources/list").json
    assert address in [found["resource"] for found in client("GET", "/resources/info").json]
    body = json.dumps({"name": "s", "cpu": 500, "mem": 512, "smp": "auto", "nic:0:dhcp": address, "persistent": True})
    server = client("POST", "/servers/create/stopped", body).json["server"]
    assert len(server) == 36
    assert client("POST", f"/servers/{server}/start").json["nic:0:ip"] == address
    assert client("POST", f"/resources/ip/{address}/destroy").status == 409
    assert client("POST", f"/servers/{server}/destroy").status == 204
    assert client("POST", f"/resources/ip/{address}/destroy").status == 204
    drive = client("POST", "/drives/create", json.dumps({"name": "d", "size": "1G"})).json["drive"]
    assert client("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip").status == 200
    until_imaged(client, drive)
    assert len(client("GET", f"/drives/{drive}/read/0/4M").content) == 4 * MIB


def test_jclouds(new: Endpoint) -> None:
    client = Client(new, Accept="text/plain")
    standard = client("GET", "/drives/info/standard").text.split("\n\n")
    assert all(re.search(r"^drive [0-9a-f-]{36}$", found, re.MULTILINE) for found in standard)
    assert client("GET", "/drives/list/standard").text.split()[0] in standard[0]

    def post(path: str, body: str = "") -> Answer:
        return client("POST", path, body, Content_Type="text/plain")

    drive = post("/drives/create", "name test\nsize 1048576").line("drive")
    assert post(f"/drives/{drive}/set", "name rediculous\nreaders ffffffff-ffff-ffff-ffff-ffffffffffff\nsize 4194304")
    octets = {"Content_Type": "application/octet-stream"}
    assert client("POST", f"/drives/{drive}/write/0", b"foo", **octets).status == 204
    assert client("POST", f"/drives/{drive}/read/0/3").content == b"foo"
    target = post("/drives/create", "name target\nsize 1073741824").line("drive")
    assert post(f"/drives/{target}/image/{UBUNTU}/gunzip").status == 200
    for end in (target, UBUNTU):
        for _number in range(5000):
            if not re.search("^claimed ", client("GET", f"/drives/{end}/info").text, re.MULTILINE):
                break
        else:
            raise AssertionError("the claim stays")
    body = (
        f"name jc\ncpu 1000\nsmp auto\nmem 512\npersistent false\nboot ide:0:0\nide:0:0 {target}\nide:0:0:media disk\n"
        "nic:0:model e1000\nnic:0:dhcp auto\nvnc auto\npassword IL9vs34d"
    )
    made = post("/servers/create", body)
    server = made.line("server")
    assert int(made.line("smp:cores")) > 0
    assert made.line("vnc:ip") == made.line("nic:0:dhcp:ip")
    assert "persistent" not in made.text
    assert post(f"/servers/{server}/set", made.text + "name renamed").line("name") == "renamed"
    assert post(f"/servers/{server}/reset").status == 204
    assert client("GET", f"/servers/{server}/info").line("status") == "active"
    objects = client("GET", "/servers/info").text.split("\n\n")
    assert server in objects[-1]
    assert post(f"/servers/{server}/shutdown").status == 204
    gone = client("GET", f"/servers/{server}/info")
    assert (gone.status, gone.headers["x-elastic-error"]) == (404, "missing")
    assert post(f"/drives/{target}/destroy").status == 204


def test_jclouds_live_test(either: Endpoint) -> None:
    """The calls of ElasticStackApiLiveTest of jclouds 2.5 in their order, by API version 2.0 and 1.0."""
    version_2 = "old" not in either.arguments
    client = Client(either, Accept="text/plain", Content_Type="text/plain")

    def info(server: str) -> Answer:
        return client("GET", f"/servers/{server}/info")

    def configuration(found: Answer) -> str:
        """All that jclouds sends of a server that it has read, without final newline."""
        keys = ["name", "cpu", "mem", "persistent", "boot", "ide:0:0"]
        shown = {key: found.line(key) for key in keys}
        shown |= {"smp": found.line("smp:cores" if version_2 else "smp"), "ide:0:0:media": "disk"}
        shown |= {"nic:0:model": "e1000", "nic:0:dhcp": found.line("nic:0:dhcp:ip" if version_2 else "nic:0:dhcp")}
        shown |= {"vnc": "auto"} if version_2 else {"vnc:ip": found.line("vnc:ip")}
        shown |= {"password": found.line("password")}
        return "\n".join(f"{key} {value}" for key, value in shown.items())

    drive = client("POST", "/drives/create", f"name me.test\nsize {1 << 30}").line("drive")
    tags = "tags networking security gateway\nuser:foo bar"
    data = f"name rediculous\nsize 0\nclaim:type shared\nreaders ffffffff-ffff-ffff-ffff-ffffffffffff\n{tags}"
    changed = client("POST", f"/drives/{drive}/set", data)
    assert (changed.line("name"), changed.line("size"), changed.line("user:foo")) == ("rediculous", str(1 << 30), "bar")
    assert client("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip").status in (200, 204)
    until_imaged(client, drive)
    vnc = "vnc auto" if version_2 else "vnc:ip auto"
    small = (
        f"name me.test\ncpu 1000\nsmp auto\nmem 512\npersistent true\nboot ide:0:0\nide:0:0 {drive}\n"
        f"ide:0:0:media disk\nnic:0:model e1000\nnic:0:dhcp auto\n{vnc}\npassword Il0veVNC"
    )
    server = client("POST", "/servers/create/stopped", small).line("server")
    assert client("POST", f"/servers/{server}/start").status == 200
    started = info(server)
    assert started.line("vnc:ip") == started.line("nic:0:dhcp:ip" if version_2 else "nic:0:dhcp")
    assert (started.line("password"), started.line("status")) == ("Il0veVNC", "active")
    unchanged = client("POST", f"/servers/{server}/set", configuration(started))
    assert (unchanged.status, unchanged.line("status")) == (200, "active"), unchanged.text
    for call, status in (("stop", "stopped"), ("start", "active"), ("reset", "active")):
        assert client("POST", f"/servers/{server}/{call}").status in (200, 204)
        assert info(server).line("status") == status
    assert client("POST", f"/servers/{server}/shutdown").status == 204
    again = client("POST", f"/servers/{server}/stop")  # the guest may be off already; jclouds would repeat a 500
    assert again.status in (204, 409)
    assert info(server).line("status") == "stopped"
    renamed = configuration(started).replace("me.test", "rediculous")
    found = client("POST", f"/servers/{server}/set", f"{renamed}\n{tags}")
    assert found.status == 200, found.text
    assert (found.line("name"), found.line("tags"), found.line("nic:0:dhcp")) == (
        "rediculous",
        "networking security gateway",
        "auto",
    )
    for path in (f"/servers/{server}", f"/drives/{drive}"):
        assert client("POST", f"{path}/destroy").status == 204
        assert client("GET", f"{path}/info").status == 404


def test_bas(new: Endpoint) -> None:
    client = Client(new, Accept="application/json", Content_Type="application/json")
    drive = client("POST", "/drives/create", '{"size": "1G"}').json["drive"]
    assert isinstance(client("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip").json, dict)
    assert drive in [found["drive"] for found in client("GET", "/drives/info/full").json]
    until_imaged(client, drive)
    body = {"cpu": 500, "mem": 512, "ide:0:0": drive, "boot": "ide:0:0", "persistent": True, "user:basingse": "me"}
    made = client("POST", "/servers/create", json.dumps({**body, "vnc": "auto", "password": "geheim"})).json
    server = made["server"]
    assert made["user:basingse"] == "me"
    assert client("POST", f"/servers/{server}/shutdown").status == 204
    started = client("POST", f"/servers/{server}/start")
    assert (started.status, started.json["status"]) == (200, "active")
    assert {"vnc:ip", "password"} <= set(started.json)
    assert client("POST", f"/servers/{server}/stop").status == 204
    other = client("POST", "/drives/create", '{"size": "4M"}').json["drive"]
    assert client("POST", f"/servers/{server}/set", json.dumps({"ide:0:0": other})).json["cpu"] == 500
    assert client("POST", f"/drives/{other}/destroy").status == 204
    failed = client("POST", f"/servers/{server}/start")
    assert (failed.status, failed.headers["x-elastic-error"].split(" ")[0]) == (500, "failed")
    assert other in failed.text
    assert client("POST", f"/servers/{server}/destroy").status == 204


def test_scrape_mixes_text_in_and_json_out(new: Endpoint) -> None:
    client = Client(new, Accept="application/json", Content_Type="text/plain")
    made = client("POST", "/drives/create", "name img\nsize 20000000\nuser:vm web\nuser:part 1")
    assert (made.status, made.json["user:vm"], made.json["user:part"]) == (200, "web", "1")
    drive = made.json["drive"]
    octets = {"Content_Type": "application/octet-stream"}
    assert client("POST", f"/drives/{drive}/write/0", b"x" * MIB, **octets).status == 204
    assert client("POST", f"/drives/{drive}/set", "name done\nsize 20000000").status in (200, 204)
    body = f"name s\ncpu 1000\nmem 1024\nide:0:0 disk\nide:0:0 {drive}\nboot ide:0:0\nnic:0:dhcp auto\nvnc auto\n"
    server = client("POST", "/servers/create", f"{body}password geheim12")
    assert (server.status, server.json["ide:0:0"]) == (200, drive)
    assert client("POST", f"/servers/{server.json['server']}/stop").status == 204


def test_panel_posts_json_reads_text_and_unsets_with_null(either: Endpoint) -> None:
    client = Client(either, Content_Type="application/json")
    address = client("POST", "/resources/ip/create", '{"name": "a"}').line("resource")
    assert f"ip {address}" in client("POST", "/resources/ip/list").text.splitlines()
    assert client("POST", f"/resources/ip/{address}/set", '{"name": "b"}').line("name") == "b"
    assert client("POST", f"/resources/ip/{address}/info").line("type") == "ip"
    body = {"name": "p", "cpu": "500", "mem": "512", "persistent": "true", "nic:0:model": "e1000", "nic:0:dhcp": "0"}
    made = client("POST", "/servers/create/stopped", json.dumps({**body, "tags": "x", "avoid:servers": None}))
    server = made.line("server")
    assert "nic:0:dhcp" not in made.text
    assert "tags" not in client("POST", f"/servers/{server}/set", '{"tags": null}').text
    for bad, word in (('{"cpu": "x"}', "invalid"), ('{"mem": -5}', "negative")):
        refused = client("POST", f"/servers/{server}/set", bad)
        assert refused.status == 400
        assert word in refused.text
    assert server in client("POST", "/servers/list").text.split()
    assert client("POST", "/drives/create", '{"name": "big", "size": "64M"}').status == 200


def test_box_writes_64_mib_at_once(old: Endpoint) -> None:
    client = Client(old, Accept="*/*")
    form = "application/x-www-form-urlencoded"
    created = client("POST", "/drives/create", "size 67108864\nname box\nencryption:cipher aes-xts-plain\n")
    drive = created.line("drive")
    packed = gzip.compress(b"\x01" * 64 * MIB, 1)
    kinds = {"Content_Type": "application/octet-stream", "Content_Encoding": "gzip"}
    assert client("POST", f"/drives/{drive}/write/0", packed, **kinds).status == 204
    assert client("GET", f"/drives/{drive}/read/{64 * MIB - 1}/1").content == b"\x01"
    body = f"name box\ncpu 1000\nsmp auto\nmem 512\nide:0:0 {drive}\nboot ide:0:0\nnic:0:model e1000\nnic:0:dhcp auto\n"
    server = client("POST", "/servers/create", f"{body}persistent true\nvnc:ip auto\nvnc:password secretpw\n")
    assert server.status == 200
    assert client("POST", f"/servers/{server.line('server')}/destroy", "", Content_Type=form).status == 204


def test_psi_takes_a_static_address_first(either: Endpoint) -> None:
    client = Client(either, Accept="application/json", Content_Type="application/json")
    address = client("POST", "/resources/ip/create", '{"name": "psi"}').json["resource"]
    drive = client("POST", "/drives/create", json.dumps({"name": "psi", "size": 1 << 30})).json["drive"]
    assert client("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip").status in (200, 204)
    until_imaged(client, drive, absences=5)
    body = {"name": "psi", "cpu": 1000, "smp": "auto", "mem": 512, "persistent": "true", "ide:0:0": drive}
    body |= {"boot": "ide:0:0", "nic:0:model": "e1000", "nic:0:dhcp": address, "vnc:ip": "auto"}
    made = client("POST", "/servers/create", json.dumps({**body, "vnc:password": "geheim12"})).json
    assert (made["status"], made["nic:0:dhcp"]) == ("active", address)
    assert client("POST", f"/servers/{made['server']}/destroy").status == 204


def test_ohbak_asks_with_a_content_type_of_its_own(either: Endpoint) -> None:
    client = Client(either, Accept="*/*", Content_Type="header")
    drive = client("POST", "/drives/create", "name backup\nsize 8M\n").line("drive")
    info = client("POST", f"/drives/{drive}/info")
    assert not re.search("^claimed", info.text, re.MULTILINE)
    copy = client("POST", "/drives/create", "name copy\nsize 8M\n").line("drive")
    assert client("POST", f"/drives/{copy}/image/{drive}").status in (200, 204)
    until_imaged(client, copy, absences=3)
    assert client("POST", f"/drives/{copy}/destroy").status == 204
    assert client("POST", f"/drives/{drive}/destroy").status == 204


def test_ehgo_reads_everything_in_full(either: Endpoint) -> None:
    client = Client(either, Accept="application/json")
    for call in ("/servers/info/full", "/drives/info/full"):
        assert isinstance(client("GET", call).json, list)
    assert client("GET", "/hosts/info/full").status == 404
