# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: servers
short_description: Servers of ElasticHosts accounts, among them the burst nodes of an OpenNebula cloud
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Reads all servers of one or several accounts, at the same time and in one call each, C(GET /servers/info), and makes
    each server a host.
  - The file's name ends in C(.elastichosts.yml), C(.elastichosts.yaml), C(.eh.yml) or C(.eh.yaml).
  - A host is called like its server, or as O(hostnames) says. Where that is not one clear name (two servers have it, it
    is empty, or it means something else to Ansible, such as C(localhost) or the name of a group), C(-) and the first
    eight digits of the UUID are added. Characters other than letters, digits, C(_), C(.) and C(-) become C(_).
  - Every host is in the group C(elastichosts), in C(elastichosts_STATUS), for example C(elastichosts_active), in
    C(elastichosts_zone_ZONE) and, for each of its tags, in C(elastichosts_tag_TAG). Servers that an OpenNebula core
    runs (they have a key C(user:one-vm)) are in C(opennebula_burst) and, by their cloud, in
    C(opennebula_cloud_ID) as well. Characters other than letters, digits and C(_) become C(_) in the name of a group.
  - Each property of the API is a variable, its key with C(eh_) before it and C(_) for what cannot stand in a variable's
    name, for example C(eh_nic_0_model). Typed are C(eh_uuid), C(eh_cpu) (MHz), C(eh_mem) (MB), C(eh_persistent),
    C(eh_started) (seconds since 1970), C(eh_address), C(eh_addresses), C(eh_boot), C(eh_drives), C(eh_nics),
    C(eh_tags), C(eh_user_keys), C(eh_zone), C(eh_one_cloud) and C(eh_one_vm) (the owner in OpenNebula). Passwords are
    left out.
  - What a server says is never a template, neither its name nor its tags.
  - The variable C(eh_capacity) of the group C(all) tells, by zone, what may be used (C(total), as stated in O(limits)),
    what the servers use (C(used), stopped ones too, they can be started any time) and what is left (C(left)), each as
    C(servers), C(cores), C(cpu) (MHz), C(mem) (MB), C(drives) and C(storage) (GB), the measures of
    M(opennebula.elastichosts.capacity_info). A play has it on every host, C(localhost) among them, without C(hostvars).
    V(null) is for what has no stated limit, or is not known, as C(drives) and C(storage) without O(drives). What is
    left is below 0 where a limit is exceeded. The group of a zone has the same as C(eh_total), C(eh_used) and
    C(eh_left). O(query) and O(filters) do not change these figures.
  - The variable C(eh_unreachable) of the group C(all) tells, by zone, why a zone was left out; see O(on_unreachable).
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.connection.environment
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [opennebula.elastichosts.servers]
  zone:
    description:
      - What the account's zone is called in C(eh_zone), C(eh_capacity) and the zone's group.
      - The name of a zone of the ElasticHosts cloud, such as V(lon-p), stands for its address, unless the file has an
        O(endpoint) as well. It goes before the environment variable E(EHURI).
      - If not given, the name of that zone when O(endpoint) is its address, else the host (and port) of O(endpoint).
    type: str
  zones:
    description:
      - Several zones, or accounts, in place of one. All are asked at the same time.
      - What a zone does not say is taken from the options of the same name outside of this list. An account, that is
        a user at an endpoint, can be in the list once.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - What the zone is called, of letters, digits, C(_), C(.) and C(-).
          - The name of a zone of the ElasticHosts cloud, such as V(lon-p), stands for its address.
        type: str
        required: true
      endpoint:
        description: Address of the API, see O(endpoint).
        type: str
      auth:
        description: Who calls, see O(auth).
        type: str
      validate_certs:
        description: See O(validate_certs).
        type: bool
      ca_path:
        description: See O(ca_path).
        type: path
      connect_timeout:
        description: See O(connect_timeout).
        type: float
      timeout:
        description: See O(timeout).
        type: float
      limits:
        description: See O(limits). The limits outside of this list are not for the zones in it.
        type: dict
  limits:
    description:
      - What may be used of the account, as far as there is a limit. The API does not tell, your contract does.
    type: dict
    suboptions:
      servers:
        description: Number of servers.
        type: int
      cores:
        description: Number of cores of all servers. A server whose cores the cloud does not tell counts as one.
        type: int
      cpu:
        description: MHz of all servers together.
        type: int
      mem:
        description: MB of memory of all servers together.
        type: int
      drives:
        description: Number of drives. Needs O(drives) to know what is left.
        type: int
      storage:
        description: GB (binary) of all drives together. Needs O(drives) to know what is left.
        type: int
  on_unreachable:
    description:
      - What becomes of a zone that gives no proper answer (no connection, a time-out, a fault of the server).
      - With V(error) the file fails as a whole. V(skip) goes on without the hosts of this zone, warns, and notes the
        reason in C(eh_unreachable). Such a zone is not in C(eh_capacity).
      - Wrong credentials or settings are always an error.
    type: str
    choices: [error, skip]
    default: error
  drives:
    description:
      - Whether to read the drives too, with one more call per zone, C(GET /drives/info).
      - The entries of C(eh_drives) then have C(name), C(size) (bytes), C(tier) and C(tags) as well, and
        C(eh_capacity) knows their number and the GB used.
    type: bool
    default: false
  hostnames:
    description:
      - Expressions for the name of a host, with its variables. The first that gives a text decides. One that fails is
        passed over, or with O(strict) an error.
    type: list
    elements: str
    default: [eh_name]
  connect_with:
    description:
      - Which address becomes C(ansible_host), the first of the list that a server has.
      - V(public) is the first address it has now. V(static) is the address that its first interface is bound to.
        V(vlan) is its address on a VLAN; as the API gives out none there, note it in the user key C(vlan-address).
      - With an empty list, or without any of these addresses, C(ansible_host) is not set.
    type: list
    elements: str
    choices: [public, static, vlan]
    default: [public]
  query:
    description:
      - A JMESPath expression over the list of all servers of all zones, which leaves those that become hosts.
      - The servers have the form of the result of M(opennebula.elastichosts.server_info), and C(zone).
    type: str
  filters:
    description:
      - A list of dictionaries with one key each, V(include) or V(exclude), and as its value a condition, with the
        variables of a host. The first condition that is true decides whether the server becomes a host. Where none is,
        it does. End the list with V(exclude=true) to have only what was included.
      - A condition that fails is an error. Write V(eh_user_keys.role | default(''\) == 'web') for what not all have.
    type: list
    elements: dict
    default: []
