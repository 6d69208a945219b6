# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator asks of the core: each wish has a line, and a state in which the VM waits for the answer."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .grammar import Item, parse_template
from .model import Host, Model, Vm
from .process import CoreFailure
from .releases import Release
from .scheduler import HostView, SystemDatastore, refusal_of
from .speech import im_line, vmm_line, write_deployment_file


class Operation(NamedTuple):
    """What the administrator asks for, and what of it reaches the VMM driver."""

    action: str
    state: str
    """of the VM until the answer comes; empty: unchanged"""
    allowed: tuple[str, ...] = ("RUNNING", "UNKNOWN")
    modern: bool = False
    """needs a release with power-off (3.8+)"""


OPERATIONS: Mapping[str, Operation] = {
    "terminate": Operation("SHUTDOWN", "SHUTDOWN"),
    "terminate hard": Operation("CANCEL", "SHUTDOWN", ("RUNNING", "UNKNOWN", "SHUTDOWN")),
    "poweroff": Operation("SHUTDOWN", "SHUTDOWN_POWEROFF", modern=True),
    "poweroff hard": Operation("CANCEL", "SHUTDOWN_POWEROFF", ("RUNNING", "UNKNOWN", "SHUTDOWN_POWEROFF"), modern=True),
    "undeploy": Operation("SHUTDOWN", "SHUTDOWN_UNDEPLOY", modern=True),
    "undeploy hard": Operation("CANCEL", "SHUTDOWN_UNDEPLOY", ("RUNNING", "UNKNOWN", "SHUTDOWN_UNDEPLOY"), modern=True),
    "suspend": Operation("SAVE", "SAVE_SUSPEND", ("RUNNING",)),
    "stop": Operation("SAVE", "SAVE_STOP", ("RUNNING",)),
    "reboot": Operation("REBOOT", "", modern=True),
    "reboot hard": Operation("RESET", "", modern=True),
}
_RESUME: Mapping[str, tuple[str, str]] = {
    "SUSPENDED": ("RESTORE", "BOOT_SUSPENDED"),
    "STOPPED": ("RESTORE", "BOOT_STOPPED"),
    "POWEROFF": ("DEPLOY", "BOOT_POWEROFF"),
    "UNDEPLOYED": ("DEPLOY", "BOOT_UNDEPLOY"),
    "UNKNOWN": ("DEPLOY", "BOOT_UNKNOWN"),
}
_WITHOUT_DRIVER = ("POWEROFF", "SUSPENDED", "STOPPED", "UNDEPLOYED", "HOLD", "PENDING")
"""states whose terminate and delete never reach the VMM driver (2.3)"""


EXPIRY = 300.0
"""seconds until a START_MONITOR that was not answered is sent again"""


