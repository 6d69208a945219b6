# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of an instance with pyeh; prints what it saw as JSON. Runs in the old environment.

usage: pyeh_life.py URL USER KEY vm|container DISTRO
"""

from __future__ import annotations

import json
import sys

from pyeh.main import Client


def main(url: str, user: str, key: str, kind: str, distro: str) -> None:
    client = Client("lon-p", user, key)
    client.req.url = url
    made = client.create_instance({"name": "web", "type": kind, "distro": distro, "ssh_key": "ssh-ed25519 AAAA me"})
    uuid = made["uuid"]
    seen = {"made": made, "listed": client.get_servers(), "got": client.get_instance(uuid)}
    seen["shutdown"] = client.stop_instance(uuid, graceful=True)
    seen["stopped"] = client.get_instance(uuid)["status"]
    client.req.post(f"/servers/{uuid}/start")
    client.stop_instance(uuid)
    seen["cut"] = client.get_instance(uuid)["status"]
    client.delete_instance(uuid)
    seen["gone"] = client.get_instance(uuid)
    client.delete_disk(made["disk"])
    fleeting = client.create_instance({"name": "x", "type": kind, "distro": distro, "persistent": "false"})
    client.stop_instance(fleeting["uuid"])
    seen["fleeting"] = [fleeting["persistent"], client.get_instance(fleeting["uuid"])]
    client.delete_disk(fleeting["disk"])
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
