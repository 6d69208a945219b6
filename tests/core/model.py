# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core believes after each accepted line: states of hosts and VMs (opennebula-drivers 2.3, 3, 8, 9.3, 9.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .grammar import Item, Vector
from .judge import Answer, monitor_facts
from .releases import Release

LCM: dict[str, int] = {
    "LCM_INIT": 0,
    "PROLOG": 1,
    "BOOT": 2,
    "RUNNING": 3,
    "MIGRATE": 4,
    "SAVE_STOP": 5,
    "SAVE_SUSPEND": 6,
    "SAVE_MIGRATE": 7,
    "SHUTDOWN": 12,
    "CANCEL": 13,
    "CLEANUP_RESUBMIT": 15,
    "PROLOG_MIGRATE": 8,
    "UNKNOWN": 16,
    "HOTPLUG": 17,
    "SHUTDOWN_POWEROFF": 18,
    "BOOT_UNKNOWN": 19,
    "BOOT_POWEROFF": 20,
    "BOOT_SUSPENDED": 21,
    "BOOT_STOPPED": 22,
    "CLEANUP_DELETE": 23,
    "HOTPLUG_NIC": 25,
    "SHUTDOWN_UNDEPLOY": 29,
    "BOOT_UNDEPLOY": 32,
    "HOTPLUG_PROLOG_POWEROFF": 33,
    "HOTPLUG_EPILOG_POWEROFF": 34,
    "BOOT_FAILURE": 36,
    "PROLOG_FAILURE": 39,
    "HOTPLUG_RESIZE": 62,
    "HOTPLUG_NIC_POWEROFF": 65,
}
"""states inside ACTIVE, by LCM_STATE"""
STATES: dict[str, int] = {
    "PENDING": 1,
    "HOLD": 2,
    "STOPPED": 4,
    "SUSPENDED": 5,
    "DONE": 6,
    "FAILED": 7,
    "POWEROFF": 8,
    "UNDEPLOYED": 9,
}


HOST_STATES: dict[str, int] = {"INIT": 0, "MONITORED": 2, "ERROR": 3, "OFFLINE": 8}
_ON_NO_HOST = ("DONE", "FAILED", "PENDING", "HOLD", "STOPPED", "UNDEPLOYED")
"""states in which a VM is not among the VMs of the host that it was on last"""


@dataclass
class Host:
    """A host as the core shows it."""

    id: int
    name: str
    vm_mad: str = "vmm_eh"
    """its VM driver"""
    state: str = "INIT"
    facts: dict[str, str] = field(default_factory=dict)
    error: str = ""
    heard: float | None = None
    """when it was last heard of, in the core's seconds"""
    wilds: tuple[str, ...] = ()
    """deploy ids of servers that are not OpenNebula's"""
    zombies: tuple[str, ...] = ()
    marks: dict[str, int] = field(default_factory=dict, repr=False)
    """5.12-7.4: the newest timestamp by message type"""
    im_mad: str = "im_eh"
    """NAME of its information driver"""

    @property
    def number(self) -> int:
        """Return the number of the VM's STATE, as documents have it."""
        return HOST_STATES[self.state]


@dataclass
class Vm:
    """A VM as the core shows it."""

    id: int
    name: str
    template: tuple[Item, ...] = field(default=(), repr=False)
    state: str = "PENDING"
    """name of STATE, or of LCM_STATE inside ACTIVE: PENDING, BOOT, RUNNING, POWEROFF, DONE ..."""
    deploy_id: str = ""
    host: Host | None = None
    seq: int = -1
    """history record: grows with each deployment"""
    records: list[tuple[int, Host]] = field(default_factory=list, repr=False)
    """all history records: SEQ and host"""
    leaving: Host | None = None
    """the host that it migrates from, while that is under way"""
    error: str = ""
    """attribute ERROR"""
    log: list[str] = field(default_factory=list, repr=False)
    """failures as the VM's log has them, in full"""
    if_done: tuple[Item, ...] | None = field(default=None, repr=False)
    """the template after the SUCCESS of a change that is under way"""
    if_failed: tuple[Item, ...] | None = field(default=None, repr=False)
    monitoring: dict[str, str] = field(default_factory=dict)
    turned: float | None = None
    """when it last began or ended running, in the core's seconds"""
    ignored: int = 0
    """lines "Ignoring VM state update" in its log"""
    missing: int = 0
    """4.0-5.10: in how many host messages it was missing"""
    active_reports: int = 0
    """4.0-5.10: how often it was reported active since its state changed last: one never seen is not missed
    (opennebula-drivers 8.14)"""

    @property
    def address(self) -> str:
        """Return the address that OpenNebula shows for the VM."""
        return self.monitoring.get("GUEST_IP") or self.monitoring.get("IP", "")


