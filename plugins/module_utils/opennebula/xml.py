# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parser for untrusted XML from the core: no document types, no entities, limited size and depth."""

from __future__ import annotations

from typing import Union
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.parsers import expat

from .errors import DocumentError

MAX_DOCUMENT = 64 * 1024 * 1024
"""bytes; a VM payload is typically 5 to 100 KiB"""
MAX_MARKS = 1_000_000
"""number of ``<``: half a million elements take about 50 MiB of memory"""
MAX_DEPTH = 64
"""levels of nested elements"""


def parse_xml(content: Union[bytes, str]) -> Element:
    """Parse ``content`` and return its root element.

    :raises DocumentError: with the reason only ("it is ..."), for the caller's sentence about the document
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if not data.strip():
        raise DocumentError("it is empty")
    if len(data) > MAX_DOCUMENT:
        raise DocumentError(f"it is larger than {MAX_DOCUMENT // (1024 * 1024)} MiB")
    marks = data.count(b"<")
    if marks > MAX_MARKS:
        raise DocumentError(f"it has more than {MAX_MARKS} tags")
    if b"<!DOCTYPE" in data:
        _refuse_document_type(data)
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - document types were refused above
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ParseError as error:
        raise _not_well_formed(error.code, error.position[0]) from None
    if marks > 2 * MAX_DEPTH:  # a document with fewer tags cannot be deeper
        _check_depth(root)
    return root


def _refuse_document_type(data: bytes) -> None:
    """Refuse data with a document type declaration; ``<!DOCTYPE`` inside a comment or CDATA is allowed.

    Entities can be declared in a document type only.

    :raises DocumentError: there is a declaration, or the data is not well-formed
    """

    def refuse(*_declaration: object) -> None:
        raise DocumentError("it declares a document type or an entity, which OpenNebula never does")

    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _not_well_formed(error.code, error.lineno) from None


def _not_well_formed(code: int, line: int) -> DocumentError:
    return DocumentError(f"it is not well-formed XML ({expat.ErrorString(code)}, line {line})")


def _check_depth(root: Element) -> None:
    """:raises DocumentError: elements are nested more than MAX_DEPTH levels deep"""
    level = [root]
    for _depth in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise DocumentError(f"it is nested more than {MAX_DEPTH} levels deep")
