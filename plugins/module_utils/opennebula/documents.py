# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""XML from the core, read without trust: no document types, no entities, bounded size and depth."""

from __future__ import annotations

from typing import List, Optional, Union
from xml.etree.ElementTree import Element
from xml.parsers import expat

from .errors import DocumentError

MAX_DOCUMENT = 64 * 1024 * 1024
"""bytes; a VM payload is typically 5 to 100 KiB"""
MAX_DEPTH = 64


class _Reader:
    """Builds elements from expat's events; text and tail as in ElementTree."""

    def __init__(self) -> None:
        self.root: Optional[Element] = None
        self._open: List[Element] = []
        self._last: Optional[Element] = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = Element(name, attributes)
        if self._open:
            self._open[-1].append(element)
        else:
            self.root = element
        if len(self._open) >= MAX_DEPTH:
            raise DocumentError(f"it is nested more than {MAX_DEPTH} levels deep")
        self._open.append(element)
        self._last = None

    def end(self, _name: str) -> None:
        self._last = self._open.pop()

    def text(self, text: str) -> None:
        if self._last is not None:
            self._last.tail = (self._last.tail or "") + text
        elif self._open:
            self._open[-1].text = (self._open[-1].text or "") + text

    def refuse(self, *_declaration: object) -> None:
        raise DocumentError("it declares a document type or an entity, which OpenNebula never does")


def parse_xml(content: Union[bytes, str]) -> Element:
    """The root element of ``content``.

    :raises DocumentError: with the reason only ("it is ..."); the caller knows what the document was
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if not data.strip():
        raise DocumentError("it is empty")
    if len(data) > MAX_DOCUMENT:
        raise DocumentError(f"it is larger than {MAX_DOCUMENT // (1024 * 1024)} MiB")
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DocumentError(f"it is not well-formed XML ({reason}, line {error.lineno})") from None
    if reader.root is None:
        raise DocumentError("it has no root element")
    return reader.root


def child_text(element: Optional[Element], path: str) -> str:
    """Text at ``path`` below ``element``, stripped; empty when there is none."""
    if element is None:
        return ""
    return (element.findtext(path) or "").strip()
