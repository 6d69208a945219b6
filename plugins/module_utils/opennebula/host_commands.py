# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans the OpenNebula commands that create or remove the ElasticHosts hosts, their cluster and its system datastore.

Pure functions from the output of the core's list commands to the commands to run (opennebula-drivers 5.2, 5.3). The
table ``FORMS`` has the commands' arguments by release.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

IM_MAD = "im_eh"
VM_MAD = "vmm_eh"
TM_2 = "tm_dummy"
MONITORED = 2
STATES = {
    0: "INIT",
    1: "MONITORING",
    2: "MONITORED",
    3: "ERROR",
    4: "DISABLED",
    5: "MONITORING_ERROR",
    6: "MONITORING_INIT",
    7: "MONITORING_DISABLED",
    8: "OFFLINE",
}
"""names of host states by number, the same from 2.0 to 7.4"""
DONE = "6"
"""state of a VM that has ended, the same from 2.0 to 7.4"""
SYSTEM_DATASTORE = "SYSTEM_DS"
DEFAULT_DATASTORE = "0"
"""id of the system datastore of a cluster whose template names none"""
NEW_DATASTORE = "ID_OF_THE_NEW_DATASTORE"
"""placeholder in a template for the id of the datastore that an earlier command of the plan creates"""
SHORT_STATES = {"on": 2, "off": 4, "err": 3, "init": 0, "update": 1, "updt": 1, "dsbl": 4, "offline": 8}
"""host states by their abbreviation in the table that ``onehost list`` prints"""


class HostCommandError(Exception):
    """The desired objects cannot be made or removed; ``str()`` is one sentence that says why and what to do."""


class Form(NamedTuple):
    """The commands' arguments in a release and its successors."""

    since: Tuple[int, int]
    """first release, as (major, minor)"""
    create: Tuple[str, ...]
    """arguments of ``onehost create`` after the name"""
    grouped: bool
    """whether the hosts get a cluster of their own"""
    datastore: Optional[Mapping[str, str]]
    """attributes of a system datastore; None: none is created"""
    named: bool = False
    """whether a cluster's system datastore is the one that its template names, not the one that is its member"""


FORMS: Tuple[Form, ...] = (
    Form((2, 0), (IM_MAD, VM_MAD, TM_2), False, None),
    Form((3, 2), (IM_MAD, VM_MAD, TM_2, "dummy"), False, None),
    # All hosts use OpenNebula's own system datastore.
    Form((3, 4), ("-i", IM_MAD, "-v", VM_MAD, "-n", "dummy"), False, None),
    Form((3, 6), ("-i", IM_MAD, "-v", VM_MAD, "-n", "dummy"), True, {"SYSTEM": "YES"}, True),
    Form((4, 0), ("-i", IM_MAD, "-v", VM_MAD, "-n", "dummy"), True, {"TYPE": "SYSTEM_DS"}),
    Form((5, 0), ("-i", IM_MAD, "-v", VM_MAD), True, {"TYPE": "SYSTEM_DS"}),
)


def form(release: str) -> Form:
    """Return the row of ``FORMS`` for a release such as ``2.0.1``.

    :raises HostCommandError: the text is no release, or one before 2.0
    """
    if not re.fullmatch(r"\d+(\.\d+)+", release):
        raise HostCommandError(f"The release {release!r} is no release: give it as numbers, for example 7.4.")
    major, minor = (int(part) for part in release.split(".")[:2])
    fitting = [row for row in FORMS if row.since <= (major, minor)]
    if not fitting:
        raise HostCommandError(f"OpenNebula {release} is older than 2.0, the first that the drivers know.")
    return fitting[-1]


@dataclass(frozen=True)
class Host:
    """A host of the core."""

    id: str
    name: str
    state: int = 0
    """see ``STATES``"""
    drivers: Tuple[str, ...] = ()
    """(IM_MAD, VM_MAD); empty if the list does not contain them"""
    vms: int = 0
    """VMs that run on the host"""
    error: str = ""
    """message of the last monitoring error"""

    @property
    def is_ours(self) -> bool:
        return VM_MAD in self.drivers

    @property
    def state_name(self) -> str:
        return STATES.get(self.state, str(self.state))


