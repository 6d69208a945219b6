# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of a node with libcloud's own driver; prints what it saw as JSON. Runs in the old environment.

usage: libcloud_life.py PROVIDER PORT USER KEY SMP
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import Node
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider


def main(provider: str, port: str, user: str, key: str, smp: str) -> None:
    make = get_driver(getattr(Provider, provider))
    driver = make(user, key, host="127.0.0.1", port=int(port), secure=False)
    seen = {"images": len(driver.list_images()), "before": len(driver.list_nodes())}
    size = next(size for size in driver.list_sizes() if size.id == "small")

    def create(number: int) -> Node:
        # It waits a second or two for each image, so each image gets a thread, and a driver of its own.
        mine = make(user, key, host="127.0.0.1", port=int(port), secure=False)
        options = {"vnc_password": "geheim12"} if number == 0 else {}
        return mine.create_node(name=f"node{number}", size=size, image=images[number], smp=smp, **options)

    images = driver.list_images()
    with ThreadPoolExecutor(len(images)) as threads:
        nodes = list(threads.map(create, range(len(images))))
    seen["nodes"] = [[node.name, node.state, node.public_ips, node.extra] for node in nodes]
    seen["listed"] = sorted(node.name for node in driver.list_nodes())
    first, second, *rest = nodes
    seen["reboot"] = driver.reboot_node(first)
    seen["configured"] = driver.ex_set_node_configuration(first, name="renamed", cpu=3000)
    try:
        driver.ex_set_node_configuration(first, mem=512)
        seen["refused"] = ""
    except Exception as error:
        seen["refused"] = str(error)
    seen["renamed"] = [node.name for node in driver.list_nodes() if node.id == first.id]
    seen["shutdown"] = driver.ex_shutdown_node(second)
    seen["destroyed"] = [driver.destroy_node(node) for node in (first, *rest)]
    wrong = make(user, "wrong", host="127.0.0.1", port=int(port), secure=False)
    try:
        wrong.list_nodes()
        seen["wrong"] = "let in"
    except InvalidCredsError:
        seen["wrong"] = "InvalidCredsError"
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