class Administrator(ABC):
    """The wishes; :class:`~tests.core.oned.Core` carries the lines."""

    release: Release
    model: Model
    var: Path
    changed: threading.Condition
    """guards the model; notified after each line"""
    periods: Mapping[str, int]
    interval: int
    deleted: dict[int, float]
    """host id -> when it was deleted"""

    @abstractmethod
    def ask(self, role: str, action: str, number: int, line: bytes) -> None:
        """Sends a request and books that an answer is owed."""

    @abstractmethod
    def has_im(self) -> bool:
        """An IM driver was started."""

    def create_host(self, name: str, vm_mad: str = "vmm_eh") -> Host:
        """A new host; it is monitored at once if the IM driver runs. One with another VM driver is nobody's here."""
        with self.changed:
            host = Host(len(self.model.hosts) + len(self.deleted), name, vm_mad)
            self.model.hosts[host.id] = host
        if self.has_im() and vm_mad == "vmm_eh":
            self.start_monitor(host)
        return host

    def monitor(self, host: Host) -> None:
        """One round of the timer: MONITOR (I1 to I3); I4 sends START_MONITOR, see :meth:`is_overdue`."""
        if self.release.im == "I4" and not self.is_overdue(host):
            raise CoreFailure(
                f"START_MONITOR for host {host.name} is not sent yet: the core waits until it has heard nothing of it "
                f"for {self.interval} s (3.4, 9.4)"
            )
        self.start_monitor(host)

    def is_overdue(self, host: Host) -> bool:
        """I4: nothing was heard of the host for MONITORING_INTERVAL_HOST, and START_MONITOR is not under way.

        What counts as heard are messages of the driver, and everything that changes the host in the core: every action
        on its VMs, and the start of the core itself.
        """
        if host.state == "OFFLINE" or host.heard is None:
            return False
        silent = time.monotonic() - host.heard
        return silent >= (EXPIRY if self.is_starting(host) else self.interval)

    def is_starting(self, _host: Host) -> bool:
        """START_MONITOR was sent and has no answer."""
        return False

    def start_monitor(self, host: Host) -> None:
        """Ask about the host at once: it is new, or was enabled again (I4)."""
        line = im_line(self.release, "MONITOR", host, self.var, self.periods, self.interval, first=host.heard is None)
        action = "START_MONITOR" if self.release.im == "I4" else "MONITOR"
        with self.changed:
            if self.release.im == "I4":
                host.heard = time.monotonic()
        self.ask("im", action, host.id, line)

    def offline(self, host: Host) -> None:
        """``onehost offline`` (I4): the driver is told to stop; the VMs stay on the host."""
        with self.changed:
            host.state = "OFFLINE"
        line = im_line(self.release, "STOPMONITOR", host, self.var, self.periods, self.interval, first=False)
        self.ask("im", "STOP_MONITOR", host.id, line)

    def enable(self, host: Host) -> None:
        """``onehost enable`` of a host that is offline."""
        with self.changed:
            host.state = "INIT"
        self.start_monitor(host)

    def schedule(self, vm: Vm, host: Host, datastore: SystemDatastore, disk: int = 0) -> None:
        """Deploy as the scheduler does, if it finds that the host and its system datastore do.

        :param disk: MB that the VM needs in the system datastore
        :raises CoreFailure: the scheduler leaves the VM pending; with its reason
        """
        facts = HostView(
            host.state,
            host.facts,
            [other for other in self.model.vms.values() if other.host is host and other.seq >= 0],
        )
        reason = refusal_of(self.release, facts, vm, datastore, disk)
        if reason:
            raise CoreFailure(f"VM {vm.id} stays PENDING: {reason}")
        self.deploy(vm, host)

    def delete_host(self, host: Host) -> None:
        """Host delete; 4.4+ tells the IM driver."""
        with self.changed:
            del self.model.hosts[host.id]
            self.deleted[host.id] = time.monotonic()
        if self.release.im in ("I3", "I4"):
            action = "STOP_MONITOR" if self.release.im == "I4" else "STOPMONITOR"
            line = im_line(self.release, "STOPMONITOR", host, self.var, self.periods, self.interval, first=False)
            self.ask("im", action, host.id, line)

    def create_vm(
        self,
        template: str | Mapping[str, str],
        *,
        name: str = "ehvm",
        cpu: float | None = 0.5,
        memory: int | None = 500,
        deploy_id: str = "",
    ) -> Vm:
        """A new VM.

        :param template: OpenNebula template text, or the sub-attributes of one EH=[...]
        :param deploy_id: of a wild server that is imported (4)
        """
        items: list[Item] = (
            parse_template(template)
            if isinstance(template, str)
            else [("EH", {key.upper(): value for key, value in template.items()})]
        )
        if self.release.empty_quotes:
            items = [_with_quotes(item) for item in items]
        given = {key for key, _value in items}
        for key, number in (("CPU", cpu), ("MEMORY", memory)):
            if number is not None and key not in given:
                items.append((key, str(number)))
        if deploy_id and "IMPORTED" not in given:
            items.append(("IMPORTED", "YES"))
        with self.changed:
            vm = Vm(len(self.model.vms), name, tuple(items), deploy_id=deploy_id)
            self.model.vms[vm.id] = vm
        return vm

    def deploy(self, vm: Vm, host: Host) -> None:
        """``onevm deploy``."""
        if vm.state not in ("PENDING", "HOLD"):
            raise CoreFailure(f"deploy of VM {vm.id} is refused in {vm.state}")
        with self.changed:
            vm.host = host
        self._boot(vm, "DEPLOY", "BOOT")

    def importvm(self, deploy_id: str, host: Host, template: str | Mapping[str, str] = "", *, state: str = "") -> Vm:
        """``onehost importvm`` of 4.14 to 6.10: the VM runs at once, and no driver hears of it (4, 10).

        :param state: IMPORT_STATE of the template: POWEROFF, or empty
        """
        version = tuple(int(part) for part in self.release.name.split(".")[:2])
        if not (4, 14) <= version < (7, 0):
            raise CoreFailure(f"OpenNebula {self.release.name} has no importvm")
        if self.has_im() and deploy_id not in host.wilds:
            raise CoreFailure(f"host {host.name} shows no wild {deploy_id}")
        vm = self.create_vm(template, deploy_id=deploy_id)
        with self.changed:
            vm.host = host
            self._record(vm)
            self.model.turn(vm, state or "RUNNING", time.monotonic())
        return vm

    def move(self, vm: Vm, host: Host) -> None:
        """``onevm migrate`` of 2.0 to a host of another VM driver, which takes it: ours hears nothing (10)."""
        if self.release.vmm != "V1" or vm.state != "RUNNING":
            raise CoreFailure(f"move is that of VMs that run under 2.0 to 3.0, not under {self.release.name}")
        with self.changed:
            vm.host = host
            self._record(vm)

    def _record(self, vm: Vm) -> None:
        """A new history record, with the lock held."""
        vm.seq += 1
        if vm.host is not None:
            vm.records.append((vm.seq, vm.host))

    def resume(self, vm: Vm) -> None:
        """``onevm resume``; from UNKNOWN in old releases ``restart``."""
        if vm.state not in _RESUME:
            raise CoreFailure(f"resume of VM {vm.id} is refused in {vm.state}")
        action, state = _RESUME[vm.state]
        self._boot(vm, action, state if self.release.named_boots else "BOOT")

    def retry(self, vm: Vm) -> None:
        """``onevm recover --retry`` of a BOOT or BOOT_FAILURE (2.0: restart): the same DEPLOY again."""
        if vm.state not in ("BOOT", "BOOT_FAILURE"):
            raise CoreFailure(f"retry of VM {vm.id} is refused in {vm.state}")
        with self.changed:
            self.model.turn(vm, "BOOT", time.monotonic())
        self._vmm("DEPLOY", vm)

    def _boot(self, vm: Vm, action: str, state: str) -> None:
        with self.changed:
            self._record(vm)
            self.model.turn(vm, state, time.monotonic())
            if action == "DEPLOY":
                write_deployment_file(self.release, self.var, vm, int(time.time()))
        self._vmm(action, vm)

    def _operate(self, vm: Vm, name: str) -> None:
        operation = OPERATIONS[name]
        if vm.state in _WITHOUT_DRIVER and name.startswith("terminate"):
            with self.changed:
                self.model.turn(vm, "DONE", time.monotonic())
            return
        if vm.state not in operation.allowed or (operation.modern and not self.release.named_boots):
            raise CoreFailure(f"{name} of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state}")
        again = vm.state == operation.state
        if again and self.release.vmm != "V3":
            raise CoreFailure(f"{name} of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state} (2.3)")
        with self.changed:
            state = operation.state
            if name == "terminate hard" and self.release.cancel_state:
                state = "CANCEL"
            if state:
                self.model.turn(vm, state, time.monotonic())
        if again:
            self._vmm("DRIVER_CANCEL", vm)
        self._vmm(operation.action, vm)

    def terminate(self, vm: Vm, *, hard: bool = False) -> None:
        """``onevm terminate``; in old releases ``shutdown``, ``cancel``. In POWEROFF no driver hears of it."""
        self._operate(vm, "terminate hard" if hard else "terminate")

    def poweroff(self, vm: Vm, *, hard: bool = False) -> None:
        self._operate(vm, "poweroff hard" if hard else "poweroff")

    def undeploy(self, vm: Vm, *, hard: bool = False) -> None:
        self._operate(vm, "undeploy hard" if hard else "undeploy")

    def suspend(self, vm: Vm) -> None:
        self._operate(vm, "suspend")

    def stop(self, vm: Vm) -> None:
        self._operate(vm, "stop")

    def reboot(self, vm: Vm, *, hard: bool = False) -> None:
        """Changes no state; :meth:`answered` waits for the answer."""
        self._operate(vm, "reboot hard" if hard else "reboot")

    def poll(self, vm: Vm) -> None:
        """One POLL, as the timer sends it up to 5.10."""
        if not self.release.poll:
            raise CoreFailure(f"OpenNebula {self.release.name} sends no POLL")
        self._vmm("POLL", vm)

    def delete(self, vm: Vm) -> None:
        """Delete of an active VM (``recover --delete``): DRIVER_CANCEL, then CANCEL or CLEANUP (2.3, 8.17)."""
        if vm.state in _WITHOUT_DRIVER or vm.state == "FAILED":
            with self.changed:
                self.model.turn(vm, "DONE", time.monotonic())
            return
        if self.release.cleanup:
            with self.changed:
                self.model.turn(vm, "CLEANUP_DELETE", time.monotonic())
        self._vmm("DRIVER_CANCEL", vm)
        if self.release.cleanup:
            self._vmm("CLEANUP", vm)
            return
        with self.changed:
            self.model.turn(vm, "DONE", time.monotonic())  # the core does not wait
        self._vmm("CANCEL", vm)

    def recreate(self, vm: Vm) -> None:
        """``recover --recreate`` (4.0+), ``resubmit``: the VM is PENDING again with the same id."""
        with self.changed:
            self.model.turn(vm, "CLEANUP_RESUBMIT", time.monotonic())
        self._vmm("DRIVER_CANCEL", vm)
        self._vmm("CLEANUP" if self.release.cleanup else "CANCEL", vm)

    def request(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> None:
        """Any other action, in the VM's state as it is: UPDATESG, SNAPSHOTCREATE, MIGRATE ..."""
        self._vmm(action, vm, extra)

    def _line(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> bytes:
        with self.changed:
            return vmm_line(self.release, action, vm, self.var, int(time.time()), extra)

    def _vmm(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> None:
        with self.changed:
            if vm.host is not None and vm.host.heard is not None and self.release.im == "I4":
                vm.host.heard = time.monotonic()
        self.ask("vmm", action, vm.id, self._line(action, vm, extra))


def _with_quotes(item: Item) -> Item:
    """An empty value arrives as two quotation marks in old releases (8.10)."""
    name, value = item
    if isinstance(value, str):
        return name, value or '""'
    return name, {key: text or '""' for key, text in value.items()}
