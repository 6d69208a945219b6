# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The monitoring driver: reports the capacity of hosts, and state and facts of VMs.

A core of 2.0 to 5.10 asks (MONITOR) and is answered from the account's last listing. A core of 5.12 and later gets
messages without asking, see ``host_monitor``. It sends START_MONITOR for a host once, and after a restart of the core
or of the driver only when it has heard nothing of the host for some minutes: the driver reports the hosts of
``known_hosts`` without waiting for that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from functools import partial
from typing import Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from ..elastichosts.clock import Clock
from ..elastichosts.errors import ElasticHostsError
from ..elastichosts.servers import Server
from ..opennebula.driver_replies import (
    INIT_REPLY,
    VmFacts,
    im_host_failure,
    im_host_reply,
    im_log,
    im_message,
    vmm_reply,
)
from ..opennebula.driver_requests import ImRequest, parse_im
from ..opennebula.errors import MalformedLine
from ..opennebula.layout import Layout, layout
from ..opennebula.protocol_versions import IM_2_0, IM_4_4, IM_5_12
from .accounts import CloudAccounts
from .answers import internal_error
from .core_api import SHORT_TIMEOUT, CoreApi, CoreHost, CoreSilent
from .core_version import IMPORTABLE, PACKED, PLAIN_WORDS, TELLING, CoreVersion, Version, short_monitor_protocol
from .driver_log import LEVELS, log_exception
from .host_monitor import CAPACITY, HOST_LOAD, NEVER, UNMONITORED, HostMonitor
from .job_queue import Job, JobQueue, PendingReply, job_without_reply
from .journal import Journal, JournalError
from .known_hosts import KnownHost, KnownHosts
from .listing_cache import ListingLate, Snapshot
from .monitoring_facts import (
    HYPERVISOR,
    Facts,
    elsewhere,
    host_facts,
    import_template,
    poll_facts,
    scheduler_facts,
    state_of,
)
from .protocol_loop import LAST_MOMENTS, Arguments, ProtocolLoop, ReplyPipe, arguments
from .settings import HostSettings, Settings, SettingsError
from .translate import template_defaults

logger = logging.getLogger(__name__)

MONITOR_WAIT = 5.0
"""seconds that the answer to MONITOR may wait for the cloud"""
OLDEST: Version = (2, 0)
"""taken for a release that nothing tells: the old words harm no newer core"""
FIRST_WORD = 3.0
"""seconds from INIT until the driver speaks unasked: what comes together with INIT's answer is lost
(opennebula-drivers 1.4)"""
ASK_AGAIN = 60.0
"""seconds, at most, until a core that could not be asked, or did not lead, is asked again; fewer at first"""
NAMES_AGE = 60.0
"""seconds for which the core's list of hosts, or that there is none, is used again"""
OFFLINE = 8
"""state of a host that the core does not monitor; START_MONITOR comes when it is enabled again"""


