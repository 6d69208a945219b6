# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ElasticHosts accounts that the role is given or finds: whether they let us in, and which servers they have."""

from __future__ import annotations

import re
import sys
from typing import Any, Dict, List, Mapping, Tuple

from .drivers.settings import ShellText
from .front_end import FrontEnd
from .front_end_library import OwnedServer, ask_zones
from .front_end_python import FITS, INTERPRETERS, first_that
from .opennebula.host_commands import is_done

ENDPOINT = re.compile(r"https?://[^/\s]\S*")
HOST = re.compile(r"|[A-Za-z0-9_][A-Za-z0-9_.-]*")
ACCOUNT = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}:\S+")


def zones_of(
    params: Mapping[str, Any], settings: Mapping[str, str], of_hosts: Mapping[str, Mapping[str, str]]
) -> List[Dict[str, str]]:
    """All accounts, each with what the settings say where nothing is given: its own file before the common one."""
    main = {"EHURI": params["endpoint"], "EHAUTH": params["auth"]}
    given = {zone["name"]: {"EHURI": zone["endpoint"], "EHAUTH": zone["auth"]} for zone in params["zones"]}
    if params["ask"] == "servers":
        given = {"": {}, **{name: {} for name in of_hosts}, **given}
    zones = []
    for name, own in (given or {"": {}}).items():
        filled: Dict[str, str] = {}
        for values in (settings, main, of_hosts.get(name, {}), own):
            filled.update({key: value for key, value in values.items() if value and not isinstance(value, ShellText)})
        get = filled.get
        zones.append({"name": name, "endpoint": get("EHURI", ""), "auth": get("EHAUTH", ""), "ca": get("EHCA", "")})
    return zones


def account_problem(zone: Mapping[str, str]) -> str:
    """What is missing before anybody can be asked."""
    if not HOST.fullmatch(zone["name"]):
        return f"The OpenNebula host {zone['name']!r} cannot have a file of its own: name it with letters and digits."
    where = f" of the zone {zone['name']}" if zone["name"] else ""
    if not ENDPOINT.fullmatch(zone["endpoint"]):
        return (
            f"The address{where} of the ElasticHosts API is missing or no URL: set one_eh_driver_endpoint,"
            " for example to https://eh.example.org."
        )
    if not ACCOUNT.fullmatch(zone["auth"]):
        return (
            f"The ElasticHosts account{where} is missing or has not the form <user uuid>:<secret API key>: set"
            " one_eh_driver_auth."
        )
    return ""


def accounts(zones: List[Dict[str, str]], ask: str, cloud: str, python: str, scratch: str) -> Dict[str, Any]:
    """Try them, if they are whole and something here has the package requests."""
    result: Dict[str, Any] = {"problem": "", "tried": False, "servers": []}
    if ask == "servers" and cloud:
        zones = [{**zone, "cloud": cloud} for zone in zones if not account_problem(zone)]
    elif ask in ("form", "access"):
        result["problem"] = next(filter(None, map(account_problem, zones)), "")
    if ask in ("nothing", "form") or result["problem"] or not zones or (ask == "servers" and not cloud):
        return result
    interpreter = python or first_that(FITS, (*INTERPRETERS, sys.executable))
    if not interpreter:
        return result
    answers = ask_zones(interpreter, zones, scratch)
    refused = [answer for answer in answers if answer.problem]
    if refused:
        where = f" of the zone {refused[0].name}" if refused[0].name else ""
        result["problem"] = f"The ElasticHosts account{where} was tried: {refused[0].problem.rstrip('.')}."
    return {**result, "tried": True, "servers": sorted({server for answer in answers for server in answer.servers})}


def is_gone(front_end: FrontEnd, vm: str) -> bool:
    """Whether the core says that a VM is done, or that it has none of that number. Without an answer it is not gone."""
    done = front_end.call("onevm", "show", "-x", vm)
    if done.is_right:
        return is_done(done.output)
    return bool(re.search(rf"Error getting (VM|virtual machine) \[{vm}\]", done.errors or done.output))


def sorted_out(front_end: FrontEnd, servers: List[OwnedServer]) -> Tuple[List[str], List[str]]:
    """Servers whose VM the core has, or may have, and those whose VM it has no longer."""
    vms = {server.vm for server in servers if server.vm.isdigit()}
    gone = {vm for vm in vms if is_gone(front_end, vm)}
    kept: List[str] = []
    leftovers: List[str] = []
    for server in servers:
        state = "runs" if server.status == "active" else server.status
        shown = f"{server.uuid} (VM {server.vm or 'unknown'}, {state})"
        (leftovers if server.vm in gone else kept).append(shown)
    return kept, leftovers