@dataclass(frozen=True)
class Cluster:
    """A cluster: the ids of its members, and its template as XML."""

    id: str
    name: str
    hosts: Tuple[str, ...] = ()
    datastores: Tuple[str, ...] = ()
    networks: Tuple[str, ...] = ()
    template: str = "<TEMPLATE />"

    @property
    def system_datastore(self) -> str:
        """The id of the system datastore that the template names; empty if it names none."""
        return (ET.fromstring(self.template).findtext(SYSTEM_DATASTORE) or "").strip()  # noqa: S314 (as read before)

    def template_with(self, datastore: str) -> str:
        """Return the whole template with the id ``datastore`` as system datastore, or without any if empty."""
        root = ET.fromstring(self.template)  # noqa: S314 (as read before)
        for element in root.findall(SYSTEM_DATASTORE):
            root.remove(element)
        if datastore:
            ET.SubElement(root, SYSTEM_DATASTORE).text = datastore
        return ET.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class Datastore:
    """A datastore of the core."""

    id: str
    name: str
    transfer: str = ""
    """TM_MAD; empty if the list does not contain it"""


@dataclass(frozen=True)
class ExistingObjects:
    """The hosts, clusters and datastores that the core lists."""

    hosts: Tuple[Host, ...] = ()
    clusters: Tuple[Cluster, ...] = ()
    datastores: Tuple[Datastore, ...] = ()


@dataclass(frozen=True)
class DesiredObjects:
    """Names of hosts, cluster and datastore, and the transfer driver of the datastore."""

    hosts: Tuple[str, ...]
    cluster: str = "eh"
    datastore: str = "eh_system"
    transfer: str = "eh"


_BY_HAND = "run it by hand, as the user that runs OpenNebula, and put right what it says."
Named = TypeVar("Named", Cluster, Datastore)


class Command(NamedTuple):
    """A command to run on the front-end; the argument FILE stands for a file with ``template``."""

    program: str
    arguments: Tuple[str, ...]
    template: str = ""

    @property
    def line(self) -> str:
        return " ".join((self.program, *self.arguments))


# --- parsing ----------------------------------------------------------------------------------------------------------


def read_hosts(text: str) -> Tuple[Host, ...]:
    """Parse the output of ``onehost list -x`` or ``onehost show -x``, or the table of a release without ``-x``.

    :raises HostCommandError: the text is neither
    """
    root = _xml(text)
    if root is None:
        return _hosts_of_table(text)
    return tuple(_host(element) for element in _all(root, "HOST"))


def _host(element: ET.Element) -> Host:
    listed = len(element.findall("VMS/ID"))
    counted = _number(element.findtext("HOST_SHARE/RUNNING_VMS"))
    drivers = (element.findtext("IM_MAD") or "", element.findtext("VM_MAD") or element.findtext("VMM_MAD") or "")
    return Host(
        element.findtext("ID") or "",
        element.findtext("NAME") or "",
        _number(element.findtext("STATE")),
        drivers,
        max(listed, counted),
        (element.findtext("TEMPLATE/ERROR") or "").strip(),
    )


def _hosts_of_table(text: str) -> Tuple[Host, ...]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    head = next((index for index, line in enumerate(lines) if "NAME" in line and "RVM" in line), None)
    if head is None:
        raise HostCommandError(f"onehost list printed neither XML nor its table but {text.strip()[:80]!r}: {_BY_HAND}")
    titles = lines[head]
    hosts = []
    for line in lines[head + 1 :]:
        row = dict(zip(titles, line))
        state = SHORT_STATES.get(line[-1].lower(), 0)
        hosts.append(Host(line[0], row.get("NAME", ""), state, (), _number(row.get("RVM"))))
    return tuple(hosts)


def read_clusters(text: str) -> Tuple[Cluster, ...]:
    """Parse the output of ``onecluster list -x``.

    :raises HostCommandError: the text is no XML
    """
    return tuple(_cluster(element) for element in _all(_required_xml(text, "onecluster"), "CLUSTER"))


def _cluster(element: ET.Element) -> Cluster:
    hosts, datastores, networks = (
        tuple(id_.text or "" for id_ in element.findall(f"{kind}/ID")) for kind in ("HOSTS", "DATASTORES", "VNETS")
    )
    number, name = element.findtext("ID") or "", element.findtext("NAME") or ""
    return Cluster(number, name, hosts, datastores, networks, _template(element))


def _template(element: ET.Element) -> str:
    found = element.find("TEMPLATE")
    return Cluster.template if found is None else ET.tostring(found, encoding="unicode").strip()


