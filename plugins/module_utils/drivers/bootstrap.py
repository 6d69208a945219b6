# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first milliseconds of a driver: survive the parent, answer INIT, and only then load the rest.

Imports nothing that is not loaded by the interpreter anyway. What the core does to a driver that it starts:
opennebula-drivers 1.2, 1.4, 8.1 and 9.1.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn, Optional, Sequence

TRANSFER = "--tm-delete"
"""first argument when the transfer driver calls: the rest is that of its ``delete``"""
INIT_REPLY = b"INIT SUCCESS\n"
_CHUNK = 65536


def run(driver: str, argv: Sequence[str]) -> NoReturn:
    """Become the driver ``vmm`` or ``im``; ends the process when the core ends the conversation.

    INIT is always answered with SUCCESS: a failed INIT takes the whole core down from 4.4 on. What is wrong with
    the installation or the settings is said in the answer to each request instead.
    """
    _hold_stderr()
    if list(argv[:1]) == [TRANSFER]:
        _unblock_signals()
        _read_settings(driver)
        from . import transfer_driver

        status = transfer_driver.main(argv[1:])
        sys.stdout.flush()
        os._exit(status)
    early = answer_init()
    if early is None:
        os._exit(0)
    _unblock_signals()
    os._exit(_serve(driver, argv, early))


def answer_init(source: int = 0, sink: int = 1) -> Optional[bytes]:
    """Wait for the first line; when it is INIT, answer it. Returns what was read beyond it, None at end of file.

    After the answer nothing may be written until the first request: the core's read takes up to 31 bytes and
    throws away what follows the first line (opennebula-drivers 1.4).
    """
    received = b""
    while b"\n" not in received:
        chunk = os.read(source, _CHUNK)
        if not chunk:
            return None
        received += chunk
    first, rest = received.split(b"\n", 1)
    if first.split()[:1] != [b"INIT"]:
        return received
    os.write(sink, INIT_REPLY)
    return rest


def _hold_stderr() -> None:
    """Open descriptor 2 on /dev/null if the core has closed it, so that no file or socket becomes standard error."""
    try:
        os.fstat(2)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
    if sys.stderr is None:
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _unblock_signals() -> None:
    """Unblock all signals: the core starts its drivers with every signal blocked."""
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _read_settings(driver: str) -> None:
    """Put the settings into the environment, and point standard error at the driver's log if ONE_MAD_DEBUG is set."""
    from ..opennebula.layout import layout
    from . import driver_log, settings

    place = layout(os.environ.get("ONE_LOCATION", ""))
    settings.fill_environment(place, os.environ)
    if os.environ.get("ONE_MAD_DEBUG"):
        driver_log.open_file(f"{place.log}/one_{driver}_eh.log")
    driver_log.configure()


def _serve(driver: str, argv: Sequence[str], early: bytes) -> int:
    _read_settings(driver)
    if driver == "vmm":
        from . import vm_driver

        return vm_driver.main(argv, early)
    from . import monitor_driver

    return monitor_driver.main(argv, early)
