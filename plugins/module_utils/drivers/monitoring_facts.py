# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What monitoring tells the core: server -> state and facts of its VM, listing -> capacity of the host.

Units: the cloud speaks of MHz, MB and bytes, OpenNebula's monitoring of percent of one core and KB. One core is
CPU_MHZ.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Tuple, Union

from ..elastichosts.servers import Server, number
from ..opennebula.driver_replies import template_text
from ..opennebula.protocol_versions import IM_4_4
from .core_version import PACKED, Version
from .settings import HostSettings
from .translate import HOST_KEY, LEAST_CPU, LEAST_MEM

HYPERVISOR = "elastichosts"
NOTICE = "EH_SETTINGS"
"""attribute of the host that says which settings are not used, since only a shell could work them out"""
DISK_COUNTERS: Mapping[str, str] = {
    "DISKRDBYTES": "read:bytes",
    "DISKWRBYTES": "write:bytes",
    "DISKRDIOPS": "read:requests",
    "DISKWRIOPS": "write:requests",
}
"""what monitoring calls them -> what the cloud does, per device (elastichosts-api 3)"""

Facts = Dict[str, Union[str, int]]


# --- server -> facts ------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """A server's state in the words of the core (opennebula-drivers 3.2)."""

    letter: str
    word: str


STATES: Mapping[str, State] = {
    "active": State("a", "RUNNING"),
    "stopped": State("d", "POWEROFF"),
    "paused": State("p", "SUSPENDED"),
    "dumped": State("e", "FAILURE"),
    "dead": State("e", "FAILURE"),
}
UNKNOWN = State("-", "")
"""a state that the core is told nothing about"""


def state_of(server: Server) -> State:
    return STATES.get(server.status, UNKNOWN)


def elsewhere(server: Server, host: str, is_another: Callable[[str], bool]) -> bool:
    """Return whether the server is marked as another host's, which reports it then.

    :param is_another: tells of a name that is not ``host``'s whether another host has it; a mark that names no host
        counts for nothing, since the host may have been renamed
    """
    mark = server.properties.get(HOST_KEY, host)
    return mark != host and is_another(mark)


def vm_facts(server: Server, settings: HostSettings, *, disks: bool = True) -> Facts:
    """What monitoring says about one server: CPU (% of one core), MEMORY (KB), counters (bytes), addresses.

    The cloud does not measure; an active server counts with what it may use.

    :param disks: with the counters of its drives
    """
    on = server.status == "active"
    facts: Facts = {
        "CPU": round((server.cpu or 0) * 100 / settings.cpu_mhz) if on else 0,
        "MEMORY": (server.mem or 0) * 1024 if on else 0,
        "NETRX": _sum(server, ("nic:*:rx:bytes",), "rx"),
        "NETTX": _sum(server, ("nic:*:tx:bytes",), "tx"),
    }
    if disks:
        devices = tuple(server.drives)
        facts.update({fact: _devices(server, devices, counter) for fact, counter in DISK_COUNTERS.items()})
    addresses = server.addresses
    texts = {
        "GUEST_IP": server.address,
        "EH_UUID": server.uuid,
        "EH_VNC": server.vnc_address,
        "EH_ZONE": settings.zone,
    }
    facts.update({key: text for key, text in texts.items() if text})
    if len(addresses) > 1:
        facts["GUEST_IP_ADDRESSES"] = ",".join(addresses)
    return facts


OLD_FACTS = ("CPU", "MEMORY", "NETRX", "NETTX", "GUEST_IP", "EH_UUID", "EH_VNC", "EH_ZONE")
"""said before 4.14: numbers that the core has a place for, and texts, which become attributes of the VM's template"""


def poll_facts(server: Server, settings: HostSettings, *, plain: bool) -> Facts:
    """STATE and facts as POLL and the host messages of 4.0 to 5.10 say them (opennebula-drivers 3.2).

    :param plain: 4.14 and later. Before, STATE=e is final (FAILED), so a server that failed is said to be off, and a
        counter without a place of its own would change the VM's template with every report (opennebula-drivers 8.12).
    """
    letter, facts = state_of(server).letter, vm_facts(server, settings, disks=plain)
    # A comma ends an unquoted value (opennebula-drivers 5.5): the core would drop the whole sample.
    facts.pop("GUEST_IP_ADDRESSES", None)
    if plain:
        return {"STATE": letter, **facts}
    known = {key: facts[key] for key in OLD_FACTS if key in facts}
    return {"STATE": "d" if letter == "e" else letter, **known}


