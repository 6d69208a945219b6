# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions of the administrator: the line that each sends, and the state in which the VM waits for the answer."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .grammar import Item, Vector, parse_template, vectors
from .model import Host, Model, Vm
from .process import CoreFailure
from .releases import Release
from .scheduler import HostView, SystemDatastore, refusal_of
from .speech import im_line, vmm_line, write_deployment_file
from .transfer import PREFIX, making, removing, transfer


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
"""states whose terminate and delete never reach the VMM driver (opennebula-drivers 2.3)"""


EXPIRY = 300.0
"""seconds until a START_MONITOR that was not answered is sent again"""


class Administrator(ABC):
    """Actions of an administrator; :class:`~tests.core.oned.Core` sends their lines to the drivers."""

    release: Release
    model: Model
    var: Path
    changed: threading.Condition
    """guards the model; notified after each line"""
    periods: Mapping[str, int]
    interval: int
    deleted: dict[int, float]
    """host id -> when it was deleted"""
    _environment: dict[str, str]
    vm_mad: Mapping[str, str]
    """further attributes of the driver's VM_MAD section"""

    @abstractmethod
    def ask(self, role: str, action: str, number: int, line: bytes) -> None:
        """Send a request, and record that an answer is due."""

    @abstractmethod
    def has_im(self) -> bool:
        """Return whether an information driver was started."""

    def create_host(self, name: str, vm_mad: str = "vmm_eh") -> Host:
        """Create a host. It is monitored at once if the IM driver runs; a host with another VM driver never is."""
        with self.changed:
            host = Host(len(self.model.hosts) + len(self.deleted), name, vm_mad)
            self.model.hosts[host.id] = host
        if self.has_im() and vm_mad == "vmm_eh":
            self.start_monitor(host)
        return host

    def monitor(self, host: Host) -> None:
        """Run the timer once: MONITOR up to 5.10; later releases send START_MONITOR, see :meth:`is_overdue`."""
        if self.release.im == "5.12-7.4" and not self.is_overdue(host):
            raise CoreFailure(
                f"START_MONITOR for host {host.name} is not sent yet: the core waits until it has heard nothing of it "
                f"for {self.interval} s (opennebula-drivers 3.4, 9.4)"
            )
        self.start_monitor(host)

    def is_overdue(self, host: Host) -> bool:
        """Return whether START_MONITOR is due: a host of 5.12 or later was silent for MONITORING_INTERVAL_HOST.

        What counts as heard are messages of the driver, and everything that changes the host in the core: every action
        on its VMs, and the start of the core itself.
        """
        if host.state == "OFFLINE" or host.heard is None:
            return False
        silent = time.monotonic() - host.heard
        return silent >= (EXPIRY if self.is_starting(host) else self.interval)

    def is_starting(self, _host: Host) -> bool:
        """Return whether START_MONITOR was sent and has no answer."""
        return False

    def start_monitor(self, host: Host) -> None:
        """Send START_MONITOR for a host that is new or was enabled again (5.12 and later)."""
        line = im_line(self.release, "MONITOR", host, self.var, self.periods, self.interval, first=host.heard is None)
        action = "START_MONITOR" if self.release.im == "5.12-7.4" else "MONITOR"
        with self.changed:
            if self.release.im == "5.12-7.4":
                host.heard = time.monotonic()
        self.ask("im", action, host.id, line)

    def offline(self, host: Host) -> None:
        """``onehost offline`` (5.12 and later): send STOP_MONITOR; the VMs stay on the host."""
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
        """Deploy the VM if the scheduler of the release accepts the host and its system datastore.

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
        """Delete a host; 4.4 and later send STOPMONITOR to the information driver."""
        with self.changed:
            del self.model.hosts[host.id]
            self.deleted[host.id] = time.monotonic()
        if self.release.im in ("4.4-5.10", "5.12-7.4"):
            action = "STOP_MONITOR" if self.release.im == "5.12-7.4" else "STOPMONITOR"
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
        :param deploy_id: of a wild server that is imported (opennebula-drivers 4)
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
        if self._prolog(vm):
            self._boot(vm, "DEPLOY", "BOOT")

    def _prolog(self, vm: Vm) -> bool:
        """Bring the VM's disks to the host; of those whose TM_MAD is ``eh`` its scripts are asked."""
        disks = [disk for disk in vectors(list(vm.template), "DISK") if disk.get("TM_MAD") == "eh"]
        with self.changed:
            self.model.turn(vm, "PROLOG", time.monotonic())
        return self._transfer(vm, "prolog", [making(self.var, vm, disk) for disk in disks], "PROLOG_FAILURE")

    def _transfer(self, vm: Vm, what: str, lines: list[str], failed: str) -> bool:
        """Run the lines of a transfer file, and return whether all of them succeeded.

        :param failed: the VM's state after a failure
        """
        message = transfer(self.release, self.var, self._environment, vm, what, lines) if lines else None
        if message is None:
            return True
        with self.changed:
            if message:
                self.model.failed(vm, PREFIX, message)
            self.model.turn(vm, failed, time.monotonic())
        return False

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
        if self.release.vmm != "2.0-3.0" or vm.state != "RUNNING":
            raise CoreFailure(f"move is that of VMs that run under 2.0 to 3.0, not under {self.release.name}")
        with self.changed:
            vm.host = host
            self._record(vm)

    def migrate(self, vm: Vm, host: Host, action: str = "MIGRATE") -> None:
        """``onevm migrate`` to a host of any VM driver: live, or by SAVE, SHUTDOWN (--poff) or CANCEL (--poff-hard).

        The newest history record is that of the new host by then, while HOST of the request is the old one
        (opennebula-drivers 9.3).
        """
        before = vm.host
        if vm.state != "RUNNING" or before is None:
            raise CoreFailure(f"migrate of VM {vm.id} is refused in {vm.state}")
        with self.changed:
            vm.host, vm.leaving = host, before
            self._record(vm)
            self.model.turn(vm, "MIGRATE" if action == "MIGRATE" else "SAVE_MIGRATE", time.monotonic())
        self._vmm(action, vm, {"HOST": before.name, "MIGR_HOST": host.name if action == "MIGRATE" else ""})

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
        if again and self.release.vmm != "6.0-7.4":
            raise CoreFailure(
                f"{name} of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state} "
                "(opennebula-drivers 2.3)"
            )
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
        """Reboot the VM, which changes no state; :meth:`answered` waits for the answer."""
        self._operate(vm, "reboot hard" if hard else "reboot")

    def poll(self, vm: Vm) -> None:
        """Send one POLL, as the timer does up to 5.10."""
        if not self.release.poll:
            raise CoreFailure(f"OpenNebula {self.release.name} sends no POLL")
        self._vmm("POLL", vm)

    def delete(self, vm: Vm) -> None:
        """Delete of an active VM (``recover --delete``): DRIVER_CANCEL, then CANCEL or CLEANUP.

        See opennebula-drivers 2.3, 8.17.
        """
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
        """Send any other action, which does not change the VM's state: UPDATESG, SNAPSHOTCREATE, MIGRATE ..."""
        self._vmm(action, vm, extra)

    # --- disks, interfaces and size of a VM

    def attach_disk(self, vm: Vm, disk: Mapping[str, str]) -> None:
        """``onevm disk-attach``. In POWEROFF the transfer driver alone hears of it, never the VM driver."""
        new = {**disk, "DISK_ID": str(len(vectors(list(vm.template), "DISK")))}
        before = vm.template
        if self._asks_driver(vm, "ATTACHDISK", "HOTPLUG", (*before, ("DISK", new)), before):
            return
        with self.changed:
            self.model.turn(vm, "HOTPLUG_PROLOG_POWEROFF", time.monotonic())
        if self._transfer(vm, "prolog_attach", [making(self.var, vm, new)], "POWEROFF"):
            self._changed(vm, (*before, ("DISK", new)))

    def detach_disk(self, vm: Vm, target: str) -> None:
        """``onevm disk-detach`` of the disk with this TARGET."""
        (old,) = (disk for disk in vectors(list(vm.template), "DISK") if disk.get("TARGET") == target)
        after = tuple(item for item in vm.template if item[1] is not old)
        if self._asks_driver(vm, "DETACHDISK", "HOTPLUG", after, vm.template, about=old):
            return
        with self.changed:
            self.model.turn(vm, "HOTPLUG_EPILOG_POWEROFF", time.monotonic())
        if self._transfer(vm, "epilog_detach", [removing(self.var, vm, old)], "POWEROFF"):
            self._changed(vm, after)

    def attach_nic(self, vm: Vm, nic: Mapping[str, str]) -> None:
        """``onevm nic-attach``. In POWEROFF nobody hears of it, but with COLD_NIC_ATTACH the VM driver does."""
        new = {**nic, "NIC_ID": str(len(vectors(list(vm.template), "NIC")))}
        after = (*vm.template, ("NIC", new))
        if not self._asks_driver(vm, "ATTACHNIC", "HOTPLUG_NIC", after, vm.template):
            self._changed(vm, after)

    def detach_nic(self, vm: Vm, number: str) -> None:
        """``onevm nic-detach`` of the interface with this NIC_ID."""
        (old,) = (nic for nic in vectors(list(vm.template), "NIC") if nic.get("NIC_ID") == number)
        after = tuple(item for item in vm.template if item[1] is not old)
        if not self._asks_driver(vm, "DETACHNIC", "HOTPLUG_NIC", after, vm.template, about=old):
            self._changed(vm, after)

    def resize(self, vm: Vm, **size: str) -> None:
        """``onevm resize`` to CPU and MEMORY; of a VM that runs only with LIVE_RESIZE, else while it is off."""
        after = tuple((name, size.get(name, value)) for name, value in vm.template)
        if vm.state == "POWEROFF":
            self._changed(vm, after)
            return
        if vm.state != "RUNNING" or not (self.release.live_resize and self._says_yes("LIVE_RESIZE")):
            raise CoreFailure(f"resize of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state}")
        with self.changed:
            vm.if_failed, vm.template = vm.template, after
            self.model.turn(vm, "HOTPLUG_RESIZE", time.monotonic())
        self._vmm("RESIZE", vm)

    def _asks_driver(
        self,
        vm: Vm,
        action: str,
        state: str,
        after: tuple[Item, ...],
        before: tuple[Item, ...],
        about: Vector | None = None,
    ) -> bool:
        """Send ``action`` to the VM driver, if it is to hear of it in the VM's state.

        :param about: the vector that is to go; None: the last of ``after`` is new
        """
        cold = action.endswith("NIC") and self.release.cold_nics and self._says_yes("COLD_NIC_ATTACH")
        if vm.state == "POWEROFF" and self.release.attach_off and not cold:
            return False
        if vm.state not in ("RUNNING", "POWEROFF") or (vm.state == "POWEROFF" and not self.release.attach_off):
            raise CoreFailure(f"{action} of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state}")
        vector = after[-1][1] if about is None else about
        shown = before if about is not None else after
        with self.changed:
            vm.if_done, vm.if_failed = after, before
            vm.template = tuple(_attached(item) if item[1] is vector else item for item in shown)
            self.model.turn(vm, f"{state}_POWEROFF" if vm.state == "POWEROFF" else state, time.monotonic())
        self._vmm(action, vm)
        return True

    def _says_yes(self, attribute: str) -> bool:
        return self.vm_mad.get(attribute, "").lower() == "yes"

    def _changed(self, vm: Vm, template: tuple[Item, ...]) -> None:
        """Give the VM, which is off, another template."""
        with self.changed:
            vm.template = template
            self.model.turn(vm, "POWEROFF", time.monotonic())

    def _line(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> bytes:
        with self.changed:
            return vmm_line(self.release, action, vm, self.var, int(time.time()), extra)

    def _vmm(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> None:
        with self.changed:
            if vm.host is not None and vm.host.heard is not None and self.release.im == "5.12-7.4":
                vm.host.heard = time.monotonic()
        self.ask("vmm", action, vm.id, self._line(action, vm, extra))


def _attached(item: Item) -> Item:
    """Return the disk or interface that an action is about."""
    name, value = item
    return name, {**value, "ATTACH": "YES"} if isinstance(value, dict) else value


def _with_quotes(item: Item) -> Item:
    """An empty value arrives as two quotation marks in old releases (opennebula-drivers 8.10)."""
    name, value = item
    if isinstance(value, str):
        return name, value or '""'
    return name, {key: text or '""' for key, text in value.items()}
