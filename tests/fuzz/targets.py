# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be fed with anything: each target takes bytes, and raises when something came of them that must not.

``tests.fuzz`` drives them with atheris, the unit tests with Hypothesis and with every input that once was a finding.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.host_monitor import HostMonitor
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.journal import Journal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.monitor_driver import MonitorDriver
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.monitoring_facts import (
    host_facts,
    import_template,
    state_of,
    vm_facts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.protocol_loop import (
    Arguments,
    LineHandler,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import (
    HostSettings,
    Settings,
    SettingsError,
    parse_limits,
    parse_rc,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.translate import (
    specification,
    template_defaults,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.vm_driver import VmDriver
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ElasticHostsError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.driver_requests import (
    ID_FIRST,
    parse_im,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.errors import (
    MalformedLine,
    OpenNebulaError,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import layout
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import from_deployment_file
from tests.core.judge import VMM_ACTIONS, judge_im, judge_vmm
from tests.core.releases import release
from tests.support.answers import Answer, answered
from tests.unit.drivers.simulation import InlineAccounts, InlineJobQueue, SimulatedClock

USER = "11111111-2222-4333-8444-555555555555"
KEY = "s3cr3t-of-the-fuzzer"
MARK = b"THE-KEY"
"""stands for the secret key in inputs: a cloud may repeat what it was sent"""
SETTINGS = {"EHURI": "http://cloud", "EHAUTH": f"{USER}:{KEY}", "EHCLOUD": "fuzzed"}
GENERATIONS = {"2.0-3.0": "2.0.1", "3.2-5.12": "5.10.5", "6.0-7.4": "7.4.0"}
IM_GENERATIONS = {"2.0-3.8": "2.0.1", "4.0-4.2": "4.2.0", "4.4-5.10": "5.10.5", "5.12-7.4": "7.4.0"}
_ID = re.compile(rb"[A-Z][A-Z0-9_]* +(-?\d+)(?: |\Z)")


class Cloud:
    """Answers every call with what the input holds: blocks of "STATUS TYPE\\nBODY", one after the other."""

    def __init__(self, script: bytes) -> None:
        self._blocks = script.split(b"\n\n") if script else []

    def answer(self, *_call: object) -> Answer:
        head, _newline, body = (self._blocks.pop(0) if self._blocks else b"500 text/plain").partition(b"\n")
        number, _blank, kind = head.partition(b" ")
        status = number if re.fullmatch(rb"[2-5]\d\d", number) else b"200"
        kind = kind.replace(b"\r", b"") or b"application/json"
        return int(status), {"Content-Type": kind.decode("latin-1"), "X-Elastic-Error": "failed"}, body


class Site:
    """A driver's surroundings without network and without waiting."""

    def __init__(self, folder: Path) -> None:
        for name in ("etc/vmm_eh", "etc/im_eh", "var"):
            (folder / name).mkdir(parents=True)
        rc = folder / "etc" / "vmm_eh" / "vmm_ehrc"
        rc.write_text("".join(f"{key}='{value}'\n" for key, value in SETTINGS.items()))
        rc.chmod(0o600)
        self.place = layout(str(folder))
        self.settings = Settings(self.place, {}, template_defaults)
        self.clock: Any = SimulatedClock()
        self.journal = Journal(f"{folder}/var/eh_journal.sqlite", self.clock, "boot")
        self.said: list[bytes] = []

    def zones(self, script: bytes) -> InlineAccounts:
        cloud = Cloud(script)

        def connect(settings: HostSettings) -> ElasticHosts:
            client = ElasticHosts(settings.endpoint, settings.auth, clock=self.clock, jitter=lambda: 0.5)
            return answered(client, cloud.answer)

        return InlineAccounts(self.clock, connect)

    def queue(self) -> Any:
        return InlineJobQueue(self.clock, lambda: None)


@cache
def site() -> Site:
    return Site(Path(tempfile.mkdtemp(prefix="eh-fuzz-")))


def accept(service: LineHandler, line: bytes) -> None:
    """As the daemon hands a line over, but for its last net."""
    words = line.split(None, 1)
    if words and words[0] != b"FINALIZE":
        service.accept(line)


def run(queue: Any) -> None:
    """Every job until none is left; a fault of the driver's own is raised."""
    while queue.queues:
        queue.run(next(iter(queue.queues)))


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """The driver's own log is read, too."""
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        yield
    assert KEY not in log.getvalue(), log.getvalue()


def parts(data: bytes) -> tuple[bytes, bytes]:
    """A line, and what the cloud answers. `<xml>` in the line stands for the packed form that the core sends."""
    line, _newline, script = data.partition(b"\n")
    line = re.sub(rb"<(VMM_DRIVER_ACTION_DATA)>.*</\1>", lambda found: base64.b64encode(found[0]), line)
    line = re.sub(rb"<(MONITOR_DRIVER_ACTION)>.*</\1>", lambda found: base64.b64encode(zlib.compress(found[0])), line)
    return line, script.replace(MARK, KEY.encode())


def vmm_lines(data: bytes) -> None:
    """A line to the VM driver, whose cloud answers anything: at most one answer, for the VM of the line."""
    line, script = parts(data)
    here = site()
    here.said.clear()
    queue = here.queue()
    service = VmDriver(
        here.place, here.settings, here.journal, here.zones(script), here.said.append, Arguments(), here.clock, queue
    )
    with logged():
        accept(service, line)
        run(queue)
    named = _ID.match(line)
    replies = []
    for said in here.said:
        assert KEY.encode() not in said, said
        assert said.endswith(b"\n") and said.count(b"\n") == 1, said
        judged = [_judged(judge_vmm, name, said[:-1]) for name in GENERATIONS.values()]
        assert any(judged) or _unjudged(said), said
        replies += [answer for answer in judged if answer and answer.kind == "reply"][:1]
    assert len(replies) <= 1 or line.strip() == b"INIT", replies
    for reply in replies:
        assert named and reply.id == int(named[1]), (line, reply)


def _unjudged(said: bytes) -> bool:
    """A FAILURE of an action that no release knows; or of one whose object's id the payload should have told."""
    action, status, *_rest = said.decode().split()
    known = VMM_ACTIONS.fullmatch(action)
    return status == "FAILURE" and (not known or action in ID_FIRST)


def _judged(judge: Callable[..., Any], name: str, line: bytes) -> Any:
    if line == b"INIT SUCCESS":
        return type("Init", (), {"kind": "init", "id": -1})
    try:
        return judge(release(name), line)
    except AssertionError:
        return None


def im_lines(data: bytes) -> None:
    """A line to the information driver, of a protocol that it cannot tell, whose cloud answers anything."""
    here = site()
    line, script = parts(data)
    for protocol in ("2.0-3.8", "4.0-4.2", "4.4-5.10"):
        here.said.clear()
        zones = here.zones(script)
        try:
            request = parse_im(line, lambda known=protocol: known)  # type: ignore[misc]
        except MalformedLine:
            request = None
        if request is not None and request.action == "START_MONITOR":
            watch = HostMonitor(request, here.settings, zones, here.journal, here.clock)
            for _round in range(3):
                with logged():
                    lines, pause = watch.advance()
                here.clock.sleep(max(pause, 0.1))
                here.said += lines
        else:
            queue = here.queue()
            service = MonitorDriver(
                here.place, here.settings, here.journal, zones, here.said.append, Arguments(protocol=protocol),
                here.clock,
            )  # fmt: skip
            service._queue.close(0)
            service._queue = queue
            with logged():
                accept(service, line)
                run(queue)
        for said in here.said:
            assert KEY.encode() not in said, said
            assert said.endswith(b"\n") and said.count(b"\n") == 1, said
            assert any(_judged(judge_im, name, said[:-1]) for name in IM_GENERATIONS.values()), said


HOST = HostSettings("eh", SETTINGS, {}, "vmm_ehrc")


def deployment_files(data: bytes) -> None:
    """A deployment file: a specification, or a sentence."""
    try:
        machine = from_deployment_file(data, 7)
        wanted = specification(machine, "eh", "fuzzed", HOST, ())
    except (OpenNebulaError, SettingsError) as error:
        sentence(error)
    else:
        assert all(isinstance(value, str) for value in wanted.server.values()), wanted
        assert wanted.server["user:one-cloud"] == "fuzzed", wanted
        assert wanted.server["user:one-vm"] == "7", wanted


def settings_files(data: bytes) -> None:
    """A settings file in each of its languages."""
    text = data.decode("utf-8", "surrogateescape")
    values = parse_rc(text)
    host = HostSettings("eh", {**SETTINGS, **values}, {}, "vmm_ehrc")
    for parse in (parse_limits, template_defaults):
        try:
            parse(text)
        except ValueError as error:
            sentence(error)
    try:
        host_facts("eh", [], host)
    except SettingsError as error:
        sentence(error)


def replies(data: bytes) -> None:
    """What the cloud answers to each kind of call, and what the core is told of it."""
    answer = data.replace(MARK, KEY.encode())
    client = ElasticHosts("http://cloud", f"{USER}:{KEY}", clock=site().clock, jitter=lambda: 0.5, retries=0)
    calls: tuple[Callable[[], Any], ...] = (
        client.servers.list,
        client.servers.info,
        client.drives.info,
        client.drives.list,
        lambda: client.servers.get(USER),
        lambda: client.servers.create({"name": "x", "vnc:password": KEY}),
        lambda: client.servers.set(USER, {"name": "x"}),
        lambda: client.servers.stop(USER),
    )
    for call in calls:
        answered(client, Cloud(answer).answer)
        try:
            found = call()
        except ElasticHostsError as error:
            sentence(error)
            continue
        for server in found if call == client.servers.info else ():
            state_of(server)
            vm_facts(server, HOST)
            import_template(server, "eh")
            host_facts("eh", [server], HOST)


def oned_conf(data: bytes) -> None:
    """A file in the language of oned.conf: read and written back as it was, edited and unedited, or refused."""
    text = conf.decode(data)
    assert conf.encode(text) == data
    try:
        document = conf.parse(text)
    except conf.ConfError as error:
        sentence(error)
        return
    wanted: Mapping[str, str | None] = {"EXECUTABLE": "one_vmm_eh", "ARGUMENTS": "a b"}
    if document.section("VM_MAD", "eh_fuzzed"):
        return
    after = conf.set_section(document, "VM_MAD", "eh_fuzzed", wanted)
    again = conf.parse(after)
    added = again.section("VM_MAD", "eh_fuzzed")
    assert added is not None and added.get("ARGUMENTS") == "a b"
    assert conf.set_section(again, "VM_MAD", "eh_fuzzed", wanted) == after


def sentence(error: BaseException) -> None:
    """An error is one bounded sentence without the secret."""
    text = str(error)
    assert text and KEY not in text, text
    assert len(text) < 5000, len(text)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (vmm_lines, im_lines, deployment_files, settings_files, replies, oned_conf)
}
