# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the two worlds meet: VM -> server specification, server -> monitoring facts, listing -> host capacity.

Units: the cloud speaks of MHz, MB and bytes; OpenNebula of cores (template), MB (template), percent of one core and
KB (monitoring). One core is CPU_MHZ.
"""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

from ..elastichosts.drives import Drive
from ..elastichosts.formats import Properties
from ..elastichosts.plan import plan_server
from ..elastichosts.servers import Server, number
from ..elastichosts.values import DEVICE
from ..opennebula.conf import ConfError, parse
from ..opennebula.driver_replies import template_text
from ..opennebula.eh_template import ImageCopy, drive_properties, eh_properties, images
from ..opennebula.errors import TemplateError
from ..opennebula.protocol_versions import IM_4_4
from ..opennebula.vm import VirtualMachine, eh_vector
from .core_version import PACKED, Version
from .disks import DISKS_KEY, planned
from .settings import HostSettings, Vectors

HYPERVISOR = "elastichosts"
CLOUD_KEY = "user:one-cloud"
VM_KEY = "user:one-vm"
ATTEMPT_KEY = "user:one-attempt"
"""which DEPLOY made or adopted the server: a call that was given up is told from the one that took its place"""
HOST_KEY = "user:one-host"
"""OpenNebula host of the server: two hosts may have one account"""
SEQ_KEY = "user:one-seq"
"""SEQ of the VM's history when the server was made, adopted or started: tells one life of a VM id from the next"""
PRIVATE_KEY = "user:one-images"
"""devices whose drives were made for the VM by IMAGE, and go with it"""
DRIVES_KEY = "user:one-drives"
"""devices that DRIVE of the VM's EH has named: one that it names no more is taken off"""
DEVICE_KEY = "user:one-device"
"""on a drive made by IMAGE: where it belongs"""
LEAST_CPU = 500
"""MHz; elastichosts-api 3"""
LEAST_MEM = 256
"""MB; elastichosts-api 3"""
LONGEST_NAME = 80

DISK_COUNTERS: Mapping[str, str] = {
    "DISKRDBYTES": "read:bytes",
    "DISKWRBYTES": "write:bytes",
    "DISKRDIOPS": "read:requests",
    "DISKWRIOPS": "write:requests",
}
"""what monitoring calls them -> what the cloud does, per device (elastichosts-api 3)"""

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


class Specification(NamedTuple):
    """What the cloud is to make for a VM."""

    server: Properties
    """what the server is to be, but for the drives of ``images`` and what tells attempts apart"""
    creation: Properties
    """the same as the create call says it"""
    images: Tuple[ImageCopy, ...]
    """drives to be made first, as copies"""
    drive: Properties
    """what those drives get, beside their own names and sizes"""


def specification(vm: VirtualMachine, host: str, settings: HostSettings, defaults: Vectors) -> Specification:
    """What the cloud is to make for ``vm`` on ``host``.

    :raises TemplateError: the template cannot be turned into a server; the sentence names the attribute
    :raises SettingsError: EHCLOUD or CPU_MHZ are missing or wrong
    """
    if vm.given:
        return _specified(_completed(dict(vm.given), vm, (), settings, settings.cloud), (), {})
    vector = with_defaults(eh_vector(vm, host), defaults, host)
    copies = images(vector)
    drive: Properties = {**ownership(vm, settings.cloud, host), **drive_properties(vector)}
    server = server_properties(vector, vm, settings, settings.cloud)
    if server.get("avoid:drives"):
        drive["avoid"] = server["avoid:drives"]
    return _specified(server, copies, drive)


def _specified(server: Properties, copies: Tuple[ImageCopy, ...], drive: Properties) -> Specification:
    (step,) = plan_server(server, "started", None).steps
    creation = {key: value for key, value in step.properties.items() if value is not None}
    return Specification(server, creation, copies, drive)