class MonitorDriver:
    """The monitoring driver: handles the lines of the core, or of onemonitord."""

    def __init__(
        self,
        place: Layout,
        settings: Settings,
        journal: Journal,
        accounts: CloudAccounts,
        send: Callable[[bytes], None],
        options: Arguments,
        clock: Clock,
    ) -> None:
        self._place = place
        self._settings = settings
        self._journal = journal
        self._accounts = accounts
        self._send = send
        self._clock = clock
        self._core = CoreVersion(place, options.one_version, options.protocol)
        self._core_api = CoreApi(os.environ, SHORT_TIMEOUT)
        self._protocol = ""
        self._queue = JobQueue(options.threads)
        self._known = KnownHosts(f"{place.var}/eh_hosts.json")
        self._watches: Dict[int, HostMonitorThread] = {}
        self._ended: Set[int] = set()
        """hosts whose STOP_MONITOR came"""
        self._watching = threading.Lock()
        """guards the two above"""
        self._stopping = threading.Event()
        self._hosts: Dict[int, str] = {}
        """names of the OpenNebula hosts that are monitored, by id"""
        self._facts: Dict[int, Facts] = {}
        """what the last answer to MONITOR told of a host"""
        self._has_vms: Dict[int, bool] = {}
        """whether a host has VMs by its last listing; before there is one, whether an earlier driver knew the host"""
        self._names_asked = NEVER
        self._names: FrozenSet[Tuple[int, str]] = frozenset()
        """ids and names of the core's hosts when it was asked last; none when it could not be asked"""
        self._naming = threading.Lock()
        self._actions: Mapping[str, Callable[[ImRequest], None]] = {
            "INIT": lambda _request: send(INIT_REPLY),
            "MONITOR": self._monitor,
            "STOPMONITOR": self._stop,
            "START_MONITOR": self._start_monitor,
            "STOP_MONITOR": self._stop_monitor,
        }

    def accept(self, line: bytes) -> None:
        """Take one line; returns at once."""
        try:
            request = parse_im(line, lambda: short_monitor_protocol(self._core()))
        except MalformedLine as error:
            self._malformed(error)
            return
        if request.protocol:
            self._learn(request.protocol)
        try:
            self._actions[request.action](request)
        except Exception as error:
            self._fault_of_request(request, error)

    def close(self) -> None:
        self._stopping.set()
        with self._watching:
            for watcher in self._watches.values():
                watcher.stop()
        self._queue.close(LAST_MOMENTS)
        self._journal.close()

    def _learn(self, protocol: str) -> None:
        first = not self._protocol
        self._protocol = protocol
        if first:
            warnings = self._settings.warnings()
            with contextlib.suppress(JournalError):
                warnings += self._journal.kept()
            for warning in warnings:
                self._say("W", 0, warning)

    def _malformed(self, error: MalformedLine) -> None:
        if error.id is not None and error.action in ("START_MONITOR", "MONITOR"):
            self._send(self._failure(error.action, error.id, error.sentence))
        else:
            self._say("E", error.id or 0, error.sentence)

    def _failure(self, action: str, host_id: int, sentence: str) -> bytes:
        if action == "START_MONITOR":
            return im_message(action, False, host_id, int(self._clock.now()), sentence)
        return im_host_failure(self._protocol or short_monitor_protocol(self._core()) or IM_2_0, host_id, sentence)

    def _fault_of_request(self, request: ImRequest, error: Exception) -> None:
        """Answer a request that met an unexpected exception, see :meth:`.HostMonitor.fault`."""
        with self._watching:
            watcher = self._watches.pop(request.id, None) if request.action == "START_MONITOR" else None
        if watcher is not None:  # so that the next START_MONITOR begins anew
            watcher.stop()
        state = request.document.get("HOST", {}).get("STATE")
        self._say_fault(request.id, error)
        if request.action == "MONITOR":
            self._send(self._monitored_in_spite_of(request, internal_error(error)))
        elif request.action == "START_MONITOR" and state in UNMONITORED:
            self._send(self._failure(request.action, request.id, internal_error(error)))

    def _say_fault(self, host_id: int, error: Exception) -> None:
        log_exception(logger, error)
        self._say("E", host_id, internal_error(error))

    def _say(self, level: str, host_id: int, text: str) -> None:
        logger.log(LEVELS.get(level, logging.INFO), "host %s: %s", host_id, text)
        if self._protocol:
            self._send(im_log(self._protocol, level, host_id, text, int(self._clock.now())))

    # --- which hosts there are

    def _note(self, change: Callable[[], None]) -> None:
        """Change the file of known hosts in the queue, so that the reader of requests does not wait for the disk."""

        def work(_job: Job) -> None:
            try:
                change()
            except Exception as error:
                self._say_fault(0, error)

        self._queue.submit("known hosts", job_without_reply(work))

    def _is_another(self, host_id: int, name: str) -> bool:
        """Return whether ``name``, which is not the name of host ``host_id``, is another host's.

        The hosts that are monitored now are looked at first, then those that are known from earlier, with their former
        names. Only for a name that is none of these the core is asked. If it cannot be, the name counts for nothing:
        what is reported for the wrong host the core ignores, but what no host reports it takes for lost.
        """
        if any(name == monitored for number, monitored in list(self._hosts.items()) if number != host_id):
            return True
        owner = self._known.owner(name)
        if owner is not None:
            return owner != host_id
        return any(name == listed and number != host_id for number, listed in self._core_hosts())

    def _core_hosts(self) -> FrozenSet[Tuple[int, str]]:
        with self._naming:
            if self._clock.monotonic() - self._names_asked > NAMES_AGE:
                self._names = frozenset()
                try:
                    self._names = frozenset((host.id, host.name) for host in self._core_api.hosts())
                except CoreSilent as error:
                    logger.warning("%s", error)
                self._names_asked = self._clock.monotonic()
            return self._names

    # --- 2.0 to 5.10

    def _stop(self, request: ImRequest) -> None:
        self._hosts.pop(request.id, None)
        self._note(lambda: self._known.forget(request.id))
        self._send(vmm_reply("STOPMONITOR", True, request.id))

    def _monitor(self, request: ImRequest) -> None:
        self._hosts[request.id] = request.host

        def line(ok: bool, text: str) -> bytes:
            return im_host_failure(request.protocol, request.id, text)

        reply = PendingReply(self._send, line)
        self._queue.submit(request.id, Job(reply, lambda job: self._answer_monitor(request, job)))

    def _answer_monitor(self, request: ImRequest, job: Job) -> None:
        try:
            if request.id not in self._has_vms:
                self._has_vms[request.id] = any(host.id == request.id for host in self._known.all())
            self._known.remember(request)
            job.reply.send_line(self._monitored(request))
        except (SettingsError, ElasticHostsError) as error:
            logger.warning("MONITOR host %s: %s", request.id, error)
            job.reply.send(False, str(error))
        except Exception as error:
            self._say_fault(request.id, error)
            job.reply.send_line(self._monitored_in_spite_of(request, internal_error(error)))

    def _monitored_in_spite_of(self, request: ImRequest, fault: str) -> bytes:
        """Return the answer to MONITOR after an unexpected exception, see :meth:`.HostMonitor.fault`.

        A host that may have VMs is told of as it was last; without a last time, as one where nothing is free.
        """
        if not self._has_vms.get(request.id, True):
            return im_host_failure(request.protocol, request.id, fault)
        unknown: Facts = {
            "HYPERVISOR": HYPERVISOR,
            "HOSTNAME": request.host,
            **dict.fromkeys((*CAPACITY, *HOST_LOAD), 0),
        }
        return im_host_reply(request.protocol, request.id, self._facts.get(request.id, unknown))

    def _monitored(self, request: ImRequest) -> bytes:
        """Return MONITOR SUCCESS.

        :raises SettingsError: of the host
        :raises ElasticHostsError: the cloud cannot be asked
        """
        settings = self._settings.host(request.host)
        snapshot = self._snapshot(settings)
        release = self._core() or OLDEST
        facts = {
            **host_facts(request.host, snapshot.things, settings), **scheduler_facts(request.protocol, release),
        }  # fmt: skip
        vms = None if request.protocol == IM_2_0 else self._vms(request, snapshot, settings, release)
        self._facts[request.id], self._has_vms[request.id] = facts, bool(snapshot.of(settings.cloud))
        return im_host_reply(
            request.protocol,
            request.id,
            facts,
            vms,
            monitoring=release >= PLAIN_WORDS,
            packed=request.protocol == IM_4_4 and release >= PACKED,
        )

    def _snapshot(self, settings: HostSettings) -> Snapshot[Server]:
        """Return a listing: a new one if the cloud answers in time, else the last one for the time of GRACE."""
        cloud = settings.cloud  # a host without an id of its cloud cannot tell its own servers from others
        listing = self._accounts.of(settings).servers
        now = self._clock.monotonic()
        try:
            return listing.since(max(now - settings.number("LISTING_PERIOD"), self._last_action()), MONITOR_WAIT)
        except (ListingLate, ElasticHostsError) as error:
            last = listing.last
            if last is not None and now - last.ended <= settings.number("GRACE"):
                logger.warning("cloud %s: %s; the last listing is used again", cloud, error)
                return last
            if isinstance(error, ElasticHostsError):
                raise
            raise SettingsError(
                f"{settings.endpoint} did not list its servers within {MONITOR_WAIT:g} s: look whether it is up."
            ) from None

    def _last_action(self) -> float:
        """When the VM driver last finished something (monotonic seconds): what it did is to be in the next reply."""
        try:
            return max((record.ended or 0.0 for record in self._journal.last_actions().values()), default=0.0)
        except JournalError:
            return 0.0

    def _vms(
        self, request: ImRequest, snapshot: Snapshot[Server], settings: HostSettings, release: Version
    ) -> Optional[List[VmFacts]]:
        """Return the facts of every server of the host; None while one is uncertain, since absent means lost.

        See opennebula-drivers 3.3.
        """
        try:
            records = self._journal.last_actions()
        except JournalError:
            records = {}
        if any(record.host == request.host and record.outdates(snapshot.begun) for record in records.values()):
            return None
        found: List[VmFacts] = []
        is_another = partial(self._is_another, request.id)
        for vm_id, listed in sorted(snapshot.of(settings.cloud).items()):
            servers = [server for server in listed if not elsewhere(server, request.host, is_another)]
            if not servers:
                continue
            if len(servers) != 1:
                return None
            facts = poll_facts(servers[0], settings, plain=release >= PLAIN_WORDS)
            found.append(VmFacts(vm_id, servers[0].uuid, facts))
        for wild in snapshot.wild(settings.cloud):
            importable = import_template(wild, request.host) if release >= IMPORTABLE else ""
            found.append(VmFacts(-1, wild.uuid, {"STATE": state_of(wild).letter}, wild.name, importable))
        return found

    # --- 5.12 and later

    def _start_monitor(self, request: ImRequest) -> None:
        self._hosts[request.id] = request.host
        self._note(lambda: self._known.remember(request))
        with self._watching:
            self._ended.discard(request.id)
            watcher = self._watches.get(request.id)
            if watcher is not None:
                self._send(watcher.restart(request))
                return
            watcher = self._watches[request.id] = self._watcher(request)
        watcher.start(watcher.started())

    def _watcher(self, request: ImRequest) -> HostMonitorThread:
        watch = HostMonitor(
            request,
            self._settings,
            self._accounts,
            self._journal,
            self._clock,
            is_another=partial(self._is_another, request.id),
            release=self._core,
        )
        return HostMonitorThread(watch, self._send)

    def _stop_monitor(self, request: ImRequest) -> None:
        self._hosts.pop(request.id, None)
        section = request.document.get("HOST", {})
        if section.get("STATE") != OFFLINE:  # one that is offline still has its VMs
            self._note(lambda: self._known.forget(request.id))
        with self._watching:
            self._ended.add(request.id)
            watcher = self._watches.pop(request.id, None)
        if watcher is not None:
            watcher.stop()

    def speak_unasked(self) -> None:
        """Speak for the hosts that a core of 5.12 or later has asked about before, once it confirms that it has them.

        Runs until that is done, or the driver stops. A core that cannot be asked, or that follows another one, hears
        nothing before its START_MONITOR: the id of a host may be another host's by now, and the decisions another
        core's.
        """
        pause, said = FIRST_WORD, ""
        while not self._stopping.wait(pause):
            pause = min(2 * pause, ASK_AGAIN)
            release = self._core()
            if release is None or release < TELLING:
                return
            try:
                if not self._unspoken() or self._speak_once():
                    return
                sentence = "This front-end is not the leader: its hosts are not reported before START_MONITOR."
            except CoreSilent as error:
                sentence = f"Hosts are not reported before START_MONITOR. {error}"
            except Exception as error:
                sentence = internal_error(error)
                if sentence != said:
                    self._say_fault(0, error)
            if sentence != said:
                logger.info("%s", sentence)
                said = sentence

    def _unspoken(self) -> List[KnownHost]:
        known = self._known.all()
        with self._watching:
            return [host for host in known if host.driver and host.id not in self._watches]

    def _speak_once(self) -> bool:
        """Begin to monitor the known hosts; return false if the core follows another one.

        :raises CoreSilent: it cannot be asked
        """
        if not self._core_api.leads():
            return False
        now = {host.id: host for host in self._core_api.hosts()}
        for known in self._unspoken():
            host = now.get(known.id)
            if host is None or host.im_driver != known.driver:
                self._known.forget(known.id)
            elif host.state != OFFLINE:
                self._speak_for(known, host)
        return True

    def _speak_for(self, known: KnownHost, host: CoreHost) -> None:
        """Monitor a host as after START_MONITOR, with the name and state that the core has now."""
        section = {"NAME": host.name, "STATE": host.state, "IM_MAD": host.im_driver}
        document = {"HOST": section, "MONITORING_INTERVAL_HOST": known.interval, "PROBES_PERIOD": dict(known.periods)}
        request = ImRequest("START_MONITOR", known.id, IM_5_12, host.name, document)
        self._known.remember(request)
        self._learn(request.protocol)
        with self._watching:
            if self._stopping.is_set() or known.id in self._watches or known.id in self._ended:
                return
            self._hosts[known.id] = host.name
            watcher = self._watches[known.id] = self._watcher(request)
        watcher.start()


