# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors of this package.

.. code-block:: text

    OpenNebulaError
     +-- MalformedLine    a line from the core that cannot be understood
     +-- DocumentError    an XML document (payload, deployment file) that cannot be read
     +-- TemplateError    the user's EH=[...] is missing, incomplete or wrong

``str(error)`` is one sentence that names the object and says what to do, and never contains a VNC password.
"""

from __future__ import annotations

from typing import Optional


class OpenNebulaError(Exception):
    """Base class of this package's errors."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class MalformedLine(OpenNebulaError):
    """A line from the core that cannot be understood.

    ``action`` is empty and ``id`` is None if the line does not show them; otherwise the driver must answer FAILURE for
    that id.
    """

    def __init__(self, sentence: str, action: str = "", id: Optional[int] = None) -> None:  # noqa: A002
        super().__init__(sentence)
        self.action = action
        self.id = id


class DocumentError(OpenNebulaError):
    """An XML document from the core that is malformed, empty, too large or has a document type."""


class TemplateError(OpenNebulaError):
    """The EH=[...] of a VM template is missing, incomplete or wrong; the user can correct it."""
