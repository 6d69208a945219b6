# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of a driver process: one configuration of ``logging`` for the drivers and for the client of the API.

Standard error is the log: a file when ONE_MAD_DEBUG is set, else nothing (opennebula-drivers 5.4). No secret is
logged, and no log that cannot be written keeps a driver from its work.
"""

from __future__ import annotations

import logging
import os
import traceback

FORMAT = "%(asctime)s %(levelname)s %(message)s"
TIME = "%Y-%m-%d %H:%M:%S"
LEVELS = {"E": logging.ERROR, "W": logging.WARNING, "I": logging.INFO, "D": logging.DEBUG}
"""level of a sentence that goes to OpenNebula's log as well, by its letter in a LOG line"""
PACKAGE = __name__.rpartition(".drivers.")[0]
"""whose loggers are configured: those of the drivers, and the client's"""


class DescriptorHandler(logging.Handler):
    """Writes each record to a file descriptor at once; counts the lines that cannot be written, and says so later."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT, TIME))
        self._descriptor = descriptor
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                self._write(f"{self._dropped} lines of this log are missing: they could not be written.")
                self._dropped = 0
            self._write(self.format(record))
        except Exception:  # whatever is wrong with the log, the driver goes on
            self._dropped += 1

    def _write(self, line: str) -> None:
        rest = (line.rstrip() + "\n").encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def open_file(path: str) -> None:
    """Make the file ``path`` standard error; one that cannot be written leaves it as it is."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError:
        return
    os.dup2(file, 2, inheritable=False)
    os.close(file)


def configure(descriptor: int = 2) -> None:
    """Send the log records of the drivers and of the client to ``descriptor``, or nowhere if that is /dev/null."""
    logger = logging.getLogger(PACKAGE)
    logger.propagate = False
    if os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev:  # noqa: PTH116
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.CRITICAL + 1)
        return
    logger.addHandler(DescriptorHandler(descriptor))
    logger.setLevel(logging.DEBUG)


def log_exception(logger: logging.Logger, error: BaseException) -> None:
    """Log where an unexpected exception was raised, without its message and values, which may be secrets."""
    logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
