# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulation of the VM driver, the endpoint and the core's model in one thread, with a simulated clock.

Driver and endpoint are the real ones, connected by function calls instead of sockets. At each API call a fault can be
injected: an error before or after the call takes effect, a late effect, a killed driver, or a new request of the core.
The core is that of ``tests.core``, which checks every line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import requests

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.accounts import (
    CloudAccount,
    CloudAccounts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.action_context import ActionFailed
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.answers import internal_error
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.job_queue import Cancelled, Job
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.journal import Journal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.listing_cache import ListingCache
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.protocol_loop import Arguments
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import HostSettings, Settings
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.transfer_driver import (
    ReleaseDrives,
    Target,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.translate import template_defaults
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.vm_driver import VmDriver
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ElasticHostsError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import layout
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import from_payload
from eh_endpoint import serving
from eh_endpoint.options import parse
from tests.core import Host, Vm
from tests.core.administrator import Administrator
from tests.core.judge import judge_vmm
from tests.core.model import Model
from tests.core.releases import release
from tests.core.speech import vm_document
from tests.support.answers import answered

USER = "11111111-2222-4333-8444-555555555555"
KEY = "s3cr3t"
CLOUD = "simulated"
COPY_SECONDS = 3.0
ACPI_SECONDS = 2.0


_SHUTTING = ("SHUTDOWN", "SHUTDOWN_POWEROFF", "SHUTDOWN_UNDEPLOY")


class Killed(BaseException):
    """The driver process is killed at this point."""


class SimulatedClock:
    """A clock that advances only by ``sleep``."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += max(seconds, 0.001)


class InProcessCloud:
    """The endpoint, called as ASGI application instead of through sockets, with the simulated clock."""

    def __init__(self, state: Path, clock: SimulatedClock) -> None:
        state.mkdir(parents=True)
        self._loop = asyncio.new_event_loop()
        mask = os.umask(0o077)
        words = ["--listen", "127.0.0.1:0", "--state", str(state), "--auth", f"{USER}:{KEY}", "--quiet"]
        words += ["--reserve", "0", "--acpi-delay", str(ACPI_SECONDS), "--imaging-seconds", str(COPY_SECONDS)]
        self._endpoint = serving.Endpoint(parse(words), clock)
        os.umask(mask)
        self._imaging = self._endpoint._imaging

    def close(self) -> None:
        self._endpoint.close()
        self._loop.close()

    def call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        return self._loop.run_until_complete(self._call(method, path, headers, body))

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []
        waiting: deque[Any] = deque([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return waiting.popleft() if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if body and "Content-Length" not in headers:
            raw.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": raw, "http_version": "1.1", "scheme": "http", "client": None, "server": ("cloud", 80),
        }  # fmt: skip
        await self._endpoint(scope, receive, send)
        while any(job.began is not None and not job.copied for job in self._imaging._jobs.values()):
            await asyncio.sleep(0.0002)  # wait for the copying thread; imaging itself ends by the simulated clock
        head = sent[0]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return head["status"], {k.decode(): v.decode() for k, v in head["headers"]}, content

    def api(self, path: str, body: bytes = b"", method: str = "POST") -> Any:
        """Make an API call in JSON, without faults."""
        request = requests.Request(method, "http://cloud" + path, auth=(USER, KEY)).prepare()
        headers = {**request.headers, "Accept": "application/json", "Content-Type": "application/json"}
        status, _headers, content = self.call(method, path, headers, body)
        assert status < 300, (path, status, content)
        return requests.models.complexjson.loads(content) if content else None


RETRIES = {
    "BOOT_SUSPENDED": "RESTORE",
    "BOOT_STOPPED": "RESTORE",
    "SHUTDOWN": "SHUTDOWN",
    "SHUTDOWN_POWEROFF": "CANCEL",
    "SHUTDOWN_UNDEPLOY": "CANCEL",
}
FAULTS = ("cut before", "cut after", "late", "500 before", "500 after", "503 after", "429", "401")
"""events of a call, besides ``fine``, and ``wish``: the core sends a request during the call"""
KILLS = ("kill before", "kill after")


class InlineAccounts(CloudAccounts):
    """Accounts whose listings are fetched in the caller's thread."""

    def of(self, settings: HostSettings) -> CloudAccount:
        account = super().of(settings)
        for listing in (account.servers, account.drives):
            listing._launch = lambda listing=listing: self._fetch(listing)  # type: ignore[method-assign,misc]
        return account

    @staticmethod
    def _fetch(listing: ListingCache[Any]) -> None:
        begun = listing._clock.monotonic()
        listing._flights.append(begun)
        listing._fly(begun)


class InlineJobQueue:
    """A job queue that runs a job only when ``run`` is called; jobs of a key run in order."""

    def __init__(self, clock: SimulatedClock, tick: Callable[[], None]) -> None:
        self._clock = clock
        self._tick = tick
        self.queues: dict[Hashable, deque[Job]] = {}

    def submit(self, key: Hashable, job: Job) -> None:
        job.arrived = self._clock.monotonic()
        job.clock = _JobClock(self._clock, job, self._tick)  # type: ignore[assignment]
        self.queues.setdefault(key, deque()).append(job)

    def cancel(self, key: Hashable) -> list[Job]:
        for job in self.queues.get(key, ()):
            job.cancelled.set()
        return list(self.queues.get(key, ()))

    def close(self, _seconds: float) -> None:
        pass

    def run(self, key: Hashable) -> None:
        job = self.queues[key][0]
        try:
            job.work(job)
        except Exception as error:
            job.reply.send(False, internal_error(error))
            raise
        if not job.held and not job.reply.is_sent:
            job.reply.send(False, "no answer")
        self.queues[key].popleft()
        if not self.queues[key]:
            del self.queues[key]


class _JobClock:
    def __init__(self, clock: SimulatedClock, job: Job, tick: Callable[[], None]) -> None:
        self._clock, self._job, self._tick = clock, job, tick

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        self._tick()
        if self._job.cancelled.is_set():
            raise Cancelled


class World(Administrator):
    """The whole simulation. ``events`` returns the event of an API call, ``fine`` by default."""

    def __init__(self, folder: Path, name: str = "7.4.0") -> None:
        self.release = release(name)
        self.model = Model(self.release, 0.0)
        self.clock = SimulatedClock()
        self.cloud = InProcessCloud(folder / "cloud", self.clock)
        self.root = folder / "one"
        self.var = self.root / "var"
        self.var.mkdir(parents=True)
        (self.root / "etc" / "vmm_eh").mkdir(parents=True)
        settings = {"EHURI": "http://cloud", "EHAUTH": f"{USER}:{KEY}", "EHCLOUD": CLOUD, "ACTION_TIMEOUT": "60"}
        (self.root / "etc" / "vmm_eh" / "vmm_ehrc").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        self.changed = threading.Condition()
        self.periods: Mapping[str, int] = {}
        self.interval = 20
        self.deleted: dict[int, float] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self.lines: list[str] = []
        self.calls: list[str] = []
        self.deployed = 0
        """number of API calls before the action under test"""
        self.late: list[tuple[int, tuple[str, str, dict[str, str], bytes]]] = []
        self.events: Callable[[str], str] = lambda _call: "fine"
        self.wish: Callable[[], None] = lambda: None
        self.mends_late = False
        """whether requests arrive before a new driver has cleaned up after the last one"""
        self.host: Host = self.create_host("eh")
        self.image = self.cloud.api("/drives/create", b'{"name": "golden", "size": "4M"}')["drive"]
        self.start()

    def close(self) -> None:
        self.journal.close()
        self.cloud.close()

    # --- the driver

    def start(self) -> None:
        """Start a driver."""
        place = layout(str(self.root))
        self.journal = Journal(f"{self.var}/eh_journal.sqlite", self.clock, "boot")  # type: ignore[arg-type]
        self.queue = InlineJobQueue(self.clock, self._between)
        self.service = VmDriver(
            place,
            Settings(place, {}, template_defaults),
            self.journal,
            InlineAccounts(self.clock, self._connect),  # type: ignore[arg-type]
            self._heard,
            Arguments(),
            self.clock,  # type: ignore[arg-type]
            self.queue,  # type: ignore[arg-type]
        )
        if not self.mends_late:
            self.service.clean_up_once()

    def _connect(self, settings: HostSettings) -> ElasticHosts:
        client = ElasticHosts(settings.endpoint, settings.auth, clock=self.clock, jitter=lambda: 0.5)
        return answered(client, self.pass_on)

    def kill(self) -> None:
        """Replace the driver as after kill -9; pending lines and replies are lost (opennebula-drivers 1.6)."""
        self.service._send = lambda _line: None
        self.journal.close()
        for replies in self.service._held.values():
            for reply in replies:
                reply.is_sent = True
        self._disown("action", "doubt")
        self.asked.clear()
        self.lines.append("-- killed --")
        self.start()

    def _disown(self, *tables: str) -> None:
        """Mark the journal's rows as those of a dead process, since this process lives on as the next driver."""
        with contextlib.closing(sqlite3.connect(self.var / "eh_journal.sqlite")) as rows:
            for table in tables:
                rows.execute(f"UPDATE {table} SET process = 'gone'")
            rows.commit()

    @property
    def has_transfer(self) -> bool:
        """Whether the release runs the transfer driver when a VM ends."""
        return self.release.vms_folder

    def has_im(self) -> bool:
        return False

    def ask(self, role: str, action: str, number: int, line: bytes) -> None:
        if action != "DRIVER_CANCEL":
            self.asked[action, number] += 1
        self.lines.append(f"> {action} {number}")
        self.service.accept(line)

    def _heard(self, line: bytes) -> None:
        answer = judge_vmm(self.release, line.rstrip(b"\n"))
        self.lines.append(f"< {line.decode().strip()[:150]}")
        if answer.kind == "log":
            return
        assert self.asked[answer.action, answer.id] > 0, f"{line!r}: nobody asked, or it was answered before"
        self.asked[answer.action, answer.id] -= 1
        self.model.vmm(answer, self.clock.monotonic())

    # --- API calls

    def pass_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        call = f"{method} {path}"
        self.calls.append(call)
        self.clock.sleep(0.02)
        self._between()
        event = self.events(call)
        if event != "fine":
            self.lines.append(f"   {call}: {event}")
        word, _blank, when = event.partition(" ")
        if word == "late" and method == "POST":
            self.late.append(
                (len(self.calls) + random.Random(len(self.calls)).randint(1, 9), (method, path, headers, body))
            )
            self.clock.sleep(61)
            raise TimeoutError("late")
        if word in ("late", "cut") and when != "after":
            raise ConnectionResetError("reset")
        if event == "kill before":
            raise Killed
        if event == "429":
            return 429, {"X-Elastic-Error": "busy"}, b"slow down"
        if event == "401":
            return 401, {"X-Elastic-Error": "auth"}, b"who are you"
        if word in ("500", "503") and when == "before":
            return int(word), {"X-Elastic-Error": "failed" if word == "500" else ""}, b"fault"
        answer = self.cloud.call(method, path, headers, body)
        if event == "kill after":
            raise Killed
        if event == "wish":
            self.wish()
        if event == "cut after":
            raise ConnectionResetError("reset")
        if word in ("500", "503"):
            return int(word), {"X-Elastic-Error": "system"}, b"fault"
        return answer

    def _between(self) -> None:
        """Let late calls that are due take effect."""
        due = [entry for entry in self.late if entry[0] <= len(self.calls)]
        self.late = [entry for entry in self.late if entry not in due]
        for _when, call in due:
            self.lines.append(f"   {call[0]} {call[1]} has its effect")
            self.cloud.call(*call)

    # --- running jobs

    def run(self, key: Hashable | None = None) -> bool:
        """Run the next job of ``key`` or the first key; return false without a job. A kill restarts the driver."""
        if not self.queue.queues:
            return False
        try:
            self.queue.run(next(iter(self.queue.queues)) if key is None else key)
        except Killed:
            self.kill()
        return True

    def settle(self, rounds: int = 1) -> None:
        """Run all queued jobs, then the driver's clean-up ``rounds`` times within an hour."""
        while self.run():
            pass
        for ticket_list in list(self.service._held):
            self.service._release(ticket_list)
        for _unused in range(rounds):
            self.clock.sleep(3601 / rounds)
            self.service.clean_up_once()
            while self.run():
                pass

    # --- results

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloud.api("/servers/info", method="GET")
        return found

    def drives(self) -> list[dict[str, Any]]:
        """Return the drives that were made for VMs."""
        return [drive for drive in self.cloud.api("/drives/info", method="GET") if "user:one-vm" in drive]

    def judge(self) -> None:
        """Assert that each VM has one server or none, as its state requires, and that no drive is orphaned.

        Whether the server runs is not checked: after a lost response, the core learns that from monitoring.
        """
        story = "\n".join(self.lines[-80:])
        assert not +self.asked, f"without an answer: {+self.asked}\n{story}"
        own: dict[int, list[dict[str, Any]]] = {}
        story += f"\n(OpenNebula {self.release.name})"
        for server in self.servers():
            own.setdefault(int(server["user:one-vm"]), []).append(server)
        for vm in self.model.vms.values():
            servers = own.pop(vm.id, [])
            if vm.state in ("DONE", "PENDING", "BOOT_FAILURE", "FAILED"):
                assert not servers, f"VM {vm.id} {vm.state} has left a server\n{story}"
            elif vm.state in ("RUNNING", "POWEROFF", "SUSPENDED", "UNDEPLOYED", "STOPPED"):
                uuids = [server["server"] for server in servers]
                assert uuids == [vm.deploy_id], f"VM {vm.id} {vm.state}: {servers}\n{story}"
            else:
                raise AssertionError(f"VM {vm.id} hangs in {vm.state}\n{story}")
        assert not own, f"orphaned servers: {own}\n{story}"
        attached = {server.get("ide:0:0") for server in self.servers()}
        orphans = [drive["drive"] for drive in self.drives() if drive["drive"] not in attached]
        assert not orphans, f"orphaned drives: {orphans}\n{story}"

    # --- requests of the core

    def create(self, *, image: bool) -> Vm:
        template = {"NAME": "bitrot", "CPUMHZ": "500", "MEMORY": "256", "NICDHCP": "nic:0:dhcp auto"}
        if image:
            template["IMAGE"] = "ide:0:0 golden"
        return self.create_vm(template)

    def _operate(self, vm: Vm, name: str) -> None:
        before = vm.state
        super()._operate(vm, name)
        if before not in ("RUNNING", "UNKNOWN", *_SHUTTING) and name.startswith("terminate"):
            self.transfer(vm)

    def delete(self, vm: Vm) -> None:
        without_driver = vm.state in ("POWEROFF", "SUSPENDED", "STOPPED", "UNDEPLOYED", "FAILED")
        super().delete(vm)
        if without_driver and self.has_transfer:
            self.transfer(vm)

    def transfer(self, vm: Vm) -> None:
        """Run the transfer driver's delete, and again while it fails, as by retry of EPILOG_FAILURE."""

        def asked(_vm_id: int) -> Any:
            return from_payload(vm_document(self.release, vm, int(self.clock.now())))

        for _unused in range(6):
            place = layout(str(self.root))
            journal = Journal(f"{self.var}/eh_journal.sqlite", self.clock, "boot")  # type: ignore[arg-type]
            release = ReleaseDrives(
                Settings(place, {}, template_defaults),
                journal,
                InlineAccounts(self.clock, self._connect),  # type: ignore[arg-type]
                self.clock,  # type: ignore[arg-type]
                asked,
                lambda _level, _vm, text: self.lines.append(f"   transfer: {text}"),
            )
            try:
                self.lines.append(f"   transfer of VM {vm.id}: {release(Target('eh', vm.id))}")
            except (Killed, ElasticHostsError, ActionFailed) as error:
                self.lines.append(f"   transfer of VM {vm.id} failed: {error!r}")
                self._disown("action")
            else:
                return
            finally:
                journal.close()

    def waits(self, vm: Vm) -> bool:
        """Return whether a reply for the VM is missing."""
        return any(number == vm.id and count > 0 for (_action, number), count in self.asked.items())

    def again(self, vm: Vm) -> None:
        """Retry the VM's pending action as ``recover --retry`` does (opennebula-drivers 2.7), else delete the VM."""
        actions = RETRIES
        if vm.state == "BOOT_UNDEPLOY_FAILURE":
            vm.state = "BOOT_UNDEPLOY"
        if vm.state == "BOOT_STOPPED_FAILURE":
            vm.state = "BOOT_STOPPED"
        if vm.state == "BOOT_FAILURE":
            self.retry(vm)
        elif vm.state.startswith("BOOT"):
            self._vmm(actions.get(vm.state, "DEPLOY"), vm)
        elif vm.state in actions:
            self._vmm(actions[vm.state], vm)
        elif vm.state.startswith("SAVE"):
            self._vmm("SAVE", vm)
        elif vm.state == "CLEANUP_RESUBMIT":
            self.recreate(vm)
        else:
            self.delete(vm)
