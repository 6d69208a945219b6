# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a VM gets its server: made once, adopted, imported, or taken back, whatever happens in between.

The ownership keys and the mark of the attempt are in the create call itself. What a call may have made, or may make
yet, is known to the journal before the call is sent, until it is certain (opennebula-drivers 7.1, 7.2).

Two drivers may have been asked for the same VM: of two front-ends, or one that has outlived its core. The API has no
lock. So a driver looks before its create call and again after it, and keeps its server only when a look after the call
shows no other server of the VM. Of two servers that are both kept one would have been created last, and the look of its
driver would have shown the other: so there is one at most. A driver whose server is not the only one withdraws its own,
never another's, and uses the server that is left. :func:`standing` decides who withdraws first, so that not all do.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Collection, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..elastichosts.apply import apply_server, wait_status
from ..elastichosts.clock import Deadline
from ..elastichosts.errors import (
    ApiError,
    AuthError,
    BillingError,
    ConfigurationError,
    ConnectError,
    ElasticHostsError,
    MethodError,
    MissingError,
    Refused,
    SystemFault,
    ThrottledError,
    UsageError,
)
from ..elastichosts.formats import Properties
from ..elastichosts.plan import plan_server
from ..elastichosts.servers import Server
from . import image_drives
from .action_context import ActionContext, ActionFailed, attempt_of
from .actions import bring, destroy_server, imported_marks
from .answers import details
from .job_queue import Cancelled
from .journal import CREATING, DONE, ENDED, GIVEN_UP, LEFT, UNANSWERED, UnresolvedAttempt
from .listing_cache import Snapshot
from .translate import ATTEMPT_KEY, HOST_KEY, SEQ_KEY, Specification, of_life, specification, undelivered

NOTHING_MADE = (
    ConfigurationError,
    ConnectError,
    Refused,
    UsageError,
    AuthError,
    BillingError,
    MethodError,
    ThrottledError,
)
"""answers to a create call after which there is certainly no server"""
LOOKS = (0.0, 0.5, 1.0, 2.0)
"""seconds before each listing that looks for a server whose create call was not answered; one that appears later is
destroyed by the periodic clean-up"""
SETTLING = (0.2, 0.4, 0.8, 1.6, 3.2, 3.2)
"""seconds between the looks that wait until a VM has one server at most: other drivers withdraw theirs meanwhile"""
ROUNDS = 5
"""how often a driver that has withdrawn its server, or has lost the one that it was to use, begins again"""


# --- limits


class Limit(NamedTuple):
    """One row of the table of limits."""

    setting: str
    """name of the number in the settings"""
    amount: Callable[[Server], float]
    """what one server takes"""
    unit: str


SWITCH = "MAX_SERVERS"
LIMITS: Tuple[Limit, ...] = (Limit(SWITCH, lambda _server: 1, "servers"),)
Place = Tuple[str, str]
"""cloud and OpenNebula host"""


@dataclass
class _Creation:
    """A server that is being made, or was made a moment ago."""

    server: Server
    ended: Optional[float] = None
    """monotonic seconds; None: under way"""


