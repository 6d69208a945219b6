# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps that several actions take with a server: planned by ``elastichosts.plan``, carried out by its ``apply``."""

from __future__ import annotations

from typing import Mapping, Optional

from ..elastichosts.apply import apply_server, wait_status
from ..elastichosts.clock import Deadline
from ..elastichosts.errors import BusyError, ElasticHostsError, FailedError, WaitTimeout
from ..elastichosts.plan import Plan, plan_server
from ..elastichosts.servers import Server
from ..opennebula.vm import VirtualMachine
from .mapping import ownership
from .orders import Failure, Order

KEEP: Mapping[str, Optional[str]] = {"persistent": "true"}
"""without it the cloud destroys a server that stops (elastichosts-api 2.2)"""


def bring(
    order: Order, server: Server, state: str, desired: Mapping[str, Optional[str]], deadline: Deadline
) -> Optional[Server]:
    return apply_server(order.zone.client, plan_server(desired, state, server), server, deadline)


def take_over(order: Order, server: Server) -> Server:
    """Mark the server of an imported VM as this VM's, if it is not marked yet.

    ``onehost importvm`` sends no DEPLOY up to 6.10 (opennebula-drivers 4), so any action may be the first that the
    driver hears of. Order.check_owner has seen that nobody else's mark is on the server.
    """
    if order.vm is None or order.owns(server):
        return server
    return bring(order, server, "present", imported_marks(order, order.vm), order.deadline()) or server


def imported_marks(order: Order, vm: VirtualMachine) -> Mapping[str, Optional[str]]:
    """What the server of an imported VM gets: the ownership keys, and that it outlives a stop."""
    return {**ownership(vm, order.cloud, order.host), **KEEP}


def power_off(order: Order, server: Server) -> None:
    """Press the ACPI power button and wait until the server is off, but still there.

    :raises Failure: the guest does not obey
    """
    deadline = order.deadline("SHUTDOWN_TIMEOUT")
    try:
        try:
            bring(order, server, "shutdown", KEEP if server.status == "active" else {}, deadline)
        except ElasticHostsError as error:
            # A FAILURE would make the VM RUNNING again while its guest may be going off (opennebula-drivers 7.10).
            if not error.maybe_done:
                raise
            wait_status(order.zone.client, server.uuid, "stopped", deadline)
    except WaitTimeout as error:
        raise Failure(
            "Use the hard form of the action, or raise SHUTDOWN_TIMEOUT in vmm_ehrc: the guest of server "
            f"{server.uuid} did not switch off within {deadline.seconds:g} s of the ACPI power button, the server is "
            f"still {error.last}."
        ) from error


def destroy(order: Order, server: Server, deadline: Deadline) -> None:
    """Destroy the server, whatever it is doing.

    What has been asked for may still come true after an answer that was lost, and a FAILURE would tell the core that
    the server runs on: so before there is one, everything is tried again, in a time of its own (7.10).
    """
    order.check_owner(server)
    try:
        _destroy(order, server, deadline)
    except ElasticHostsError:
        _destroy(order, server, order.clean_up())


def _destroy(order: Order, server: Server, deadline: Deadline) -> None:
    """One call where the cloud destroys running servers (elastichosts-api 2.2), else stop and destroy."""
    client = order.zone.client
    plan = plan_server({}, "absent", server)
    try:
        apply_server(client, Plan(plan.steps[-1:]), server, deadline)
    except (BusyError, FailedError):
        if len(plan.steps) == 1:
            raise
        apply_server(client, plan, server, deadline)