class HostMonitorThread:
    """Calls a HostMonitor in a thread of its own, and writes its lines."""

    def __init__(self, watch: HostMonitor, send: Callable[[bytes], None]) -> None:
        self._watch = watch
        self._send = send
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._pending: Optional[ImRequest] = None

    def started(self) -> bytes:
        """Return the answer to START_MONITOR."""
        return self._watch.started()

    def start(self, first: bytes = b"") -> None:
        """Begin with the line ``first``, if there is one. Raises RuntimeError if there can be no more threads."""
        threading.Thread(target=self._loop, args=(first,), name=f"host {self._watch.id}", daemon=True).start()

    def restart(self, request: ImRequest) -> bytes:
        """Make every message due again, and return the answer to START_MONITOR."""
        with self._lock:
            self._pending = request
        self._wake.set()
        return self._watch.started()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._wake.set()

    def _loop(self, first: bytes) -> None:
        self._send(first)
        while not self._stopped:
            lines, pause = self._next()
            with self._lock:
                for line in [] if self._stopped else lines:
                    self._send(line)
            self._wake.wait(pause)

    def _next(self) -> Tuple[List[bytes], float]:
        self._wake.clear()
        with self._lock:
            request, self._pending = self._pending, None
        try:
            if request is not None:
                self._watch.restart(request)
            return self._watch.advance()
        except Exception as error:
            log_exception(logger, error)
            return self._watch.fault(error)


def main(argv: Sequence[str], early: bytes = b"") -> int:
    """Serve until the core ends the conversation. ``early``: what was read after INIT."""
    clock = Clock()
    place = layout(os.environ.get("ONE_LOCATION", ""))
    outlet = ReplyPipe()
    service = MonitorDriver(
        place,
        Settings(place, os.environ, template_defaults),
        Journal(f"{place.var}/eh_journal.sqlite", clock),
        CloudAccounts(clock),
        outlet.send,
        arguments(argv),
        clock,
    )
    threading.Thread(target=service.speak_unasked, name="unasked", daemon=True).start()
    ProtocolLoop(service, 0, outlet).serve(early)
    return 0