def read_datastores(text: str) -> Tuple[Datastore, ...]:
    """Parse the output of ``onedatastore list -x``.

    :raises HostCommandError: the text is no XML
    """
    root = _required_xml(text, "onedatastore")
    return tuple(
        Datastore(element.findtext("ID") or "", element.findtext("NAME") or "", element.findtext("TM_MAD") or "")
        for element in _all(root, "DATASTORE")
    )


def is_done(text: str) -> bool:
    """Return whether the output of ``onevm show -x`` describes a VM that has ended."""
    root = _xml(text)
    return root is not None and root.tag == "VM" and (root.findtext("STATE") or "").strip() == DONE


def _xml(text: str) -> Optional[ET.Element]:
    """Return the root of the XML in a command's output, after any other lines; None if there is none."""
    start = text.find("<")
    if start < 0 or "<!" in text[start : start + 2]:
        return None
    try:
        return ET.fromstring(text[start:])  # noqa: S314 (what OpenNebula's own program prints)
    except ET.ParseError:
        return None


def _required_xml(text: str, program: str) -> ET.Element:
    root = _xml(text)
    if root is None:
        raise HostCommandError(f"{program} list -x printed no XML but {text.strip()[:80]!r}: {_BY_HAND}")
    return root


def _all(root: ET.Element, tag: str) -> List[ET.Element]:
    return [root] if root.tag == tag else root.findall(tag)


def _number(text: Optional[str]) -> int:
    return int(text) if text and text.strip().isdigit() else 0


# --- planning ---------------------------------------------------------------------------------------------------------


def plan_present(release: str, wanted: DesiredObjects, existing: ExistingObjects) -> List[Command]:
    """Return the commands that create what is missing of hosts, cluster and datastore.

    :raises HostCommandError: a host or datastore of that name has other drivers, or the cluster has other hosts
    """
    row = form(release)
    commands: List[Command] = []
    cluster = _by_name(existing.clusters, wanted.cluster) if row.grouped else None
    if row.grouped and cluster is None:
        commands.append(Command("onecluster", ("create", wanted.cluster)))
    if row.grouped and row.datastore is not None:
        commands += _datastore(row.datastore, wanted, existing, cluster)
    if row.named:
        commands += _named_datastore(wanted, existing, cluster)
    hosts = {host.name: host for host in existing.hosts}
    for name in wanted.hosts:
        host = hosts.get(name)
        if host is None:
            place = ("-c", wanted.cluster) if row.grouped else ()
            commands.append(Command("onehost", ("create", name, *row.create, *place)))
            continue
        if host.drivers and not host.is_ours:
            raise HostCommandError(
                f"OpenNebula has a host {name} already, with the drivers {' and '.join(filter(None, host.drivers))}:"
                " give the ElasticHosts host another name."
            )
        if row.grouped and (cluster is None or host.id not in cluster.hosts):
            commands.append(Command("onecluster", ("addhost", wanted.cluster, name)))
    return commands


def _datastore(
    system: Mapping[str, str], wanted: DesiredObjects, existing: ExistingObjects, cluster: Optional[Cluster]
) -> List[Command]:
    """Return the command that creates the system datastore, or adds an existing one to the cluster, if any is needed.

    :param system: attributes of a system datastore in this release
    """
    found = _by_name(existing.datastores, wanted.datastore)
    if found is None:
        attributes: Dict[str, str] = {"NAME": wanted.datastore, **system, "TM_MAD": wanted.transfer}
        template = "".join(f'{key} = "{value}"\n' for key, value in attributes.items())
        # Created inside the cluster, since hosts outside it could otherwise use the datastore in the meantime.
        return [Command("onedatastore", ("create", "FILE", "-c", wanted.cluster), template)]
    if found.transfer and found.transfer != wanted.transfer:
        raise HostCommandError(
            f"OpenNebula has a datastore {wanted.datastore} already, with the transfer driver {found.transfer}: give"
            " the one for ElasticHosts another name."
        )
    if cluster is None or found.id not in cluster.datastores:
        return [Command("onecluster", ("adddatastore", wanted.cluster, wanted.datastore))]
    return []


