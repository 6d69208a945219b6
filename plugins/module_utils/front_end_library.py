# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages that the installed drivers run on, as files; and a look into the cloud with the drivers' interpreter."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

# Ansible sends a module together with all that it imports, and with all that that imports in turn: through the first
# module of the drivers these are exactly the files that the drivers need.
from .drivers import bootstrap
from .front_end import run

PACKAGES = ("drivers", "elastichosts", "opennebula")
TOP = b'"""The ElasticHosts drivers of OpenNebula, installed by the collection opennebula.elastichosts."""\n'
NAME = "one_eh"
LOOK_SECONDS = 40
"""longer than all calls of the look together, so that it tells its own time-outs"""
# Run by the drivers' interpreter. Accounts come on standard input, so that no process list shows them.
_LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from one_eh.elastichosts.client import ElasticHosts
from one_eh.elastichosts.errors import ElasticHostsError
from one_eh.elastichosts.http_client import Timeouts
answers = []
for zone in json.load(sys.stdin):
    answer = {"name": zone["name"], "problem": "", "servers": []}
    try:
        timeouts = Timeouts(connect=5.0, read=10.0, total=15.0)
        verify = zone.get("ca") or True
        with ElasticHosts(zone["endpoint"], zone["auth"], timeouts=timeouts, verify=verify, retries=1) as cloud:
            if zone.get("cloud"):
                servers = [server.properties for server in cloud.servers.info()]
                mine = [server for server in servers if server.get("user:one-cloud") == zone["cloud"]]
                told = ("server", "user:one-vm", "status")
                answer["servers"] = [[server.get(key, "") for key in told] for server in mine]
            else:
                cloud.servers.list()
    except ElasticHostsError as problem:
        answer["problem"] = str(problem)
    answers.append(answer)
json.dump(answers, sys.stdout)
"""


class OwnedServer(NamedTuple):
    """A server that is marked as this cloud's."""

    uuid: str
    vm: str
    status: str


class Answer(NamedTuple):
    """What a zone said: a sentence when it did not let us in, and the servers that are this cloud's."""

    name: str
    problem: str
    servers: List[OwnedServer]


def library() -> Dict[str, bytes]:
    """The files of the packages, by their path below the package folder."""
    files = {"__init__.py": TOP}
    base = bootstrap.__name__.rpartition(".drivers.")[0]
    for package in PACKAGES:
        module = importlib.import_module(f"{base}.{package}")
        names = ["__init__", *(found.name for found in pkgutil.iter_modules(module.__path__))]
        for name in names:
            files[f"{package}/{name}.py"] = pkgutil.get_data(module.__name__, f"{name}.py") or b""
    return files


def unpack(folder: Path) -> None:
    """Write the packages below ``folder``."""
    for name, content in library().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ask_zones(python: str, zones: Sequence[Mapping[str, Any]], scratch: str) -> List[Answer]:
    """One harmless call for each zone, made by ``python`` with the drivers' own client.

    :param zones: ``name``, ``endpoint``, ``auth``, ``ca``, and ``cloud`` where its servers are to be counted
    :param scratch: folder for the time of the call
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        unpack(folder / NAME)
        done = run(
            (python, "-I", "-c", _LOOK, str(folder)), seconds=LOOK_SECONDS * len(zones), text=json.dumps(list(zones))
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not done.is_right:
        return [Answer(str(zone["name"]), f"The account could not be tried: {done.conclusion}.", []) for zone in zones]
    return [
        Answer(one["name"], one["problem"], [OwnedServer(*values) for values in one["servers"]])
        for one in json.loads(done.output)
    ]
