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
  - A host has the name of its server, or the one from O(hostnames). If the name is not unique, is empty, or has another
    meaning in Ansible (C(localhost), the name of a group), C(-) and the first eight digits of the UUID are added.
    Characters other than letters, digits, C(_), C(.) and C(-) become C(_).
  - Every host is in the group C(elastichosts), in C(elastichosts_STATUS), for example C(elastichosts_active), in
    C(elastichosts_zone_ZONE) and, for each of its tags, in C(elastichosts_tag_TAG). Servers that an OpenNebula core
    runs (they have a key C(user:one-vm)) are in C(opennebula_burst) and, by their cloud, in
    C(opennebula_cloud_ID) as well. Characters other than letters, digits and C(_) become C(_) in the name of a group.
  - Each property of the API is a variable, its key with C(eh_) before it and C(_) for what cannot stand in a variable's
    name, for example C(eh_nic_0_model). Typed are C(eh_uuid), C(eh_cpu) (MHz), C(eh_mem) (MB), C(eh_persistent),
    C(eh_started) (seconds since 1970), C(eh_address), C(eh_addresses), C(eh_boot), C(eh_drives), C(eh_nics),
    C(eh_tags), C(eh_user_keys), C(eh_zone), C(eh_one_cloud) and C(eh_one_vm) (the owner in OpenNebula). Passwords are
    left out.
  - No value that comes from a server, such as its name or a tag, is ever evaluated as a template.
  - The variable C(eh_capacity) of the group C(all) has, by zone, the limits (C(total), as stated in O(limits)), what
    the servers use (C(used); stopped servers count, they can be started any time) and what is left (C(left)), each as
    C(servers), C(cores), C(cpu) (MHz), C(mem) (MB), C(drives) and C(storage) (GB), the measures of
    M(opennebula.elastichosts.capacity_info). A play has it on every host, C(localhost) among them, without C(hostvars).
    V(null) is for what has no stated limit, or is not known, as C(drives) and C(storage) without O(drives). What is
    left is below 0 where a limit is exceeded. C(endpoint) is the address of the zone's API. The group of a zone has the
    same as C(eh_total), C(eh_used), C(eh_left) and C(eh_endpoint). O(query) and O(filters) do not change these figures.
  - A row of a listing that cannot be read is left out with a warning, also in these figures.
  - The variable C(eh_unreachable) of the group C(all) has the reason for each zone that was left out; see
    O(on_unreachable).
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
      - Name of the account's zone in C(eh_zone), C(eh_capacity) and the zone's group.
      - If not given, the host (and port) of O(endpoint).
    type: str
  zones:
    description:
      - Several zones, that is accounts, instead of one. They are read in parallel.
      - Suboptions that are not given are taken from the options of the same name outside of this list. Each account,
        a user at an endpoint, can be in the list once.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the zone, of letters, digits, C(_), C(.) and C(-).
        type: str
        required: true
      endpoint:
        description: Address of the API, see O(endpoint).
        type: str
      auth:
        description: Credentials, see O(auth).
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
      - Limits of the account. The API has no call for them, your contract has them. V(null) is no limit.
    type: dict
    suboptions:
      servers:
        description: Number of servers.
        type: int
      cores:
        description: Number of cores of all servers. A server counts as one core if the API shows no number.
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
      - What to do with a zone that cannot be read (no connection, a time-out, a server error).
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
      - Expressions for the name of a host, with its variables. The first non-empty text is used. An expression that
        fails is skipped, or with O(strict) an error.
      - In a name, what is no letter, digit, C(_), C(.) or C(-) becomes C(_), and so does a dot or a dash at its
        beginning.
    type: list
    elements: str
    default: [eh_name]
  connect_with:
    description:
      - Kinds of addresses for C(ansible_host). The first kind of which a server has an address is used.
      - V(public) is the first address it has now. V(static) is the static address of its first interface. V(vlan) is
        its address on a VLAN; the API assigns none there, so put it into the user key C(vlan-address).
      - With an empty list, or without any of these addresses, C(ansible_host) is not set.
    type: list
    elements: str
    choices: [public, static, vlan]
    default: [public]
  query:
    description:
      - A JMESPath expression over the list of all servers of all zones; the result are those that become hosts.
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
  - The constructed options give what they give in C(ansible.builtin.constructed). Where O(keyed_groups) makes
    a group with the name of a host, the host still gets its variables and groups.
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
endpoint: https://eh.example.org
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
  - name: london
    endpoint: https://eh.example.org
    auth: "{{ lookup('ansible.builtin.env', 'LONDON') }}"
    limits: {servers: 20, cpu: 60000, mem: 65536}
  - name: sanjose
    endpoint: https://eh2.example.org
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