class Limits:
    """Checks how much this cloud may have at ElasticHosts, before a server is created, never before one is started.

    A limit counts the servers of the listing that the DEPLOY has looked at, and those whose creation is under way or
    ended after that listing was begun. So deploys that run at the same time do not exceed it together.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._creations: Dict[Place, Dict[int, _Creation]] = {}

    @contextlib.contextmanager
    def room(self, context: ActionContext, found: Snapshot[Server], wanted: Properties) -> Iterator[None]:
        """Hold room for the server ``wanted`` while it is being created.

        :param found: the listing that the DEPLOY has looked at
        :raises ActionFailed: a limit would be exceeded; nothing was done
        :raises SettingsError: a limit is set to something that is no number
        """
        place = (context.cloud, context.host)
        new = _Creation(Server(wanted))
        with self._lock:
            # Another DEPLOY may have forgotten a creation because of a later listing, which then has the server.
            listing = context.account.servers.last or found
            creations = self._creations.setdefault(place, {})
            self._forget(creations, listing)
            listed = listing.of(context.cloud)
            servers = [server for own in listed.values() for server in own if _is_on(server, context.host)]
            servers += [creation.server for vm_id, creation in creations.items() if vm_id not in listed]
            _check(context, servers, new.server)
            creations[context.vm_id] = new
        try:
            yield
        finally:
            new.ended = context.plain_clock.monotonic()

    @staticmethod
    def _forget(creations: Dict[int, _Creation], listing: Snapshot[Server]) -> None:
        """Drop the creations whose outcome the listing shows."""
        for vm_id, creation in list(creations.items()):
            if creation.ended is not None and creation.ended < listing.begun:
                del creations[vm_id]


def _is_on(server: Server, host: str) -> bool:
    return server.properties.get(HOST_KEY, host) == host


def _check_switch(context: ActionContext) -> None:
    """Check, by the settings as they are now, that new servers are not switched off.

    ``MAX_SERVERS=0`` in ``im_ehrc`` or ``vmm_ehrc`` holds for every host, whatever the host's own file says.

    :raises ActionFailed: they are
    :raises SettingsError: MAX_SERVERS is no number
    """
    for settings in (context.factory.settings.host(""), context.factory.settings.host(context.host)):
        if settings.number(SWITCH) == 0:
            raise ActionFailed(
                f"Raise {SWITCH}, which is 0, to have new servers: no server is created at ElasticHosts for host "
                f"{context.host!r} ({SWITCH} is set in {settings.source(SWITCH)})."
            )


def _check(context: ActionContext, servers: List[Server], new: Server) -> None:
    _check_switch(context)
    for limit in LIMITS:
        most = context.settings.number(limit.setting)
        used = sum(limit.amount(server) for server in servers)
        if used + limit.amount(new) > most:
            raise ActionFailed(
                f"Terminate a VM, or raise {limit.setting} in the settings: host {context.host!r} may have {most:g} "
                f"{limit.unit} at ElasticHosts, and {used:g} are there or being made ({limit.setting} is set in "
                f"{context.settings.source(limit.setting)})."
            )


# --- a server is made, or used


@dataclass
class _Attempt:
    """One create call and its outcome."""

    key: str
    refused: bool = False
    """there is certainly no server"""
    lost: bool = False
    """a server may be there, or appear"""


def create(limits: Limits, context: ActionContext) -> str:
    """Make the VM's server, or adopt the one that carries the VM's keys, and return its UUID."""
    if context.imported:
        return _import(context)
    if context.vm is None:
        raise ActionFailed(
            f"Repeat the action, or report this as a fault: DEPLOY of VM {context.vm_id} came without its "
            "description, so nothing could be made of it."
        )
    # Before the first call, so that a template that cannot be used is reported whether the cloud answers or not.
    defaults = context.factory.settings.template_defaults()
    for sentence in undelivered(context.vm):
        context.log("W", sentence)
    wanted = specification(context.vm, context.host, context.cloud, context.settings, defaults)
    for earlier in context.begun.unresolved:
        if clean_up(context, earlier):
            context.journal.resolved(earlier.attempt)
    listing, key = context.listing(), context.begun.attempt
    for _unused in range(ROUNDS):
        listing = _settled(context, listing)
        found = context.one_own(listing)
        try:
            if found is not None:
                return _adopt(context, found, wanted.server)
            context.check_named_drives(wanted.server)
            with limits.room(context, listing, wanted.server):
                return _make(context, wanted, _Attempt(key))
        except OtherServer as other:
            context.log("I", str(other))
        listing, key = context.listing_now(), uuid.uuid4().hex
    raise ActionFailed(
        f"Try again, and stop all VM drivers of this cloud but one: servers of VM {context.vm_id} that other drivers "
        "make come and go."
    )


# --- one server for each VM


class OtherServer(ActionFailed):
    """Another driver has made a server for the VM, or has destroyed the one that was to be used: begin again."""


class Standing(Enum):
    """How a new server stands among the servers of its VM."""

    ALONE = 0
    """it is kept"""
    FIRST = 1
    """the other drivers are to withdraw theirs; if these stay, it is withdrawn"""
    LATER = 2
    """it is withdrawn at once"""


def standing(own: str, servers: Collection[str]) -> Standing:
    """Return how the server ``own`` stands among all ``servers`` of its VM, by the order of their UUIDs.

    :param servers: UUIDs in a listing that was begun after ``own`` was made
    """
    others = [server for server in servers if server != own]
    if not others:
        return Standing.ALONE
    return Standing.FIRST if own in servers and own < min(others) else Standing.LATER


def _check_alone(context: ActionContext, own: str) -> None:
    """Wait until the server ``own`` is the only one of its VM.

    :raises OtherServer: it is to be withdrawn
    """
    for pause in (*SETTLING, None):
        servers = [server.uuid for server in context.own_now()]
        stands = standing(own, servers)
        if stands is Standing.ALONE:
            return
        if stands is Standing.LATER or pause is None:
            break
        context.clock.sleep(pause)
    others = " ".join(server for server in servers if server != own)
    raise OtherServer(f"Another driver has made a server for this VM as well ({others}): server {own} is withdrawn.")


def _check_none(context: ActionContext) -> None:
    """:raises OtherServer: the VM has got a server meanwhile"""
    servers = " ".join(server.uuid for server in context.own_now())
    if servers:
        raise OtherServer(f"Another driver has made server {servers} for this VM while its drives were copied.")


def _settled(context: ActionContext, listing: Snapshot[Server]) -> Snapshot[Server]:
    """Return a listing in which the VM has one server at most, or the last one that was waited for."""
    for pause in SETTLING:
        if len(listing.of(context.cloud).get(context.vm_id, ())) <= 1:
            break
        context.clock.sleep(pause)
        listing = context.listing_now()
    return listing


# --- one create call


def _make(context: ActionContext, wanted: Specification, attempt: _Attempt, *, again: bool = True) -> str:
    """Create and start a server, and return its UUID.

    When that fails, what was made is taken back, or the attempt stays in the journal.

    :param again: try once more when the answer to the create call was lost and no server can be found
    """
    if context.cancelled.is_set():
        raise Cancelled
    try:
        devices: Properties = {}
        if wanted.images:
            devices = image_drives.make(context, wanted.images, wanted.drive, wanted.server["name"], attempt.key)
            _check_switch(context)  # the copies may have taken an hour
            _check_none(context)
        context.journal.unresolved(attempt.key, context.vm_id, context.host, CREATING)
        deadline = context.deadline()
        server = _ask(context, attempt, {**wanted.creation, **devices, ATTEMPT_KEY: attempt.key}, deadline)
        if context.cancelled.is_set():
            raise Cancelled
        _check_alone(context, server.uuid)
        made = _active(context, server, deadline).uuid
    except Exception as error:
        if attempt.refused and not wanted.images:
            context.try_to_note(context.journal.resolved, attempt.key)
            raise
        looked = _take_back(context, attempt, copies=bool(wanted.images))
        if again and attempt.lost and looked and not context.cancelled.is_set():
            return _make(context, wanted, _Attempt(uuid.uuid4().hex), again=False)
        if looked and not attempt.lost:
            raise
        raise ActionFailed(
            f"Try again when the cloud answers. {details(error)} Whether a server was made is not known yet; if "
            "one appears, it is destroyed."
        ) from error
    context.try_to_note(context.journal.resolved, attempt.key)
    return made


def _ask(context: ActionContext, attempt: _Attempt, properties: Properties, deadline: Deadline) -> Server:
    """Send the create call; when its answer leaves open whether there is a server, look for the server."""
    try:
        with context.account.client.transport.within(deadline):
            return context.account.client.servers.create(properties)
    except ElasticHostsError as error:
        attempt.refused = isinstance(error, NOTHING_MADE)
        attempt.lost = error.maybe_done and not _said(error)
        if not error.maybe_done or (isinstance(error, ApiError) and not isinstance(error, SystemFault)):
            raise
        for pause in LOOKS:
            deadline.sleep(pause)
            found: Optional[Server] = None
            with contextlib.suppress(ElasticHostsError, ActionFailed):  # the create call's own error is the news
                found = context.made_by(attempt.key)
            if found is not None:
                attempt.lost = False
                context.log("I", f"The answer to a create call was lost; server {found.uuid} was made.")
                return found
        raise


def _active(context: ActionContext, server: Server, deadline: Deadline) -> Server:
    """Wait until the server is active, started if need be: only then may DEPLOY succeed (opennebula-drivers 7.5)."""
    if server.status == "active":
        return server
    plan = plan_server({}, "started", server)
    started = apply_server(context.account.client, plan, server, deadline)
    if started is None:
        raise context.gone()
    return wait_status(context.account.client, started.uuid, "active", deadline) or started


def _take_back(context: ActionContext, attempt: _Attempt, *, copies: bool) -> bool:
    """Destroy what the attempt has made; return false when the cloud could not be asked.

    The journal knows of it until that is certain: after a lost answer something may still appear, and a drive that
    is being imaged cannot be destroyed yet.
    """
    try:
        context.try_to_note(context.journal.unresolved, attempt.key, context.vm_id, context.host, GIVEN_UP)
        found = context.made_by(attempt.key)
        if found is not None:
            destroy_server(context, found, context.clean_up())
        clean = image_drives.drop(context, attempt.key) if copies else True
        if clean and (found is not None or not attempt.lost):
            context.try_to_note(context.journal.resolved, attempt.key)
    except (ElasticHostsError, ActionFailed) as error:
        context.log("E", f"A server or drive may be left behind: {error}")
        return False
    return True


def clean_up(context: ActionContext, earlier: UnresolvedAttempt) -> bool:
    """Destroy what an earlier attempt has left; return true when there was something, and it is gone."""
    if earlier.state == ENDED:
        _finish(context, earlier)
        return True
    found = None if earlier.state == LEFT else context.made_by(earlier.attempt)
    if found is not None:
        if earlier.state == UNANSWERED and len(context.own_now()) == 1:
            return True  # the VM's only server: the core asks for it again, or hears of it from monitoring
        destroy_server(context, found, context.clean_up())
        context.log("W", f"Server {found.uuid} of a create call that was given up appeared; it is destroyed.")
    there = any(attempt_of(drive) == earlier.attempt for drive in context.own_drives())
    gone = image_drives.drop(context, earlier.attempt) if there else True
    return gone and (there or found is not None)


def _finish(context: ActionContext, earlier: UnresolvedAttempt) -> None:
    """Destroy what an interrupted end of the VM has left, but nothing of a later life of the same VM id."""
    for server in context.own_now():
        if of_life(server, earlier.seq):
            destroy_server(context, server, context.clean_up())
            context.log("W", f"Server {server.uuid} was left when this VM ended; it is destroyed.")
    image_drives.release(context, context.clean_up(), earlier.seq)


def _adopt(context: ActionContext, found: Server, wanted: Properties) -> str:
    """Use the server of an earlier DEPLOY of this VM: as it is when it runs, else brought up to the template."""
    attempt = attempt_of(found)
    marks: Properties = {ATTEMPT_KEY: uuid.uuid4().hex, SEQ_KEY: wanted[SEQ_KEY]}
    desired = marks if found.status == "active" else {**wanted, **marks}
    try:
        # The new attempt key goes first: cleaning up after the earlier attempt does not find this server any more.
        context.account.client.servers.set(found.uuid, marks)
        if attempt:
            context.try_to_note(context.journal.resolved, attempt)
        bring(context, found, "started", desired, context.deadline())
    except ElasticHostsError as error:
        if isinstance(error, MissingError) and found.uuid not in [server.uuid for server in context.own_now()]:
            raise OtherServer(f"Server {found.uuid} of an earlier DEPLOY is gone.") from None
        before = context.begun.previous
        if before is not None and before.creates and before.state != DONE and attempt in _known(context):
            destroy_server(context, found, context.clean_up())
        raise
    context.log("I", f"Server {found.uuid} was made by an earlier DEPLOY and is used now.")
    return found.uuid


def _known(context: ActionContext) -> List[str]:
    """Return the attempts of this front-end that had not ended when the action began."""
    before = context.begun.previous
    return [*([before.attempt] if before else []), *(earlier.attempt for earlier in context.begun.unresolved)]


def _import(context: ActionContext) -> str:
    """Mark a server that existed before as the imported VM's, and start it if need be."""
    found = context.recorded()
    if found is None or context.vm is None:
        raise context.gone()
    for sentence in undelivered(context.vm):
        context.log("W", sentence)
    bring(context, found, "started", imported_marks(context, context.vm), context.deadline())
    return found.uuid


def _said(error: ElasticHostsError) -> bool:
    """Return whether the cloud itself has refused the call, and not a gateway: a repeat would be refused as well."""
    return isinstance(error, ApiError) and not (isinstance(error, SystemFault) and error.status != 500)