def _named_datastore(wanted: DesiredObjects, existing: ExistingObjects, cluster: Optional[Cluster]) -> List[Command]:
    """Return the command that names the datastore in the cluster's template, as without it the hosts use datastore 0.

    :raises HostCommandError: the cluster has other hosts, or another system datastore
    """
    group = cluster or Cluster("", wanted.cluster)
    found = _by_name(existing.datastores, wanted.datastore)
    named = group.system_datastore
    if found is not None and named == found.id:
        return []
    other = next((store for store in existing.datastores if store.id == named != DEFAULT_DATASTORE), None)
    ours = {host.id for host in our_hosts(wanted, existing)}
    other_hosts = [host.name for host in existing.hosts if host.id in set(group.hosts) - ours]
    if other is not None or other_hosts:
        reason = f"has the system datastore {other.name}" if other else f"holds the host {other_hosts[0]}"
        raise HostCommandError(
            f"The cluster {wanted.cluster} {reason}, and all hosts of a cluster share its system datastore: give the"
            " hosts for ElasticHosts a cluster of their own (one_eh_driver_cluster)."
        )
    return [_update(group, found.id if found else NEW_DATASTORE)]


def _update(cluster: Cluster, datastore: str) -> Command:
    return Command("onecluster", ("update", cluster.name, "FILE"), cluster.template_with(datastore))


def plan_absent(
    release: str, wanted: DesiredObjects, existing: ExistingObjects, *, force: bool = False
) -> List[Command]:
    """Return the commands that delete hosts, datastore and cluster; a cluster with other members is kept.

    :param force: keep hosts with VMs, their cluster and their datastore, instead of refusing
    :raises HostCommandError: VMs run on the hosts
    """
    row = form(release)
    ours = our_hosts(wanted, existing)
    busy = [host for host in ours if host.vms]
    if busy and not force:
        raise HostCommandError(
            f"Virtual machines still run on the OpenNebula hosts that burst to ElasticHosts: {counted(busy)}. Terminate"
            " them first, or set one_eh_driver_force, which leaves them and their servers to you. Nothing was changed."
        )
    commands = [Command("onehost", ("delete", host.name)) for host in ours if not host.vms]
    if busy or not row.grouped:
        return commands
    datastore = _by_name(existing.datastores, wanted.datastore)
    cluster = _by_name(existing.clusters, wanted.cluster)
    delete_cluster = cluster is not None and not others(wanted, existing)
    if datastore is not None and _is_ours(datastore, wanted):
        # First, so that no cluster names a deleted datastore, even if a later command fails.
        kept = [group for group in existing.clusters if row.named and not (group is cluster and delete_cluster)]
        commands += [_update(group, "") for group in kept if group.system_datastore == datastore.id]
        commands.append(Command("onedatastore", ("delete", wanted.datastore)))
    if delete_cluster:
        commands.append(Command("onecluster", ("delete", wanted.cluster)))
    return commands


def our_hosts(wanted: DesiredObjects, existing: ExistingObjects) -> List[Host]:
    """Return the hosts with the driver ``vmm_eh``; if the list has no drivers, those with a wanted name."""
    return [host for host in existing.hosts if host.is_ours or (not host.drivers and host.name in wanted.hosts)]


def counted(busy: Sequence[Host]) -> str:
    """Return ``name (number of VMs)`` of each host, joined for an error sentence."""
    return ", ".join(f"{host.name} ({host.vms})" for host in busy)


def others(wanted: DesiredObjects, existing: ExistingObjects) -> List[str]:
    """Return a description of each member of the cluster that the role did not create."""
    cluster = _by_name(existing.clusters, wanted.cluster)
    if cluster is None:
        return []
    ours = {host.id for host in our_hosts(wanted, existing)}
    hosts = {host.id: host.name for host in existing.hosts}
    stores = {store.id: store.name for store in existing.datastores}
    own = {store.id for store in existing.datastores if _is_ours(store, wanted)}
    return [
        *(f"the host {hosts.get(member, member)}" for member in cluster.hosts if member not in ours),
        *(f"the datastore {stores.get(member, member)}" for member in cluster.datastores if member not in own),
        *(f"the virtual network {member}" for member in cluster.networks),
    ]


def _is_ours(datastore: Datastore, wanted: DesiredObjects) -> bool:
    return datastore.name == wanted.datastore and datastore.transfer in ("", wanted.transfer)


def _by_name(items: Sequence[Named], name: str) -> Optional[Named]:
    return next((item for item in items if item.name == name), None)