_BACK = "RUNNING"
_AFTER: dict[tuple[str, str], tuple[str, str]] = {
    ("SHUTDOWN", "SHUTDOWN"): ("DONE", _BACK),
    ("SHUTDOWN", "SHUTDOWN_POWEROFF"): ("POWEROFF", _BACK),
    ("SHUTDOWN", "SHUTDOWN_UNDEPLOY"): ("UNDEPLOYED", _BACK),
    ("CANCEL", "CANCEL"): ("DONE", _BACK),
    ("CANCEL", "SHUTDOWN"): ("DONE", _BACK),
    ("CANCEL", "SHUTDOWN_POWEROFF"): ("POWEROFF", _BACK),
    ("CANCEL", "SHUTDOWN_UNDEPLOY"): ("UNDEPLOYED", _BACK),
    ("CANCEL", "CLEANUP_RESUBMIT"): ("PENDING", "PENDING"),
    ("MIGRATE", "MIGRATE"): (_BACK, _BACK),
    ("SAVE", "SAVE_MIGRATE"): ("PROLOG_MIGRATE", _BACK),
    ("SHUTDOWN", "SAVE_MIGRATE"): ("PROLOG_MIGRATE", _BACK),
    ("CANCEL", "SAVE_MIGRATE"): ("PROLOG_MIGRATE", _BACK),
    ("SAVE", "SAVE_SUSPEND"): ("SUSPENDED", _BACK),
    ("SAVE", "SAVE_STOP"): ("STOPPED", _BACK),
    ("RESTORE", "BOOT"): (_BACK, "FAILED"),
    ("RESTORE", "BOOT_SUSPENDED"): (_BACK, "SUSPENDED"),
    ("RESTORE", "BOOT_STOPPED"): (_BACK, "BOOT_STOPPED_FAILURE"),
    ("DEPLOY", "BOOT"): (_BACK, "BOOT_FAILURE"),
    ("DEPLOY", "BOOT_FAILURE"): (_BACK, "BOOT_FAILURE"),
    ("DEPLOY", "BOOT_POWEROFF"): (_BACK, "POWEROFF"),
    ("DEPLOY", "BOOT_UNKNOWN"): (_BACK, "UNKNOWN"),
    ("DEPLOY", "BOOT_UNDEPLOY"): (_BACK, "BOOT_UNDEPLOY_FAILURE"),
    ("CLEANUP", "CLEANUP_DELETE"): ("DONE", "DONE"),
    ("CLEANUP", "CLEANUP_RESUBMIT"): ("PENDING", "PENDING"),
}
"""(action, state) -> (state after SUCCESS, state after FAILURE)"""
_SHUT_DOWN = {"SHUTDOWN": "DONE", "SHUTDOWN_POWEROFF": "POWEROFF", "SHUTDOWN_UNDEPLOY": "UNDEPLOYED"}
_HOTPLUG = {
    "HOTPLUG": "RUNNING",
    "HOTPLUG_NIC": "RUNNING",
    "HOTPLUG_NIC_POWEROFF": "POWEROFF",
    "HOTPLUG_PROLOG_POWEROFF": "POWEROFF",
    "HOTPLUG_EPILOG_POWEROFF": "POWEROFF",
    "HOTPLUG_RESIZE": "RUNNING",
}
LONGEST_ERROR = 100
"""characters of ERROR, the core's own words before the driver's text among them"""
_SHOWN_AS = {"RESET": "REBOOT"}
"""actions that the core calls by another name (opennebula-drivers 9.3)"""
_BOOTS = frozenset({"BOOT", "BOOT_POWEROFF", "BOOT_UNKNOWN", "BOOT_SUSPENDED", "BOOT_STOPPED", "BOOT_UNDEPLOY"})