requirements:
  - jmespath (for O(query))
notes:
  - O(endpoint), O(auth) and everything in O(zones) can be templates, for example with a lookup that reads a vault.
  - With O(cache) on, a run that finds its listings in the cache makes no call at all. The cache holds no passwords. It
    has an entry per account, known by endpoint, user, what is asked (O(query), O(drives)) and the collection's version.
  - The constructed options give what they give in any inventory, but an expression is evaluated once for all hosts
    that look the same to it.
seealso:
  - module: opennebula.elastichosts.server_info
  - module: opennebula.elastichosts.capacity_info
  - plugin: opennebula.elastichosts.burst_capacity
    plugin_type: lookup
"""

EXAMPLES = r"""
# burst.elastichosts.yml, with EHURI and EHAUTH in the environment
plugin: opennebula.elastichosts.servers

---
# Own groups and variables, and a cache
plugin: opennebula.elastichosts.servers
endpoint: https://api-lon-p.elastichosts.com
auth: "{{ lookup('ansible.builtin.file', '~/.ehauth') }}"
hostnames:
  - eh_user_keys.fqdn
  - eh_name
compose:
  ansible_user: "'toor' if 'legacy' in eh_tags else 'root'"
groups:
  large: eh_mem >= 4096
keyed_groups:
  - key: eh_user_keys.role | default('none')
    prefix: role
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/elastichosts
cache_timeout: 600

---
# Three accounts, what may be used of them, and of their servers only what runs and is no test
plugin: opennebula.elastichosts.servers
zones:
  - name: lon-p
    auth: "{{ lookup('ansible.builtin.env', 'LONDON') }}"
    limits: {servers: 20, cpu: 60000, mem: 65536}
  - name: sjc-c
    auth: "{{ lookup('ansible.builtin.env', 'SAN_JOSE') }}"
    limits: {servers: 10}
  - name: office
    endpoint: https://cloud.example.com:8099/
    auth: "{{ lookup('ansible.builtin.env', 'OFFICE') }}"
    ca_path: /etc/ssl/office.pem
