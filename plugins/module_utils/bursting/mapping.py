# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the two worlds meet: VM -> server specification, server -> monitoring facts, listing -> host capacity.

Units: the cloud speaks of MHz, MB and bytes; OpenNebula of cores (template), MB (template), percent of one core and
KB (monitoring). One core is CPU_MHZ.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

from ..elastichosts.servers import DEVICE, Server, number
from ..elastichosts.wire import Properties
from ..opennebula.conf import ConfError, parse
from ..opennebula.errors import TemplateError
from ..opennebula.messages import template_text
from ..opennebula.template import eh_properties
from ..opennebula.vm import VirtualMachine, eh_vector
from .settings import HostSettings, Vectors

HYPERVISOR = "elastichosts"
CLOUD_KEY = "user:one-cloud"
VM_KEY = "user:one-vm"
ATTEMPT_KEY = "user:one-attempt"
"""which DEPLOY made or adopted the server: a call that was given up is told from the one that took its place"""
LEAST_CPU = 500
"""MHz; elastichosts-api 3"""
LEAST_MEM = 256
"""MB; elastichosts-api 3"""
LONGEST_NAME = 80

Facts = Dict[str, Union[str, int]]


# --- VM -> server ---------------------------------------------------------------------------------------------------


def template_defaults(text: str) -> Vectors:
    """The EH vectors of vmm_eh.conf, upper-case keys.

    :raises ValueError: a syntax error, with its place
    """
    try:
        return tuple(item.mapping() for item in parse(text).sections("EH") if item.is_vector)
    except ConfError as error:
        raise ValueError(f'{error} Correct it, for instance EH=[NICMODEL="nic:0:model e1000"].') from None


def with_defaults(vector: Mapping[str, str], defaults: Vectors, host: str) -> Dict[str, str]:
    """``vector``, and where it is silent the defaults: those of the host before those of all hosts."""
    filled: Dict[str, str] = {}
    for default in sorted(defaults, key=lambda one: bool(one.get("HOST"))):
        if default.get("HOST", host).lower() == host.lower():
            filled.update({key: value for key, value in default.items() if value and key != "HOST"})
    filled.update({key: value for key, value in vector.items() if value.strip()})
    return filled


def specification(vm: VirtualMachine, host: str, settings: HostSettings, defaults: Vectors) -> Properties:
    """What the cloud is to make for ``vm`` on ``host``.

    :raises TemplateError: the template cannot be turned into a server; the sentence names the attribute
    :raises SettingsError: EHCLOUD or CPU_MHZ are missing or wrong
    """
    vector = with_defaults(eh_vector(vm, host), defaults, host)
    return server_properties(vector, vm, settings, settings.cloud)


def server_properties(vector: Mapping[str, str], vm: VirtualMachine, settings: HostSettings, cloud: str) -> Properties:
    """The body of the create call, the ownership keys in it (opennebula-drivers 7.1).

    Callers should always send name, cpu, smp, mem, persistent, boot and one interface (elastichosts-api 2.2).

    :raises TemplateError: an attribute is wrong, or neither EH nor the VM says how large the server is to be
    """
    wanted = eh_properties(vector)
    _add_size(wanted, vm, settings)
    wanted.setdefault("name", (vm.name or f"one-{vm.id}")[:LONGEST_NAME])
    wanted.setdefault("smp", "auto")
    wanted.setdefault("persistent", "true")
    drives = sorted(key for key in wanted if DEVICE.fullmatch(key))
    if drives:
        wanted.setdefault("boot", drives[0])
    if not any(key.startswith("nic:0:") for key in wanted):
        wanted["nic:0:dhcp"] = "auto"
    wanted.setdefault("nic:0:model", "e1000")
    wanted.update(ownership(vm.id, cloud))
    return wanted


def ownership(vm_id: int, cloud: str) -> Properties:
    """The keys that say whose server it is."""
    return {CLOUD_KEY: cloud, VM_KEY: str(vm_id)}


def size_of(vector: Mapping[str, str], vm: VirtualMachine, settings: HostSettings) -> Properties:
    """CPU (MHz) and memory (MB) alone: what may have changed while the VM was off (opennebula-drivers 7.14)."""
    given = {key: value for key, value in vector.items() if key in ("CPUMHZ", "MEMORY")}
    wanted = eh_properties(given)
    _add_size(wanted, vm, settings)
    return wanted


def _add_size(wanted: Properties, vm: VirtualMachine, settings: HostSettings) -> None:
    if "cpu" not in wanted:
        if not vm.cpu or vm.cpu <= 0:
            raise TemplateError(_no_size(vm, "CPUMHZ", "CPU", 'CPUMHZ="500" (MHz)'))
        wanted["cpu"] = str(max(LEAST_CPU, round(vm.cpu * settings.cpu_mhz)))
    if "mem" not in wanted:
        if not vm.memory or vm.memory <= 0:
            raise TemplateError(_no_size(vm, "MEMORY", "MEMORY", 'MEMORY="500" (MB)'))
        wanted["mem"] = str(max(LEAST_MEM, vm.memory))


def _no_size(vm: VirtualMachine, attribute: str, of_vm: str, example: str) -> str:
    return f"VM {vm.id} has neither {attribute} in its EH=[...] nor a usable {of_vm}: add {example} to EH."


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


def owner(server: Server, cloud: str) -> Optional[int]:
    """The VM id of a server that belongs to ``cloud``; None for everybody else's."""
    if not cloud or server.properties.get(CLOUD_KEY) != cloud:
        return None
    return number(server.properties.get(VM_KEY))


def vm_facts(server: Server, settings: HostSettings) -> Facts:
    """What monitoring says about one server: CPU (% of one core), MEMORY (KB), counters (bytes), addresses.

    The cloud does not measure; an active server counts with what it may use.
    """
    on = server.status == "active"
    facts: Facts = {
        "CPU": round((server.cpu or 0) * 100 / settings.cpu_mhz) if on else 0,
        "MEMORY": (server.mem or 0) * 1024 if on else 0,
        "NETRX": _sum(server, ("nic:*:rx:bytes",), "rx"),
        "NETTX": _sum(server, ("nic:*:tx:bytes",), "tx"),
        "DISKRDBYTES": _devices(server, "read:bytes"),
        "DISKWRBYTES": _devices(server, "write:bytes"),
        "DISKRDIOPS": _devices(server, "read:requests"),
        "DISKWRIOPS": _devices(server, "write:requests"),
    }
    texts = {"GUEST_IP": server.address, "EH_UUID": server.uuid, "EH_VNC": server.vnc_address}
    facts.update({key: text for key, text in texts.items() if text})
    if len(server.addresses) > 1:
        facts["GUEST_IP_ADDRESSES"] = ",".join(server.addresses)
    return facts


def _sum(server: Server, patterns: Tuple[str, ...], old: str) -> int:
    """A network counter over all interfaces, or in its older form (elastichosts-api 3)."""
    found: List[int] = []
    for pattern in patterns:
        head, tail = pattern.split("*")
        found += [
            number(value) or 0
            for key, value in server.properties.items()
            if key.startswith(head) and key.endswith(tail)
        ]
    return sum(found) if found else number(server.properties.get(old)) or 0


def _devices(server: Server, counter: str) -> int:
    return sum(number(server.properties.get(f"{device}:{counter}")) or 0 for device in server.drives)


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
    return {
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