class Model:
    """The state of hosts and VMs in the core. Feed it what the core does and every accepted line; ask it for states.

    :param grace: seconds for which a reported state is ignored after the VM began or ended running: 30 from 7.0.1 on
    """

    def __init__(self, release: Release, grace: float | None = None) -> None:
        self.release = release
        guarded = release.im == "5.12-7.4" and not release.name.startswith(("5.", "6.", "7.0.0"))
        self.grace = grace if grace is not None else 30.0 if guarded else 0.0
        self.hosts: dict[int, Host] = {}
        self.vms: dict[int, Vm] = {}

    def turn(self, vm: Vm, state: str, now: float) -> None:
        if "RUNNING" in (vm.state, state) and vm.state != state:
            vm.turned = now
        if vm.state != state:
            vm.missing = vm.active_reports = 0
        if state == "PENDING":
            vm.deploy_id = ""
        vm.state = state

    def outcome(self, action: str, state: str, ok: bool) -> str | None:
        """Return the state to which an answer to ``action`` leads from ``state``; None if the answer is only logged."""
        if state in _HOTPLUG:
            return _HOTPLUG[state]
        after = _AFTER.get((action, state))
        if after is None:
            return None
        if not ok and action in ("DEPLOY", "RESTORE") and not self.release.boot_failure:
            return "FAILED"
        return after[0] if ok else after[1]

    def vmm(self, answer: Answer, now: float) -> None:
        """Apply an accepted line of the VM driver."""
        vm = self.vms.get(answer.id)
        if vm is None or answer.kind != "reply" or vm.state == "DONE":
            return
        if answer.action == "POLL":
            self._polled(vm, answer, now)
            return
        state = self.outcome(answer.action, vm.state, answer.ok)
        self.changed_template(vm, ok=answer.ok)
        if not answer.ok:
            self.failed(vm, _SHOWN_AS.get(answer.action, answer.action), answer.text)
        elif answer.action == "DEPLOY" and (state or vm.state == "RUNNING"):
            vm.deploy_id, vm.error = answer.text, ""
        if state:
            if vm.leaving is not None and not answer.ok:  # the new history record is taken back
                vm.host = vm.leaving
                vm.records.pop()
            vm.leaving = None
            self.turn(vm, state, now)
            vm.turned = now

    @staticmethod
    def changed_template(vm: Vm, *, ok: bool) -> None:
        """Keep or take back the change of the template that was under way."""
        after = vm.if_done if ok else vm.if_failed
        vm.template = vm.template if after is None else after
        vm.if_done = vm.if_failed = None

    def failed(self, vm: Vm, what: str, text: str) -> None:
        """Log a failure of ``vm``, and show it in ERROR."""
        whole = f"{what}: {text}"
        vm.log.append(whole)
        if not self.release.short_errors:
            vm.error = text
        elif len(whole) <= LONGEST_ERROR:
            vm.error = whole
        else:
            vm.error = f"{whole[:LONGEST_ERROR]}... see more details in VM log"

    def _polled(self, vm: Vm, answer: Answer, now: float) -> None:
        if answer.ok:
            self._vm_facts(vm, answer.facts, now)
        elif self.release.cleanup and vm.state == "RUNNING":
            self.turn(vm, "UNKNOWN", now)

    def _vm_facts(self, vm: Vm, facts: dict[str, str], now: float) -> None:
        if vm.state not in ("RUNNING", "UNKNOWN", "POWEROFF", *_SHUT_DOWN):
            return
        vm.monitoring.update(facts)
        letter = facts.get("STATE", "-")
        modern = self.release.boot_failure
        if letter == "a":
            vm.active_reports += 1
            if vm.state == "UNKNOWN" or (vm.state == "POWEROFF" and modern and vm.active_reports >= 2):
                self.turn(vm, "RUNNING", now)
        elif letter == "p" and vm.state in ("RUNNING", "UNKNOWN"):
            self.turn(vm, "SUSPENDED", now)
        elif letter == "e" and vm.state in ("RUNNING", "UNKNOWN"):
            self.turn(vm, "UNKNOWN" if modern else "FAILED", now)
        elif letter == "d":
            self._gone(vm, "POWEROFF" if modern else "UNKNOWN", now)

    def _gone(self, vm: Vm, state: str, now: float) -> None:
        if vm.state in _SHUT_DOWN and self.release.boot_failure and state != "UNKNOWN":
            self.turn(vm, _SHUT_DOWN[vm.state], now)
        elif vm.state in ("RUNNING", "UNKNOWN"):
            self.turn(vm, state, now)

    def im(self, answer: Answer, now: float) -> None:
        """Apply an accepted line of the information driver."""
        host = self.hosts.get(answer.id)
        if host is None or host.state == "OFFLINE" or answer.kind == "log":
            return
        if answer.timestamp:
            if answer.timestamp < host.marks.get(answer.action, 0):
                return  # "out of order message ignored"
            host.marks[answer.action] = answer.timestamp
        if self.release.im == "5.12-7.4":
            self._streamed(host, answer, now)
        elif answer.action == "MONITOR":
            host.heard = now
            self._monitored(host, answer, now)

    def _monitored(self, host: Host, answer: Answer, now: float) -> None:
        if not answer.ok:
            self._host_error(host, answer.text, now)
            return
        host.state, host.error = "MONITORED", ""
        host.facts.update(answer.facts)
        if answer.facts.get("VM_POLL") == "YES":
            self._listed(host, answer.vectors("VM"), now)

    def _host_error(self, host: Host, text: str, now: float) -> None:
        host.error = text if host.state != "ERROR" else host.error
        host.state = "ERROR"
        if self.release.im != "2.0-3.8":
            for vm in self._on(host, "RUNNING"):
                self.turn(vm, "UNKNOWN", now)

    def _on(self, host: Host, *states: str) -> Iterable[Vm]:
        return [vm for vm in self.vms.values() if vm.host is host and vm.state in states]

    def _listed(self, host: Host, vectors: list[Vector], now: float) -> None:
        """Apply the VM lines of a host message of 4.0 to 5.10 (opennebula-drivers 3.3)."""
        seen: set[int] = set()
        strangers = []
        for vector in vectors:
            facts = dict(word.split("=", 1) for word in vector["POLL"].split() if "=" in word)
            number = int(vector["ID"])
            vm = self.vms.get(number)
            if vm is None or vm.host is not host:
                strangers.append((number, vector["DEPLOY_ID"]))
            elif "STATE" in facts:
                seen.add(number)
                vm.missing = 0
                self._vm_facts(vm, facts, now)
        host.wilds = tuple(deploy_id for number, deploy_id in strangers if number < 0)
        host.zombies = tuple(deploy_id for number, deploy_id in strangers if number >= 0)
        for vm in self._on(host, "RUNNING", *_SHUT_DOWN):
            if vm.id not in seen:
                vm.missing += 1
                if vm.missing >= (2 if self.release.im == "4.4-5.10" else 1) and vm.active_reports:
                    self._gone(vm, "POWEROFF" if self.release.boot_failure else "UNKNOWN", now)

    def _streamed(self, host: Host, answer: Answer, now: float) -> None:
        """Apply a message of the monitoring protocol of 5.12 to 7.4 (opennebula-drivers 9.4)."""
        kind = answer.action
        if kind in ("MONITOR_HOST", "START_MONITOR") or (kind == "SYSTEM_HOST" and answer.ok):
            host.heard = now
        if not answer.ok:
            if kind in ("START_MONITOR", "MONITOR_HOST", "SYSTEM_HOST"):
                self._host_error(host, "" if kind == "START_MONITOR" else answer.text, now)
        elif kind == "SYSTEM_HOST":
            host.state, host.error = "MONITORED", ""
            host.facts.update(answer.facts)
            host.wilds = tuple(vm["DEPLOY_ID"] for vm in answer.vectors("VM"))
        elif kind == "MONITOR_HOST":
            host.facts.update(answer.facts)
        elif kind == "STATE_VM":
            self._states(host, answer, now)
        elif kind == "MONITOR_VM":
            for vector in answer.vectors("VM"):
                vm = self.vms.get(int(vector["ID"]))
                if vm is not None and vm.host is host:
                    vm.monitoring.update(monitor_facts(vector))

    def _states(self, host: Host, answer: Answer, now: float) -> None:
        sync = "SYNC_STATE" in answer.facts
        seen: set[int] = set()
        zombies = []
        for vector in answer.vectors("VM"):
            vm = self.vms.get(int(vector["ID"]))
            seen.add(int(vector["ID"]))
            if vm is None or vm.host is not host or vm.state in _ON_NO_HOST:
                zombies.append(vector["DEPLOY_ID"])
            else:
                self._reported(vm, vector["STATE"], vector["DEPLOY_ID"], now)
        if sync:
            host.heard = now
            host.zombies = tuple(zombies)
            for vm in self._on(host, "RUNNING", "UNKNOWN", *_SHUT_DOWN):
                if vm.id not in seen:  # no grace here: a VM deployed a second ago is gone, too
                    self._gone(vm, answer.facts["MISSING_STATE"], now)

    def _reported(self, vm: Vm, state: str, deploy_id: str, now: float) -> None:
        if state == "RUNNING" and vm.state in (*_BOOTS, "RUNNING", "UNKNOWN", "POWEROFF", "SUSPENDED"):
            vm.deploy_id = deploy_id
        if vm.turned is not None and now - vm.turned < self.grace:
            vm.ignored += 1
            return
        if state == "RUNNING" and vm.state in (*_BOOTS, "UNKNOWN", "POWEROFF", "SUSPENDED"):
            self.turn(vm, "RUNNING", now)
        elif state == "POWEROFF":
            self._gone(vm, "POWEROFF", now)
        elif state == "SUSPENDED" and vm.state in ("RUNNING", "UNKNOWN"):
            self.turn(vm, "SUSPENDED", now)
        elif state == "FAILURE" and vm.state == "RUNNING":
            self.turn(vm, "UNKNOWN", now)
