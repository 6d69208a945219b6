# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``Core``: oned (and onemonitord) as far as a driver can see it.

.. code-block:: python

    with Core("7.4.0", one_location=tmp_path) as core:
        core.start_vmm(arguments="-t 15 eh")
        core.start_im(arguments="eh")
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = core.create_vm({"NAME": "bitrot", "CPUMHZ": "500", ...})
        core.deploy(vm, host)
        core.wait(vm, "RUNNING")
        core.poweroff(vm)
        core.wait(vm, "POWEROFF")

Whatever the real core would not have accepted is a :class:`CoreFailure`, raised by the next call of ``wait``, ``check``
or at the end of the block, with the last lines of both sides.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from .grammar import Item, parse_template
from .judge import Answer, Verdict, judge_im, judge_vmm
from .model import Host, Model, Vm
from .process import CoreFailure as CoreFailure
from .process import DriverProcess
from .releases import Release, release
from .speech import PERIODS, im_line, vmm_line, write_deployment_file

PATIENCE = 15.0
"""seconds that ``wait`` waits unless told otherwise"""


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
_OPTIONAL = ("DRIVER_CANCEL", "CHECKPOINT", "BACKUPCANCEL", "STOPMONITOR", "STOP_MONITOR", "START_MONITOR")
"""requests that may stay without an answer (2.3, 3.4)"""