def server_properties(vector: Mapping[str, str], vm: VirtualMachine, settings: HostSettings, cloud: str) -> Properties:
    """The body of the create call, the ownership keys in it (opennebula-drivers 7.1).

    Callers should always send name, cpu, smp, mem, persistent, boot and one interface (elastichosts-api 2.2).

    :raises TemplateError: an attribute is wrong, or neither EH nor the VM says how large the server is to be
    """
    return _completed(eh_properties(vector), vm, images(vector), settings, cloud)


def _completed(
    wanted: Properties, vm: VirtualMachine, copies: Tuple[ImageCopy, ...], settings: HostSettings, cloud: str
) -> Properties:
    _add_size(wanted, vm, settings)
    wanted.setdefault("name", (vm.name or f"one-{vm.id}")[:LONGEST_NAME])
    wanted.setdefault("smp", "auto")
    wanted.setdefault("persistent", "true")
    plain = sorted(key for key in wanted if DEVICE.fullmatch(key))
    private = [image.device for image in copies]
    held = {**{device: wanted[device] for device in plain}, **dict.fromkeys(private, "")}
    disks = {key: value for key, value in planned(vm, marked=(), held=held, of_eh=held).items() if value}
    wanted.update(disks)
    devices = sorted(held) or sorted(key for key in disks if key != DISKS_KEY)
    if devices:
        wanted.setdefault("boot", devices[0])
    if not any(key.startswith("nic:0:") for key in wanted):
        wanted["nic:0:dhcp"] = "auto"
    wanted.setdefault("nic:0:model", "e1000")
    wanted.update(ownership(vm, cloud, settings.host))
    wanted.update(_devices_marks(plain, private))
    return wanted


def _devices_marks(plain: Iterable[str], private: Iterable[str]) -> Properties:
    marks = {DRIVES_KEY: " ".join(plain), PRIVATE_KEY: " ".join(private)}
    return {key: devices for key, devices in marks.items() if devices}


class RestatedServer(NamedTuple):
    """What a VM's template says now about a server that exists."""

    server: Dict[str, Optional[str]]
    images: Tuple[ImageCopy, ...]
    """drives that the server has not got yet"""
    drive: Properties

    @property
    def devices(self) -> FrozenSet[str]:
        """Devices that EH names."""
        private = (self.server.get(PRIVATE_KEY) or "").split()
        return frozenset([*private, *(key for key, value in self.server.items() if DEVICE.fullmatch(key) and value)])


def restated(
    vm: VirtualMachine, host: str, settings: HostSettings, defaults: Vectors, current: Server
) -> RestatedServer:
    """What a stopped server is to become before it starts again: only keys that the template states (7.14).

    A device that DRIVE named once and names no more is taken off; the drive of an IMAGE stays where it is.

    :raises TemplateError: as :func:`specification`
    """
    vector = with_defaults(eh_vector(vm, host), defaults, host)
    wanted: Dict[str, Optional[str]] = dict(eh_properties(vector))
    sized: Properties = {key: value for key, value in wanted.items() if key in ("cpu", "mem") and value}
    _add_size(sized, vm, settings)
    wanted.update(sized)
    marked = set(current.properties.get(PRIVATE_KEY, "").split())
    plain = sorted(key for key in wanted if DEVICE.fullmatch(key))
    copies = tuple(image for image in images(vector) if image.device not in marked)
    for device in current.properties.get(DRIVES_KEY, "").split():
        wanted.setdefault(device, None)
    private = sorted({*marked, *(image.device for image in copies)})
    known = DRIVES_KEY in current.properties or PRIVATE_KEY in current.properties or plain or private
    if known:
        wanted.update({DRIVES_KEY: " ".join(plain) or None, PRIVATE_KEY: " ".join(private) or None})
    return RestatedServer(wanted, copies, {**ownership(vm, settings.cloud, host), **drive_properties(vector)})


def unstated(current: Server) -> RestatedServer:
    """What :func:`restated` is for a server whose VM has no EH that can be used: as it is."""
    named = current.properties.get(DRIVES_KEY, "").split()
    kept = {device: drive for device, drive in current.drives.items() if device in named}
    return RestatedServer({**kept, PRIVATE_KEY: current.properties.get(PRIVATE_KEY)}, (), {})


