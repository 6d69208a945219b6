# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m eh_endpoint: parse the options and serve, or make or restore a backup."""

from __future__ import annotations

import sys

from . import options
from .log_file import replace_standard_streams


def main() -> int:
    if sys.argv[1:2] in (["backup"], ["restore"]):
        from . import backup

        return backup.main(sys.argv[1], sys.argv[2:])
    given = options.parse()
    replace_standard_streams()
    from .serving import CannotServe, serve  # after the options: --help and mistakes need no server

    try:
        serve(given)
    except CannotServe as error:
        sys.stderr.write(f"eh_endpoint: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
