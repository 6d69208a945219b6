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
from typing import Any, Self

from .administrator import Administrator
from .judge import Answer, Verdict, judge_im, judge_vmm
from .model import Host, Model, Vm
from .process import CoreFailure, DriverProcess
from .releases import Release, release
from .rpc import XmlRpc
from .speech import PERIODS

PATIENCE = 60.0
"""seconds that ``wait`` waits unless told otherwise"""


_OPTIONAL = ("DRIVER_CANCEL", "CHECKPOINT", "BACKUPCANCEL", "STOPMONITOR", "STOP_MONITOR", "START_MONITOR")
"""requests that may stay without an answer (opennebula-drivers 2.3, 3.4)"""


VM_MAD: Mapping[str, str] = {"COLD_NIC_ATTACH": "yes", "LIVE_RESIZE": "yes"}
"""what the role writes; a release that does not know an attribute ignores it"""


class Core(Administrator):
    """A core of one release.

    :param name: the release, for example ``2.0.1`` or ``7.4.0``
    :param one_location: $ONE_LOCATION: drivers in ``lib/mads``, working directory ``var``
    :param env: what oned's environment has beside this process's own and ONE_LOCATION
    :param periods: 5.12-7.4: PROBES_PERIOD, seconds; what is not given has short defaults
    :param interval: 5.12-7.4: MONITORING_INTERVAL_HOST, seconds
    :param grace: 5.12-7.4: seconds for which reported states are ignored after a VM began or ended running; None: as
        the release does it (30 from 7.0.1)
    :param vm_mad: attributes of the VM_MAD section that decide what the core asks the driver; None: those of the role
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
        vm_mad: Mapping[str, str] | None = None,
    ) -> None:
        self.release: Release = release(name)
        self.vm_mad = VM_MAD if vm_mad is None else vm_mad
        self.one_location = Path(one_location)
        self.var = self.one_location / "var"
        self.var.mkdir(parents=True, exist_ok=True)
        self._leave_traces()
        self.model = Model(self.release, grace)
        self.problems: list[str] = []
        """rules that a driver broke, in order"""
        self.answers: list[Answer] = []
        """every accepted line, in order"""
        self.asked: Counter[tuple[str, str, int]] = Counter()
        """(role, action, id) of requests without an answer yet"""
        self.follows = False
        """another front-end leads: no START_MONITOR is sent"""
        self.ignored: list[str] = []
        """5.12-7.4: messages that the core has ignored with a warning, in order"""
        self.deleted = {}
        self._timer_ends = threading.Event()
        self.vmm: DriverProcess | None = None
        self.im: DriverProcess | None = None
        self.rpc: XmlRpc | None = None
        self._environment = {**os.environ, **(env or {}), "ONE_LOCATION": str(self.one_location)}
        self.periods = {**PERIODS, **(periods or {})}
        self.interval = interval
        self.changed = threading.Condition()
        self._judges: dict[str, Callable[[Release, bytes], Answer]] = {"vmm": judge_vmm, "im": judge_im}

    def _leave_traces(self) -> None:
        """Write the files by which a driver can tell the release: those of the installation, and those of a start.

        See opennebula-drivers 1.7.
        """
        version = tuple(int(part) for part in self.release.name.split(".")[:2])
        key = "HOST_MONITORING_INTERVAL" if version < (4, 0) else "MONITORING_INTERVAL"
        (self.var / "config").write_text(f"MANAGER_TIMER=15\n{key}=60\n")
        if version >= (4, 4):
            remotes = self.var / "remotes"
            remotes.mkdir(exist_ok=True)
            (remotes / "VERSION").write_text(self.release.name)

    def listen(self) -> XmlRpc:
        """Open the XML-RPC interface, and give its address to the drivers that are started from now on."""
        self.rpc = XmlRpc(self, self.one_location / "home")
        self._environment["HOME"] = str(self.rpc.home)
        for name in ("ONE_AUTH", "ONE_XMLRPC"):
            self._environment.pop(name, None)
        return self.rpc

    # --- drivers ----------------------------------------------------------------------------------------------------

    def start_vmm(self, executable: Path | str = "one_vmm_eh", arguments: str | None = None) -> float:
        """Starts the VMM driver of the section's EXECUTABLE and ARGUMENTS; returns the seconds until INIT SUCCESS."""
        self.vmm, seconds = self._start("vmm", executable, arguments, self.release.old_vmm)
        return seconds

    def start_im(self, executable: Path | str = "one_im_eh", arguments: str | None = None) -> float:
        """Start the IM driver. New hosts are monitored at once; from 5.12 on the timer asks about the others."""
        self.im, seconds = self._start("im", executable, arguments, self.release.old_im)
        for host in list(self.model.hosts.values()):
            if host.state == "INIT":
                self.start_monitor(host)
        if self.release.im == "5.12-7.4":
            self._timer_ends.set()
            self._timer_ends = threading.Event()
            threading.Thread(target=self._timer, args=(self._timer_ends,), name="timer", daemon=True).start()
        return seconds

    def _timer(self, ends: threading.Event) -> None:
        """onemonitord's timer: START_MONITOR for hosts of which nothing was heard for long (opennebula-drivers 9.4)."""
        while not ends.wait(0.1):
            for host in list(self.model.hosts.values()):
                overdue = not self.follows and self.is_overdue(host)
                if overdue and self.im and self.im.exit_status is None:
                    try:
                        self.start_monitor(host)
                    except (CoreFailure, OSError) as failure:
                        if not ends.is_set():
                            self._problem(str(failure))

    def is_starting(self, host: Host) -> bool:
        """START_MONITOR was sent and has no answer."""
        return self.asked["im", "START_MONITOR", host.id] > 0

    def restart(self) -> None:
        """Restart the core and its drivers. Requests that were under way are not sent again.

        The start counts as news of every host (opennebula-drivers 9.4): only those in INIT are asked about at once.
        """
        had_vmm, had_im = self.vmm is not None, self.im is not None
        self.shut_down()
        with self.changed:
            self.asked.clear()
            for host in self.model.hosts.values():
                host.marks.clear()
                host.heard = host.heard and time.monotonic()
        if had_vmm:
            self.start_vmm()
        if had_im:
            self.start_im()

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
        """Kill the ``vmm`` or ``im`` driver with SIGKILL, and forget its requests: its successor does not get them.

        See opennebula-drivers 1.6.
        """
        self._driver(role).kill()
        with self.changed:
            for key in [key for key in self.asked if key[0] == role]:
                del self.asked[key]

    def _driver(self, role: str) -> DriverProcess:
        driver = self.vmm if role == "vmm" else self.im
        if driver is None:
            raise CoreFailure(f"the {role} driver was not started")
        return driver

    def has_im(self) -> bool:
        return self.im is not None

    def ask(self, role: str, action: str, number: int, line: bytes) -> None:
        with self.changed:
            self.asked[role, action, number] += 1
        self._driver(role).write(line)

    def say(self, role: str, line: bytes, *, answer: tuple[str, int] | None = None) -> None:
        """Send a raw line (no newline) to ``vmm`` or ``im``: for lines that a correct core would not write.

        :param answer: (action, id) that the driver may answer, when something in the line could be read
        """
        if answer is not None:
            self.ask(role, *answer, line)
        else:
            self._driver(role).write(line)

    # --- what the drivers say ---------------------------------------------------------------------------------------

    def _problem(self, sentence: str) -> None:
        with self.changed:
            self.problems.append(sentence)
            self.changed.notify_all()

    def _heard(self, role: str, line: bytes) -> None:
        try:
            answer = self._judges[role](self.release, line)
        except Verdict as verdict:
            self._problem(f"{role} wrote a line that OpenNebula {self.release.name} would not take: {verdict}")
            return
        with self.changed:
            poll_for = self._take(role, answer)
            self.changed.notify_all()
        if poll_for is not None:
            try:
                self.poll(poll_for)
            except CoreFailure as failure:
                self._problem(str(failure))

    def _take(self, role: str, answer: Answer) -> Vm | None:
        """Record an accepted line; return the VM that the core polls because of it (opennebula-drivers 8.11)."""
        problem = self._unasked(role, answer)
        if problem:
            self.problems.append(f"{role} wrote {answer.action} for id {answer.id}: {problem}")
        self.answers.append(answer)
        if role == "im":
            if answer.kind == "message" and answer.id not in self.model.hosts:
                self.ignored.append(f"{answer.action}: message ignored for unknown host {answer.id}")
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
        if role == "im" and self.release.im in ("4.0-4.2", "4.4-5.10"):
            return ""  # pushed host messages are welcome there (opennebula-drivers 3.3)
        return "nobody asked, or it was answered before"

    def _stream_problem(self, answer: Answer) -> str:
        """Return what is wrong with an accepted message of 5.12 to 7.4; empty when nothing is."""
        host = self.model.hosts.get(answer.id)
        if host is None:
            return ""  # a warning in monitor.log, see ``ignored``
        if host.im_mad != "im_eh":
            return f"host {host.name} has driver {host.im_mad}: the core does not look who speaks, and believes it"
        if self.follows:
            return (
                "this front-end does not lead: its core writes states that the leader knows nothing of "
                "(opennebula-drivers 7.20)"
            )
        mark = host.marks.get(answer.action, 0)
        if answer.timestamp and answer.timestamp < mark:
            return (
                f"its timestamp {answer.timestamp} is older than the last one, {mark}: out of order, ignored "
                "(opennebula-drivers 9.4)"
            )
        for vector in answer.vectors("VM") if answer.action == "STATE_VM" else ():
            vm = self.model.vms.get(int(vector["ID"]))
            if vm and vm.deploy_id not in ("", vector["DEPLOY_ID"]) and vm.state not in ("DONE", "PENDING"):
                return (
                    f"VM {vm.id} has the deploy id {vm.deploy_id}, not {vector['DEPLOY_ID']}: it is overwritten "
                    "(opennebula-drivers 7.9)"
                )
        return ""

    # --- looking ----------------------------------------------------------------------------------------------------

    def wait_for(self, seen: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Call ``seen()`` after each line, and return its first true value.

        :raises CoreFailure: when it does not come true, or a driver breaks a rule meanwhile
        """
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                self._check()
                value = seen()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise CoreFailure(self._story(f"{what} was not seen within {seconds:g} s"))
                self.changed.wait(left)

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
        with self.changed:
            return [a for a in self.answers if a.kind == "reply" and a.action == action and a.id == vm.id]

    def logs(self) -> list[str]:
        """The texts of LOG lines so far."""
        with self.changed:
            return [answer.text for answer in self.answers if answer.kind == "log"]

    def said(self) -> list[str]:
        """The last lines of both sides, per driver."""
        return [line for driver in (self.vmm, self.im) if driver for line in driver.said]

    def check(self) -> None:
        """:raises CoreFailure: when a driver broke a rule so far"""
        with self.changed:
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
        self._timer_ends.set()
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
        if self.rpc is not None:
            self.rpc.close()
        if kind is None:
            try:
                self.check()
            finally:
                self.shut_down()
            self.check()
            return
        self._timer_ends.set()
        for driver in (self.im, self.vmm):
            if driver is not None:
                driver.kill()
