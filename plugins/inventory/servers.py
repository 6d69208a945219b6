# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: servers
short_description: Servers of an ElasticHosts account, among them the burst nodes of an OpenNebula cloud
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Reads all servers of an account in one call, C(GET /servers/info), and makes each a host.
  - The file's name ends in C(.elastichosts.yml), C(.elastichosts.yaml), C(.eh.yml) or C(.eh.yaml).
  - A host is called like its server. Where that is not one clear name (two servers have it, it is empty, or it means
    something else to Ansible, such as C(localhost) or the name of a group), C(-) and the first eight digits of the UUID
    are added. Characters other than letters, digits, C(_), C(.) and C(-) become C(_).
  - Every host is in the group C(elastichosts) and in C(elastichosts_STATUS), for example C(elastichosts_active).
    Servers that an OpenNebula core runs (they have a key C(user:one-vm)) are in C(opennebula_burst) as well.
  - Each property of the API is a variable, its key with C(eh_) before it and C(_) for what cannot stand in a variable's
    name, for example C(eh_nic_0_model). Typed are C(eh_uuid), C(eh_cpu) (MHz), C(eh_mem) (MB), C(eh_persistent),
    C(eh_started) (seconds since 1970), C(eh_address), C(eh_addresses), C(eh_boot), C(eh_drives), C(eh_nics),
    C(eh_tags), C(eh_user_keys), C(eh_one_cloud) and C(eh_one_vm) (the owner in OpenNebula). Passwords are left out.
  - C(ansible_host) is the first address, where there is one.
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
notes:
  - O(endpoint) and O(auth) can be templates, for example with a lookup that reads a vault.
  - With O(cache) on, a run that finds its listing in the cache makes no call at all. The cache holds no passwords.
seealso:
  - module: opennebula.elastichosts.server_info
"""

EXAMPLES = r"""
# burst.elastichosts.yml, with EHURI and EHAUTH in the environment
plugin: opennebula.elastichosts.servers

---
# Own groups and variables, and a cache
plugin: opennebula.elastichosts.servers
endpoint: https://api-lon-p.elastichosts.com
auth: "{{ lookup('ansible.builtin.file', '~/.ehauth') }}"
compose:
  ansible_user: "'toor' if 'legacy' in eh_tags else 'root'"
groups:
  large: eh_mem >= 4096
