# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Destroys the drives it is given with libcloud's driver; prints its answers as JSON. Runs in the old environment.

usage: libcloud_drives.py PROVIDER PORT USER KEY DRIVE...
"""

from __future__ import annotations

import json
import sys

from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider


def main(provider: str, port: str, user: str, key: str, *drives: str) -> None:
    driver = get_driver(getattr(Provider, provider))(user, key, host="127.0.0.1", port=int(port), secure=False)
    print(json.dumps([driver.ex_destroy_drive(drive) for drive in drives]))


if __name__ == "__main__":
    main(*sys.argv[1:])