class Core:
    """A core of one release.

    :param name: the release, for example ``2.0.1`` or ``7.4.0``
    :param one_location: $ONE_LOCATION: drivers in ``lib/mads``, working directory ``var``
    :param env: what oned's environment has beside this process's own and ONE_LOCATION
    :param periods: I4: PROBES_PERIOD, seconds; what is not given has short defaults
    :param interval: I4: MONITORING_INTERVAL_HOST, seconds
    :param grace: I4: seconds for which reported states are ignored after a VM began or ended running; None: as the
        release does it (30 from 7.0.1)
    """

    def __init__(
        self,
        name: str = "7.4.0",
        *,
        one_location: Path | str,
        env: Mapping[str, str] | None = None,
        periods: Mapping[str, int] | None = None,
        interval: int = 20,
        grace: float | None = None,
    ) -> None:
        self.release: Release = release(name)
        self.one_location = Path(one_location)
        self.var = self.one_location / "var"
        self.var.mkdir(parents=True, exist_ok=True)
        self.model = Model(self.release, grace)
        self.problems: list[str] = []
        """what the real core would not have borne, in order"""
        self.answers: list[Answer] = []
        """every accepted line, in order"""
        self.asked: Counter[tuple[str, str, int]] = Counter()
        """(role, action, id) of requests without an answer yet"""
        self.vmm: DriverProcess | None = None
        self.im: DriverProcess | None = None
        self._environment = {**os.environ, **(env or {}), "ONE_LOCATION": str(self.one_location)}
        self._periods = {**PERIODS, **(periods or {})}
        self._interval = interval
        self._changed = threading.Condition()
        self._judges: dict[str, Callable[[Release, bytes], Answer]] = {"vmm": judge_vmm, "im": judge_im}

    # --- drivers ----------------------------------------------------------------------------------------------------

    def start_vmm(self, executable: Path | str = "one_vmm_eh", arguments: str | None = None) -> float:
        """Starts the VMM driver of the section's EXECUTABLE and ARGUMENTS; returns the seconds until INIT SUCCESS."""
        self.vmm, seconds = self._start("vmm", executable, arguments, self.release.old_vmm)
        return seconds

    def start_im(self, executable: Path | str = "one_im_eh", arguments: str | None = None) -> float:
        """Starts the IM driver; hosts that wait for it are monitored."""
        self.im, seconds = self._start("im", executable, arguments, self.release.old_im)
        for host in list(self.model.hosts.values()):
            if host.state == "INIT":
                self.monitor(host)
        return seconds

    def _start(
        self, role: str, executable: Path | str, arguments: str | None, old: bool
    ) -> tuple[DriverProcess, float]:
        driver = DriverProcess(
            role,
            self.one_location / "lib" / "mads" / executable,
            arguments,
            folder=self.var,
            environment=self._environment,
            old=old,
            init_seconds=self.release.init_seconds,
            heard=lambda line: self._heard(role, line),
            lost=self._problem,
        )
        return driver, driver.init()

    def kill(self, role: str) -> None:
        """SIGKILL to the ``vmm`` or ``im`` driver, as an accident; nothing is repeated to its successor (1.6)."""
        self._driver(role).kill()
        with self._changed:
            for key in [key for key in self.asked if key[0] == role]:
                del self.asked[key]

    def _driver(self, role: str) -> DriverProcess:
        driver = self.vmm if role == "vmm" else self.im
        if driver is None:
            raise CoreFailure(f"the {role} driver was not started")
        return driver

    # --- what the administrator does --------------------------------------------------------------------------------

    def create_host(self, name: str) -> Host:
        """A new host; it is monitored at once if the IM driver runs."""
        with self._changed:
            host = Host(len(self.model.hosts), name)
            self.model.hosts[host.id] = host
        if self.im is not None:
            self.monitor(host)
        return host

    def monitor(self, host: Host) -> None:
        """One round: MONITOR (I1 to I3), START_MONITOR (I4), as the timer sends it."""
        line = im_line(self.release, "MONITOR", host, self.var, self._periods, self._interval, first=host.heard is None)
        action = "START_MONITOR" if self.release.im == "I4" else "MONITOR"
        self._ask("im", action, host.id, line)

    def delete_host(self, host: Host) -> None:
        """Host delete; 4.4+ tells the IM driver."""
        with self._changed:
            del self.model.hosts[host.id]
        if self.release.im in ("I3", "I4"):
            action = "STOP_MONITOR" if self.release.im == "I4" else "STOPMONITOR"
            line = im_line(self.release, "STOPMONITOR", host, self.var, self._periods, self._interval, first=False)
            self._ask("im", action, host.id, line)

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
        if deploy_id:
            items.append(("DEPLOY_ID", deploy_id))
        with self._changed:
            vm = Vm(len(self.model.vms), name, tuple(items), deploy_id=deploy_id)
            self.model.vms[vm.id] = vm
        return vm

    def deploy(self, vm: Vm, host: Host) -> None:
        """``onevm deploy``."""
        if vm.state not in ("PENDING", "HOLD"):
            raise CoreFailure(f"deploy of VM {vm.id} is refused in {vm.state}")
        with self._changed:
            vm.host = host
        self._boot(vm, "DEPLOY", "BOOT")

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
        with self._changed:
            self.model.turn(vm, "BOOT", time.monotonic())
        self._vmm("DEPLOY", vm)

    def _boot(self, vm: Vm, action: str, state: str) -> None:
        with self._changed:
            vm.seq += 1
            self.model.turn(vm, state, time.monotonic())
            if action == "DEPLOY":
                write_deployment_file(self.release, self.var, vm, int(time.time()))
        self._vmm(action, vm)

    def _operate(self, vm: Vm, name: str) -> None:
        operation = OPERATIONS[name]
        if vm.state in _WITHOUT_DRIVER and name.startswith("terminate"):
            with self._changed:
                self.model.turn(vm, "DONE", time.monotonic())
            return
        if vm.state not in operation.allowed or (operation.modern and not self.release.named_boots):
            raise CoreFailure(f"{name} of VM {vm.id} is refused by OpenNebula {self.release.name} in {vm.state}")
        again = vm.state == operation.state
        with self._changed:
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
            with self._changed:
                self.model.turn(vm, "DONE", time.monotonic())
            return
        if self.release.cleanup:
            with self._changed:
                self.model.turn(vm, "CLEANUP_DELETE", time.monotonic())
        self._vmm("DRIVER_CANCEL", vm)
        if self.release.cleanup:
            self._vmm("CLEANUP", vm)
            return
        with self._changed:
            self.model.turn(vm, "DONE", time.monotonic())  # the core does not wait
        self._vmm("CANCEL", vm)

    def recreate(self, vm: Vm) -> None:
        """``recover --recreate`` (4.0+), ``resubmit``: the VM is PENDING again with the same id."""
        with self._changed:
            self.model.turn(vm, "CLEANUP_RESUBMIT", time.monotonic())
        self._vmm("DRIVER_CANCEL", vm)
        self._vmm("CLEANUP" if self.release.cleanup else "CANCEL", vm)

    def request(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> None:
        """Any other action, in the VM's state as it is: UPDATESG, SNAPSHOTCREATE, MIGRATE ..."""
        self._vmm(action, vm, extra)

    def say(self, role: str, line: bytes, *, answer: tuple[str, int] | None = None) -> None:
        """A raw line (no newline) to ``vmm`` or ``im``: for lines that a sound core would not write.

        :param answer: (action, id) that the driver may answer, when something in the line could be read
        """
        if answer is not None:
            self._ask(role, *answer, line)
        else:
            self._driver(role).write(line)

    def _line(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> bytes:
        with self._changed:
            return vmm_line(self.release, action, vm, self.var, int(time.time()), extra)

    def _vmm(self, action: str, vm: Vm, extra: Mapping[str, str] | None = None) -> None:
        self._ask("vmm", action, vm.id, self._line(action, vm, extra))

    def _ask(self, role: str, action: str, number: int, line: bytes) -> None:
        with self._changed:
            self.asked[role, action, number] += 1
        self._driver(role).write(line)

    # --- what the drivers say ---------------------------------------------------------------------------------------

    def _problem(self, sentence: str) -> None:
        with self._changed:
            self.problems.append(sentence)
            self._changed.notify_all()

    def _heard(self, role: str, line: bytes) -> None:
        try:
            answer = self._judges[role](self.release, line)
        except Verdict as verdict:
            self._problem(f"{role} wrote a line that OpenNebula {self.release.name} would not take: {verdict}")
            return
        with self._changed:
            poll_for = self._take(role, answer)
            self._changed.notify_all()
        if poll_for is not None:
            self.poll(poll_for)

    def _take(self, role: str, answer: Answer) -> Vm | None:
        """Books an accepted line; returns the VM that the core polls because of it (8.11)."""
        problem = self._unasked(role, answer)
        if problem:
            self.problems.append(f"{role} wrote {answer.action} for id {answer.id}: {problem}")
        self.answers.append(answer)
        if role == "im":
            self.model.im(answer, time.monotonic())
            return None
        vm = self.model.vms.get(answer.id)
        failed = not answer.ok and answer.action in ("SAVE", "SHUTDOWN", "CANCEL", "MIGRATE")
        self.model.vmm(answer, time.monotonic())
        return vm if failed and vm and vm.state == "RUNNING" and self.release.poll else None

    def _unasked(self, role: str, answer: Answer) -> str:
        if answer.kind == "log":
            return ""
        key = (role, answer.action, answer.id)
        if self.asked[key] > 0:
            self.asked[key] -= 1
            self.asked += Counter()  # drops the zeros
            return ""
        if answer.kind == "message" and answer.action not in ("START_MONITOR", "STOP_MONITOR"):
            return self._stream_problem(answer)
        if role == "im" and self.release.im in ("I2", "I3"):
            return ""  # pushed host messages are welcome there (3.3)
        return "nobody asked, or it was answered before"

    def _stream_problem(self, answer: Answer) -> str:
        """I4: what the core ignores or, worse, believes."""
        host = self.model.hosts.get(answer.id)
        if host is None:
            return "there is no such host (any more)"
        mark = host.marks.get(answer.action, 0)
        if answer.timestamp and answer.timestamp < mark:
            return f"its timestamp {answer.timestamp} is older than the last one, {mark}: out of order, ignored (9.4)"
        for vector in answer.vectors("VM") if answer.action == "STATE_VM" else ():
            vm = self.model.vms.get(int(vector["ID"]))
            if vm and vm.deploy_id not in ("", vector["DEPLOY_ID"]) and vm.state not in ("DONE", "PENDING"):
                return (
                    f"VM {vm.id} has the deploy id {vm.deploy_id}, not {vector['DEPLOY_ID']}: it is overwritten (7.9)"
                )
        return ""

    # --- looking ----------------------------------------------------------------------------------------------------

    def wait_for(self, seen: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """The first true value of ``seen()``, which is called after each line.

        :raises CoreFailure: when it does not come true, or a driver breaks a rule meanwhile
        """
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                self._check()
                value = seen()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise CoreFailure(self._story(f"{what} was not seen within {seconds:g} s"))
                self._changed.wait(left)

    def wait(self, vm: Vm, state: str, seconds: float = PATIENCE) -> Vm:
        """Waits until the core shows ``vm`` in ``state`` (RUNNING, POWEROFF, DONE, BOOT_FAILURE ...)."""
        began = time.monotonic()
        try:
            self.wait_for(lambda: vm.state == state, f"VM {vm.id} {state}", seconds)
        except CoreFailure as failure:
            shown = f"{vm.state}" + (f", ERROR {vm.error!r}" if vm.error else "")
            raise CoreFailure(f"VM {vm.id} is {shown} after {time.monotonic() - began:.1f} s. {failure}") from None
        return vm

    def wait_host(self, host: Host, state: str, seconds: float = PATIENCE) -> Host:
        """Waits until the core shows ``host`` in ``state`` (MONITORED, ERROR)."""
        self.wait_for(lambda: host.state == state, f"host {host.name} {state} (it is {host.state})", seconds)
        return host

    def answered(self, seconds: float = PATIENCE) -> None:
        """Waits until every request has its answer (but those that need none)."""

        def open_requests() -> list[tuple[str, str, int]]:
            return [key for key in self.asked if key[1] not in _OPTIONAL]

        try:
            self.wait_for(lambda: not open_requests(), "an answer to every request", seconds)
        except CoreFailure as failure:
            raise CoreFailure(f"without an answer: {open_requests()}. {failure}") from None

    def replies(self, action: str, vm: Vm) -> list[Answer]:
        """The answers to ``action`` for ``vm`` so far."""
        with self._changed:
            return [a for a in self.answers if a.kind == "reply" and a.action == action and a.id == vm.id]

    def logs(self) -> list[str]:
        """The texts of LOG lines so far."""
        with self._changed:
            return [answer.text for answer in self.answers if answer.kind == "log"]

    def said(self) -> list[str]:
        """The last lines of both sides, per driver."""
        return [line for driver in (self.vmm, self.im) if driver for line in driver.said]

    def check(self) -> None:
        """:raises CoreFailure: when a driver broke a rule so far"""
        with self._changed:
            self._check()

    def _check(self) -> None:
        if self.problems:
            raise CoreFailure(self._story("; ".join(self.problems)))

    def _story(self, sentence: str) -> str:
        lines = "\n  ".join(self.said()[-30:])
        return f"{sentence}.\nThe last lines:\n  {lines}"

    # --- the end ----------------------------------------------------------------------------------------------------

    def shut_down(self, *, finalize: bool = True) -> None:
        """Stops both drivers by FINALIZE, or as a killed core does: by the end of their pipes.

        :raises CoreFailure: when a driver does not leave in time
        """
        failures = []
        # oned waits 10 s for a driver of 6.0+, onemonitord 3 s; the old code hardly 1 s, then leaves it running.
        for driver, seconds in ((self.im, 3.0), (self.vmm, 3.0 if self.release.old_vmm else 10.0)):
            if driver is not None and driver.exit_status is None:
                try:
                    driver.stop(seconds, finalize=finalize)
                except CoreFailure as failure:
                    failures.append(str(failure))
        if failures:
            raise CoreFailure(self._story("; ".join(failures)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self.check()
            finally:
                self.shut_down()
            self.check()
            return
        for driver in (self.im, self.vmm):
            if driver is not None:
                driver.kill()


def _with_quotes(item: Item) -> Item:
    """An empty value arrives as two quotation marks in old releases (8.10)."""
    name, value = item
    if isinstance(value, str):
        return name, value or '""'
    return name, {key: text or '""' for key, text in value.items()}