def with_disks(vm: VirtualMachine, current: Server, stated: RestatedServer) -> Dict[str, Optional[str]]:
    """What a stopped server is to get, or to lose, because of the VM's DISKs (see :mod:`.disks`).

    :raises TemplateError: a DISK names a drive where EH, or somebody by hand, has put another one
    """
    marked = current.properties.get(DISKS_KEY, "").split()
    held = {device: drive for device, drive in current.drives.items() if device not in marked}
    for key, value in stated.server.items():
        if DEVICE.fullmatch(key):
            held.pop(key, None)
            if value:
                held[key] = value
    held.update(dict.fromkeys((image.device for image in stated.images), ""))
    return planned(vm, marked=marked, held=held, of_eh=stated.devices)


def ownership(vm: VirtualMachine, cloud: str, host: str) -> Properties:
    """The keys that say whose server or drive it is."""
    return {CLOUD_KEY: cloud, VM_KEY: str(vm.id), HOST_KEY: host, SEQ_KEY: str(vm.history_seq)}


def of_life(thing: Union[Server, Drive], seq: Optional[int]) -> bool:
    """Whether it is of the VM's life that ended at ``seq``, or of one before; None: of any."""
    return seq is None or (number(thing.properties.get(SEQ_KEY)) or 0) <= seq


def size_of(vector: Mapping[str, str], vm: VirtualMachine, settings: HostSettings) -> Properties:
    """CPU (MHz) and memory (MB) alone: what may have changed while the VM was off (opennebula-drivers 7.14)."""
    given = {key: value for key, value in vector.items() if key in ("CPUMHZ", "MEMORY")}
    wanted = eh_properties(given)
    _add_size(wanted, vm, settings)
    return wanted


def _add_size(wanted: Properties, vm: VirtualMachine, settings: HostSettings) -> None:
    if "cpu" not in wanted:
        if not vm.cpu or vm.cpu <= 0:
            raise _no_size(vm, "CPUMHZ", "CPU", 'CPUMHZ="500" (MHz)')
        wanted["cpu"] = str(max(LEAST_CPU, round(vm.cpu * settings.cpu_mhz)))
    if "mem" not in wanted:
        if not vm.memory or vm.memory <= 0:
            raise _no_size(vm, "MEMORY", "MEMORY", 'MEMORY="500" (MB)')
        wanted["mem"] = str(max(LEAST_MEM, vm.memory))


def _no_size(vm: VirtualMachine, attribute: str, of_vm: str, example: str) -> TemplateError:
    return TemplateError(
        f"Add {example} to EH=[...]: VM {vm.id} has neither {attribute} there nor a usable {of_vm} of its own."
    )


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


def owner(thing: Union[Server, Drive], cloud: str) -> Optional[int]:
    """The VM id of a server or drive that belongs to ``cloud``; None for everybody else's."""
    if not cloud or thing.properties.get(CLOUD_KEY) != cloud:
        return None
    return number(thing.properties.get(VM_KEY))


def elsewhere(server: Server, host: str, is_another: Callable[[str], bool]) -> bool:
    """Whether the server is for another host than ``host`` to report: the one that its mark names.

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
    """STATE and facts as POLL and the host messages of I2 and I3 say them (opennebula-drivers 3.2).

    :param plain: 4.14 and later. Before, STATE=e is final (FAILED), so a server that failed is said to be off, and a
        counter without a place of its own would change the VM's template with every report (8.12).
    """
    letter, facts = state_of(server).letter, vm_facts(server, settings, disks=plain)
    # A comma ends an unquoted value (opennebula-drivers 5.5): the core would drop the whole sample.
    facts.pop("GUEST_IP_ADDRESSES", None)
    if plain:
        return {"STATE": letter, **facts}
    known = {key: facts[key] for key in OLD_FACTS if key in facts}
    return {"STATE": "d" if letter == "e" else letter, **known}


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