# A play that bursts where there is room. eh_capacity is a variable of every host, localhost too; the dictionary
# accounts (name of a zone -> credentials) is the user's own, for example in a vault.
#
# - hosts: localhost
#   gather_facts: false
#   vars:
#     zone: "{{ query('opennebula.elastichosts.burst_capacity', servers=3, mem=3072) | first }}"
#   tasks:
#     - name: Three more web servers where they fit best
#       opennebula.elastichosts.server:
#         endpoint: "{{ eh_capacity[zone].endpoint }}"
#         auth: "{{ accounts[zone] }}"
#         name: "web-{{ item }}"
#         cpu: 2000
#         mem: 1024
#       loop: [1, 2, 3]
#       when: eh_capacity.office.left.servers < 3
"""

from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable  # type: ignore[import-untyped]
from ansible.utils.vars import load_extra_vars  # type: ignore[import-untyped]

from ..module_utils.capacity import left, stated, used
from ..module_utils.elastichosts.errors import ElasticHostsError
from ..module_utils.elastichosts.http_client import HAS_REQUESTS
from ..plugin_utils.constructing import compiled_once, construct
from ..plugin_utils.filters import Evaluator, by_query, parse_filters, parse_hostnames
from ..plugin_utils.hosts import (
    LOCAL_NAMES,
    OWN_GROUPS,
    Identity,
    host_groups,
    host_names,
    host_variables,
    server_facts,
)
from ..plugin_utils.inventory_accounts import DOWN, InventoryZone, ZoneListing, ZoneResult, ask, zones_of

SUFFIXES = (".elastichosts.yml", ".elastichosts.yaml", ".eh.yml", ".eh.yaml")
Hosts = Dict[Identity, Dict[str, Any]]
"""Variables of the servers that become hosts."""


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Reads listings (or the cache), chooses servers, adds them as hosts, applies the constructed options."""

    NAME = "opennebula.elastichosts.servers"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if not HAS_REQUESTS:
            raise AnsibleParserError("the Python library requests is missing on the controller, install it")
        try:
            zones = self._zones()
            listings = self._listings(zones, cache)
        except ElasticHostsError as error:
            raise AnsibleParserError(str(error)) from None
        extra = load_extra_vars(loader) if self.get_option("use_extra_vars") else {}
        with compiled_once(self.templar):
            evaluator = Evaluator(self.templar, extra)
            hosts = self._chosen(self._facts(listings), evaluator)
            self._add_zones(zones, listings)
            names = self._names(hosts, evaluator)
        construct(self, self._add_hosts(zones, hosts, names))

    # --- Listings ---

    def _zones(self) -> Tuple[InventoryZone, ...]:
        options = self.get_options()
        return zones_of(options, options["zones"], self.templar.template)

    def _listings(self, zones: Sequence[InventoryZone], may_read_cache: bool) -> Dict[str, ZoneResult]:
        """Return the listing, or the error, of each zone. Raises the error unless the zone may be skipped."""
        drives, use_cache = self.get_option("drives"), self.get_option("cache")
        asked = f"drives={drives} {self.get_option('query')}"
        keys = {zone.name: f"{self.NAME}_{zone.key(asked)}" for zone in zones}
        answers: Dict[str, ZoneResult] = {}
        for zone in zones if use_cache and may_read_cache else ():
            cached = self._cached(keys[zone.name])
            if cached is not None:
                answers[zone.name] = cached
        for name, answer in ask([zone for zone in zones if zone.name not in answers], drives).items():
            answers[name] = answer
            if use_cache and isinstance(answer, ZoneListing):
                self._cache[keys[name]] = answer.to_cache()
        for zone in zones:
            answer = answers[zone.name]
            if isinstance(answer, ElasticHostsError):
                self._skip_or_raise(zone, answer, alone=len(zones) == 1)
            elif answer.left_out:
                self.display.warning(
                    f"zone {zone.name}: {len(answer.left_out)} parts of its listing cannot be read and are left out, "
                    f"in eh_capacity too ({'; '.join(dict.fromkeys(answer.left_out))[:300]})"
                )
        return {zone.name: answers[zone.name] for zone in zones}

    def _cached(self, key: str) -> Optional[ZoneListing]:
        """Return the listing from the cache; None if it has none or the entry has expired (KeyError)."""
        try:
            return ZoneListing.from_cache(self._cache[key])
        except KeyError:
            return None

    def _skip_or_raise(self, zone: InventoryZone, error: ElasticHostsError, alone: bool) -> None:
        if not isinstance(error, DOWN) or self.get_option("on_unreachable") == "error":
            if alone:
                raise error
            raise AnsibleParserError(f"zone {zone.name}: {error}") from None
        self.display.warning(f"zone {zone.name} is left out of the inventory: {error}")

    # --- Servers that become hosts ---

    def _facts(self, listings: Mapping[str, ZoneResult]) -> List[Dict[str, Any]]:
        facts = []
        for name, listing in listings.items():
            if isinstance(listing, ZoneListing):
                drives = None if listing.drives is None else {drive.uuid: drive for drive in listing.drives}
                facts += [server_facts(server, name, drives) for server in listing.servers]
        return facts

    def _chosen(self, facts: Sequence[Mapping[str, Any]], evaluator: Evaluator) -> Hosts:
        connect_with = self.get_option("connect_with")
        filters = parse_filters(self.get_option("filters"))
        chosen: Hosts = {}
        for server in by_query(self.get_option("query"), facts):
            variables = host_variables(server, connect_with)
            if evaluator.keeps(filters, variables):
                chosen[server["zone"], server["uuid"]] = variables
        return chosen

    # --- Inventory ---

    def _add_zones(self, zones: Sequence[InventoryZone], listings: Mapping[str, ZoneResult]) -> None:
        """Add a group for each zone with its capacity, and set eh_capacity and eh_unreachable for all hosts."""
        known = self.inventory.groups["all"].vars
        every = {name: dict(known.get(name) or {}) for name in ("eh_capacity", "eh_unreachable")}
        for group in OWN_GROUPS:
            self.inventory.add_group(group)
        for zone in zones:
            listing = listings[zone.name]
            self.inventory.add_group(zone.group)
            for where in every.values():
                where.pop(zone.name, None)
            if not isinstance(listing, ZoneListing):
                every["eh_unreachable"][zone.name] = str(listing)
                continue
            endpoint, _user = zone.account
            taken = used(listing.servers, listing.drives)
            figures = {
                "endpoint": endpoint,
                "total": stated(zone.limits),
                "used": taken,
                "left": left(zone.limits, taken),
            }
            every["eh_capacity"][zone.name] = figures
            for name, value in figures.items():
                self.inventory.set_variable(zone.group, f"eh_{name}", value)
        for name, value in every.items():
            self.inventory.set_variable("all", name, value)

    def _add_hosts(self, zones: Sequence[InventoryZone], hosts: Hosts, names: Mapping[Identity, str]) -> List[str]:
        """Add the hosts with their variables, in the groups that the plugin makes itself. Returns the sorted names."""
        of_zone = {zone.name: zone.group for zone in zones}
        groups = {identity: (*host_groups(variables), of_zone[identity[0]]) for identity, variables in hosts.items()}
        for group in sorted({group for several in groups.values() for group in several}):
            self.inventory.add_group(group)
        for name, identity in sorted((name, identity) for identity, name in names.items()):
            self.inventory.add_host(name)
            host = self.inventory.get_host(name)
            _set_variables(host, hosts[identity])
            for group in groups[identity]:
                self.inventory.groups[group].add_host(host)
        return sorted(names.values())

    def _names(self, hosts: Hosts, evaluator: Evaluator) -> Dict[Identity, str]:
        hostnames, strict = parse_hostnames(self.get_option("hostnames")), self.get_option("strict")
        wishes = {identity: evaluator.hostname(hostnames, variables, strict) for identity, variables in hosts.items()}
        return host_names(wishes, self._taken())

    def _taken(self) -> Collection[str]:
        """Return the names that no host may have: those of existing groups, and of groups that the file defines."""
        asked_for = (self._sanitize_group_name(name) for name in self.get_option("groups") or ())
        return LOCAL_NAMES.union(self.inventory.groups, asked_for)


def _set_variables(host: Any, variables: Mapping[str, Any]) -> None:
    """Set all variables at once if the host has none of them: `set_variable` checks each name, 1 s for 10,000 hosts."""
    if host.vars.keys().isdisjoint(variables):
        host.vars.update(variables)
    else:
        for name, value in variables.items():
            host.set_variable(name, value)