def _sum(server: Server, patterns: Tuple[str, ...], old: str) -> int:
    """Return a network counter summed over all interfaces, or in its older form (elastichosts-api 3)."""
    found: List[int] = []
    for pattern in patterns:
        head, tail = pattern.split("*")
        found += [
            number(value) or 0
            for key, value in server.properties.items()
            if key.startswith(head) and key.endswith(tail)
        ]
    return sum(found) if found else number(server.properties.get(old)) or 0


def _devices(server: Server, devices: Tuple[str, ...], counter: str) -> int:
    return sum(number(server.properties.get(f"{device}:{counter}")) or 0 for device in devices)


# --- listing -> host ------------------------------------------------------------------------------------------------


def host_facts(host: str, servers: Iterable[Server], settings: HostSettings) -> Facts:
    """Capacity of an OpenNebula host: limits from the settings, use from the account's whole listing.

    Wild and stopped servers count too: they take their share of the account. Every reply carries all six capacity
    keys, because a missing one zeroes the host (opennebula-drivers 3.3).
    """
    listed = list(servers)
    total_cpu = round(settings.total_cpu * 100)
    total_memory = settings.total_memory * 1024
    used_cpu = round(sum(server.cpu or 0 for server in listed) * 100 / settings.cpu_mhz)
    used_memory = sum(server.mem or 0 for server in listed) * 1024
    notice: Facts = {} if settings.notice is None else {NOTICE: settings.notice}
    return {
        **notice,
        "HYPERVISOR": HYPERVISOR,
        "HOSTNAME": host,
        "ARCH": "x86_64",
        "CPUSPEED": settings.cpu_mhz,
        "TOTALCPU": total_cpu,
        "USEDCPU": used_cpu,
        "FREECPU": max(0, total_cpu - used_cpu),
        "TOTALMEMORY": total_memory,
        "USEDMEMORY": used_memory,
        "FREEMEMORY": max(0, total_memory - used_memory),
    }


SYSTEM_DISK: Facts = {"DS_LOCATION_TOTAL_MB": 1048576, "DS_LOCATION_USED_MB": 0, "DS_LOCATION_FREE_MB": 1048576}
"""the host's room for system datastores, in the words of the core: no disk of a VM is ever there, but see below"""


def scheduler_facts(protocol: str, release: Version) -> Facts:
    """What the scheduler of a release wants to hear of a host besides its capacity.

    Read in OpenNebula's sources, and seen on running cores (opennebula-drivers 10). A VM on our hosts has system
    datastore ``eh`` (SHARED="YES" in TM_MAD_CONF, from 4.4 on) and no disks there, or those of ordinary images.

    ============  ================================================================================================
    all           host MONITORED; CPU and MEMORY of the VM fit into TOTALCPU and TOTALMEMORY less what VMs of the
                  host have been given
    2.0 to 4.2    nothing of a host's disk, nor of a datastore's (MAX_DISK - DISK_USAGE >= 0, which is 0 >= 0)
    4.4 to 4.14   a datastore that is shared and monitored: disk < FREE_MB, or no disk. Any other datastore, and
                  DATASTORE_MAD cannot be told to monitor ours there: disk < DS_LOCATION_FREE_MB of the host, which
                  is 0 < 0 for a host that does not report it (HostXML::test_ds_capacity)
    5.0 to 7.4    a shared datastore has to be monitored (FREE_MB, TOTAL_MB, USED_MB not all 0: TM script
                  ``monitor``, and ``-s`` in DATASTORE_MAD), and disk < FREE_MB, or no disk
                  (DatastoreXML::test_capacity). Only for one that is not shared, such as ``ssh``: disk <
                  DS_LOCATION_FREE_MB of the host
    ============  ================================================================================================

    So DS_LOCATION_* is said from 4.4 to 4.14 only. Before, it would stay in the host's attributes for nothing; later,
    it would let the scheduler choose ``ssh`` datastores for our hosts, where every action of that driver fails.
    """
    return SYSTEM_DISK if protocol == IM_4_4 and release < PACKED else {}


def import_template(server: Server, host: str) -> str:
    """The VM template that adopts a server which is not OpenNebula's (opennebula-drivers 4)."""
    attributes: Dict[str, Union[str, int, Mapping[str, Union[str, int]]]] = {
        "NAME": server.name or server.uuid,
        "CPU": "1",
        "MEMORY": server.mem or LEAST_MEM,
        "DEPLOY_ID": server.uuid,
        "SCHED_REQUIREMENTS": f'NAME="{host}"',
        "EH": {
            "NAME": server.name or server.uuid,
            "CPUMHZ": server.cpu or LEAST_CPU,
            "MEMORY": server.mem or LEAST_MEM,
        },
    }
    return template_text(attributes)