keyed_groups:
  - key: eh_tags
    prefix: tag
  - key: eh_one_cloud
    prefix: cloud
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/elastichosts
cache_timeout: 600
"""

import hashlib
import re
from collections import Counter
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable  # type: ignore[import-untyped]

from ..module_utils.connection import connect, require
from ..module_utils.elastichosts.errors import ElasticHostsError
from ..module_utils.elastichosts.names import is_uuid
from ..module_utils.elastichosts.servers import Server
from ..module_utils.elastichosts.transport import HAS_REQUESTS
from ..module_utils.server_forms import server_view

SUFFIXES = (".elastichosts.yml", ".elastichosts.yaml", ".eh.yml", ".eh.yaml")
ALL_SERVERS = "elastichosts"
BURST = "opennebula_burst"
OWN_GROUPS = (ALL_SERVERS, ALL_SERVERS + "_active", ALL_SERVERS + "_stopped", BURST)
# A server of this name would take the place of the controller, or of a variable scope, in every play.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "all", "ungrouped"})
OPTIONS = ("endpoint", "auth", "validate_certs", "ca_path", "connect_timeout", "timeout")
CACHE_FORMAT = "1"
_NOT_IN_HOST = re.compile(r"[^\w.-]")
_NOT_IN_VARIABLE = re.compile(r"[^A-Za-z0-9_]")


def host_names(servers: Collection[Server], taken: Collection[str]) -> Dict[str, str]:
    """UUID -> name for each server, the same in every run whatever the order of the listing."""
    plain = {server.uuid: _NOT_IN_HOST.sub("_", server.name) for server in servers}
    names = dict(plain)
    for longer in (lambda uuid: plain[uuid] and f"{plain[uuid]}-{uuid[:8]}", lambda uuid: uuid):
        count = Counter(names.values())
        for uuid, name in names.items():
            if not name or count[name] > 1 or name in taken or is_uuid(name):
                names[uuid] = longer(uuid)
    return names


def host_variables(server: Server) -> Dict[str, Any]:
    """All variables of a host: plain JSON types, no secrets."""
    view = server_view(server)
    properties: Mapping[str, str] = view.pop("properties")
    variables: Dict[str, Any] = {"eh_" + _NOT_IN_VARIABLE.sub("_", key): properties[key] for key in sorted(properties)}
    variables.update(("eh_" + key, value) for key, value in view.items())
    variables["eh_one_cloud"] = properties.get("user:one-cloud")
    variables["eh_one_vm"] = properties.get("user:one-vm")
    if view["address"]:
        variables["ansible_host"] = view["address"]
    return variables


def host_groups(variables: Mapping[str, Any]) -> Tuple[str, ...]:
    status = f"{ALL_SERVERS}_" + _NOT_IN_VARIABLE.sub("_", variables["eh_status"])
    return (ALL_SERVERS, status, BURST) if variables["eh_one_vm"] is not None else (ALL_SERVERS, status)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Listing (or cache) -> hosts with variables -> constructed variables -> constructed groups."""

    NAME = "opennebula.elastichosts.servers"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if not HAS_REQUESTS:
            raise AnsibleParserError("the Python library requests is missing on the controller, install it")
        try:
            servers = self._servers(path, cache)
        except ElasticHostsError as error:
            raise AnsibleParserError(str(error)) from None
        self._construct(self._add_hosts(servers))

    def _servers(self, path: str, cache: bool) -> List[Server]:
        options = {name: self.get_option(name) for name in OPTIONS}
        for name in ("endpoint", "auth"):
            options[name] = self.templar.template(options[name])
        require(options, "endpoint", "auth")
        use_cache, key = bool(self.get_option("cache")), self._key(path, options)
        cached = self._cached(key) if use_cache and cache else None
        if cached is not None:
            return cached
        client = connect(options)
        try:
            servers = client.servers.info()
        finally:
            client.close()
        if use_cache:
            self._cache[key] = [dict(server.public()) for server in servers]
        return servers

    def _cached(self, key: str) -> Optional[List[Server]]:
        """The listing in the cache; None when there is none, or it is too old, which the cache says by KeyError."""
        try:
            listing = self._cache[key]
        except KeyError:
            return None
        return [Server(properties) for properties in listing] if isinstance(listing, list) else None

    def _key(self, path: str, options: Mapping[str, Any]) -> str:
        """One entry per file, endpoint and user; the secret half of `auth` is not in it."""
        user = str(options["auth"]).split(":", 1)[0]
        what = "\n".join((CACHE_FORMAT, str(options["endpoint"]).rstrip("/"), user))
        return f"{self.get_cache_key(path)}_{hashlib.sha256(what.encode()).hexdigest()[:16]}"

    def _add_hosts(self, servers: Collection[Server]) -> Dict[str, Dict[str, Any]]:
        """Name -> variables of the hosts that are in the inventory now."""
        found = {server.uuid: host_variables(server) for server in servers}
        groups = {uuid: host_groups(variables) for uuid, variables in found.items()}
        for group in sorted({*OWN_GROUPS, *(group for several in groups.values() for group in several)}):
            self.inventory.add_group(group)
        names = host_names(servers, LOCAL_NAMES.union(self.inventory.groups, self.get_option("groups") or ()))
        hosts = {}
        for name, uuid in sorted((name, uuid) for uuid, name in names.items()):
            hosts[name] = found[uuid]
            self.inventory.add_host(name)
            host = self.inventory.get_host(name)
            for key, value in found[uuid].items():
                host.set_variable(key, value)
            for group in groups[uuid]:
                self.inventory.add_child(group, name)
        return hosts

    def _construct(self, hosts: Dict[str, Dict[str, Any]]) -> None:
        """The options of `constructed`, each for all hosts: no group of one step can hide a host of the same step."""
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        strict = self.get_option("strict")
        for name, variables in hosts.items() if compose else ():
            self._set_composite_vars(compose, variables, name, strict)
        for name in hosts if groups or keyed else ():
            hosts[name] = self.inventory.get_host(name).get_vars()
        for name, variables in hosts.items() if groups else ():
            self._add_host_to_composed_groups(groups, variables, name, strict, fetch_hostvars=False)
        for name, variables in hosts.items() if keyed else ():
            self._add_host_to_keyed_groups(keyed, variables, name, strict, fetch_hostvars=False)