on_unreachable: skip
filters:
  - exclude: eh_status != 'active'
  - exclude: "'test' in eh_tags"
query: "[?mem >= `512`]"
connect_with: [vlan, public]

# A play that bursts where there is room (no host, no hostvars; eh_capacity is a variable of every host, localhost too):
#
# - hosts: localhost
#   gather_facts: false
#   tasks:
#     - name: Three more web servers where they fit best
#       opennebula.elastichosts.server:
#         zone: "{{ query('opennebula.elastichosts.burst_capacity', servers=3, mem=3072) | first }}"
#         name: "web-{{ item }}"
#         cpu: 2000
#         mem: 1024
#       loop: [1, 2, 3]
#       when: eh_capacity['lon-p'].left.servers < 3
"""

from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable  # type: ignore[import-untyped]
from ansible.utils.vars import load_extra_vars  # type: ignore[import-untyped]

from ..module_utils.elastichosts.errors import ElasticHostsError
from ..module_utils.elastichosts.http_client import HAS_REQUESTS
from ..plugin_utils.capacity import capacity, used
from ..plugin_utils.constructing import Constructs
from ..plugin_utils.hosts import (
    LOCAL_NAMES,
    OWN_GROUPS,
    Identity,
    host_groups,
    host_names,
    host_variables,
    server_facts,
)
from ..plugin_utils.selecting import Candidate, Expressions, Filters, Hostnames, by_query
from ..plugin_utils.zones import DOWN, Answer, Listing, Zone, ask, zones_of

SUFFIXES = (".elastichosts.yml", ".elastichosts.yaml", ".eh.yml", ".eh.yaml")
Hosts = Dict[Identity, Dict[str, Any]]
"""The variables of the hosts to be."""


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Listings (or cache) -> facts -> chosen servers -> hosts with variables -> constructed variables and groups."""

    NAME = "opennebula.elastichosts.servers"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        in_file = self._read_config_data(path)
        if not HAS_REQUESTS:
            raise AnsibleParserError("the Python library requests is missing on the controller, install it")
        try:
            zones = self._zones(in_file)
            listings = self._listings(zones, cache)
        except ElasticHostsError as error:
            raise AnsibleParserError(str(error)) from None
        extra = load_extra_vars(loader)
        hosts = self._chosen(self._facts(listings), extra if self.get_option("use_extra_vars") else {})
        self._add_zones(zones, listings)
        constructs = Constructs(self, extra)
        for host in self._add_hosts(zones, hosts, extra):
            constructs.apply(host)

    # --- what there is ---

    def _zones(self, in_file: Mapping[str, Any]) -> Tuple[Zone, ...]:
        options = self.get_options()
        return zones_of(options, options["zones"], in_file=in_file, template=self.templar.template)

    def _listings(self, zones: Sequence[Zone], may_read_cache: bool) -> Dict[str, Answer]:
        """The listing of each zone, or why there is none. Raises ElasticHostsError where that must not be."""
        drives, use_cache = self.get_option("drives"), self.get_option("cache")
        asked = f"drives={drives} {self.get_option('query')}"
        keys = {zone.name: f"{self.NAME}_{zone.key(asked)}" for zone in zones}
        answers: Dict[str, Answer] = {}
        for zone in zones if use_cache and may_read_cache else ():
            cached = self._cached(keys[zone.name])
            if cached is not None:
                answers[zone.name] = cached
        for name, answer in ask([zone for zone in zones if zone.name not in answers], drives).items():
            answers[name] = answer
            if use_cache and isinstance(answer, Listing):
                self._cache[keys[name]] = answer.to_cache()
        for zone in zones:
            answer = answers[zone.name]
            if isinstance(answer, ElasticHostsError):
                self._bear(zone, answer, alone=len(zones) == 1)
        return {zone.name: answers[zone.name] for zone in zones}

    def _cached(self, key: str) -> Optional[Listing]:
        """None when there is none, or it is too old, which the cache says by KeyError."""
        try:
            return Listing.from_cache(self._cache[key])
        except KeyError:
            return None

    def _bear(self, zone: Zone, error: ElasticHostsError, alone: bool) -> None:
        if not isinstance(error, DOWN) or self.get_option("on_unreachable") == "error":
            if alone:
                raise error
            raise AnsibleParserError(f"zone {zone.name}: {error}") from None
        self.display.warning(f"zone {zone.name} is left out of the inventory: {error}")

    # --- what of it becomes a host ---

    def _facts(self, listings: Mapping[str, Answer]) -> List[Dict[str, Any]]:
        facts = []
        for name, listing in listings.items():
            if isinstance(listing, Listing):
                drives = None if listing.drives is None else {drive.uuid: drive for drive in listing.drives}
                facts += [server_facts(server, name, drives) for server in listing.servers]
        return facts

    def _chosen(self, facts: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> Hosts:
        connect_with = self.get_option("connect_with")
        filters = Filters(self.get_option("filters"), Expressions(self.templar, extra))
        chosen: Hosts = {}
        for server in by_query(self.get_option("query"), facts):
            variables = host_variables(server, connect_with)
            if filters.keeps(Candidate(server["name"] or server["uuid"], variables)):
                chosen[server["zone"], server["uuid"]] = variables
        return chosen

    # --- the inventory ---

    def _add_zones(self, zones: Sequence[Zone], listings: Mapping[str, Answer]) -> None:
        """A group per zone, with its capacity; and all of them, and the zones that were left out, for every host."""
        known = self.inventory.groups["all"].vars
        every = {name: dict(known.get(name) or {}) for name in ("eh_capacity", "eh_unreachable")}
        for group in OWN_GROUPS:
            self.inventory.add_group(group)
        for zone in zones:
            listing = listings[zone.name]
            self.inventory.add_group(zone.group)
            for where in every.values():
                where.pop(zone.name, None)
            if not isinstance(listing, Listing):
                every["eh_unreachable"][zone.name] = str(listing)
                continue
            figures = capacity(zone.limits, used(listing.servers, listing.drives))
            every["eh_capacity"][zone.name] = figures
            for name, value in figures.items():
                self.inventory.set_variable(zone.group, f"eh_{name}", value)
        for name, value in every.items():
            self.inventory.set_variable("all", name, value)

    def _add_hosts(self, zones: Sequence[Zone], hosts: Hosts, extra: Mapping[str, Any]) -> List[Any]:
        """The hosts, in the order of their names, in the groups that come with the plugin."""
        of_zone = {zone.name: zone.group for zone in zones}
        groups = {identity: (*host_groups(variables), of_zone[identity[0]]) for identity, variables in hosts.items()}
        for group in sorted({group for several in groups.values() for group in several}):
            self.inventory.add_group(group)
        added = []
        for name, identity in sorted((name, identity) for identity, name in self._names(hosts, extra).items()):
            self.inventory.add_host(name)
            host = self.inventory.get_host(name)
            _set_variables(host, hosts[identity])
            for group in groups[identity]:
                self.inventory.groups[group].add_host(host)
            added.append(host)
        return added

    def _names(self, hosts: Hosts, extra: Mapping[str, Any]) -> Dict[Identity, str]:
        hostnames = Hostnames(
            self.get_option("hostnames"),
            self.get_option("strict"),
            Expressions(self.templar, extra if self.get_option("use_extra_vars") else {}),
        )
        wishes = {
            identity: hostnames.wish(Candidate(variables["eh_name"] or variables["eh_uuid"], variables))
            for identity, variables in hosts.items()
        }
        return host_names(wishes, self._taken())

    def _taken(self) -> Collection[str]:
        """Names that mean something else: groups there are, or that the file asks for."""
        asked_for = (self._sanitize_group_name(name) for name in self.get_option("groups") or ())
        return LOCAL_NAMES.union(self.inventory.groups, asked_for)


def _set_variables(host: Any, variables: Mapping[str, Any]) -> None:
    """All at once where none is there yet: the names are sound, and each call would check one, 3 us a time."""
    if host.vars.keys().isdisjoint(variables):
        host.vars.update(variables)
    else:
        for name, value in variables.items():
            host.set_variable(name, value)
