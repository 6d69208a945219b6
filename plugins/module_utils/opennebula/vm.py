# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses OpenNebula's VM document, and deployment files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple, Union
from xml.etree.ElementTree import Element

from .eh_template import key_values
from .errors import DocumentError, TemplateError
from .xml import parse_xml

ACTIVE = 3
"""VM state whose LCM_STATE has the details (opennebula-drivers 2.7)"""
DONE = 6
"""final VM state: the VM has ended, and its id is not reused"""


@dataclass(frozen=True)
class VirtualMachine:
    """A VM as the core described it, in a request or by XML-RPC (opennebula-drivers 2.4, 2.5)."""

    id: int
    name: str
    state: int
    lcm_state: Optional[int]
    """None if the document has none: the deployment file of 2.0 to 3.0"""
    deploy_id: str
    cpu: Optional[float]
    """cores"""
    memory: Optional[int]
    """MB"""
    eh: Tuple[Mapping[str, str], ...]
    """every EH vector, with upper-case keys"""
    eh_text: str = ""
    """text of an EH that is no vector (``EH="..."``), which is a user's mistake"""
    vcpu: Optional[int] = None
    history_host: str = ""
    """HOSTNAME of the last history record"""
    history_driver: str = ""
    """NAME of the host's VM driver in the last history record; empty up to 2.2"""
    history_seq: int = 0
    """SEQ of the last history record, which grows with every deployment of the VM"""
    imported: bool = False
    """whether the VM was imported from an existing server (opennebula-drivers 4, 9.4)"""
    monitoring: bool = False
    """whether the document has MONITORING (4.14+): POLL then uses CPU and MEMORY, not USEDCPU and USEDMEMORY"""
    user_template: bool = False
    """whether the document has USER_TEMPLATE (4.0+): hosts then report their VMs as well (opennebula-drivers 3.3)"""
    disk: Mapping[str, str] = field(default_factory=dict, repr=False)
    """the DISK with ATTACH=YES, which ATTACHDISK and DETACHDISK concern (opennebula-drivers 2.2)"""
    disks: Tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    """every DISK vector, with upper-case keys"""
    nics: Tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    """every NIC vector, with upper-case keys"""
    context: bool = False
    """whether the template has a CONTEXT; its content is not kept, since it contains secrets"""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    """API properties of a deployment file in key-value form, which replaces EH"""


def from_payload(content: Union[Element, bytes, str]) -> VirtualMachine:
    """Return the VM of a ``<VM>`` element or document.

    :raises DocumentError: the content is no VM document
    """
    root = content if isinstance(content, Element) else parse_xml(content)
    if root.tag != "VM":
        raise DocumentError(f"its root element is <{root.tag}> where <VM> was expected")
    vm_id = _integer(child_text(root, "ID"))
    if vm_id is None:
        raise DocumentError("its <VM> has no numeric <ID>")
    return _machine(root, vm_id, root.find("TEMPLATE"), (root.find("USER_TEMPLATE"), root.find("TEMPLATE")))


def from_deployment_file(text: Union[bytes, str], id: int) -> VirtualMachine:  # noqa: A002
    """Return the VM of a deployment file written by TYPE="xml" (opennebula-drivers 2.6).

    The root is ``<TEMPLATE>`` up to 3.8, ``<VM>`` later. A file without XML holds the API's own key-value lines, as
    written by a core 2.0 with the patch of the original guide, ``type = "eh"``.

    :param id: VM id of the DEPLOY line; the file of 2.0 to 3.8 has no id
    :raises DocumentError: the file cannot be used; ``sentence`` says why
    :raises TemplateError: the file has no XML and no valid key-value lines
    """
    plain = _plain_text(text)
    if plain:
        given = key_values(plain)
        return VirtualMachine(id, given.get("name", ""), ACTIVE, None, "", None, None, (), given=given)
    try:
        root = parse_xml(text)
        if root.tag == "VM":
            machine = from_payload(root)
            if machine.id != id:
                raise DocumentError(f"it describes VM {machine.id}")
            return machine
        if root.tag != "TEMPLATE":
            raise DocumentError(f"its root element is <{root.tag}>, not <TEMPLATE>")
    except DocumentError as error:
        raise DocumentError(
            f"Check TYPE=\"xml\" in oned.conf, and the VM's template for ']]>': the deployment file of VM {id} cannot "
            f"be used, {error.sentence}. OpenNebula 2.0 writes an empty file when the template has ']]>'."
        ) from None
    return _machine(root, id, root, (root,))


def child_text(element: Optional[Element], path: str) -> str:
    """Return the stripped text at ``path`` below ``element``; empty if there is none."""
    if element is None:
        return ""
    return (element.findtext(path) or "").strip()


def _plain_text(text: Union[bytes, str]) -> str:
    """Return the stripped text of a file that is not XML; empty if the file is XML, or not UTF-8."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        return ""
    return "" if "<" in decoded.lstrip("\ufeff \t\r\n")[:1] else decoded.strip()


def _machine(
    root: Element, vm_id: int, template: Optional[Element], homes: Tuple[Optional[Element], ...]
) -> VirtualMachine:
    """Return the VM of a document.

    :param homes: elements that may contain EH, in order of precedence
    """
    vectors, plain = _eh(homes)
    history = _last_record(root)
    disks = _vectors(template, "DISK")
    return VirtualMachine(
        id=vm_id,
        name=child_text(root, "NAME"),
        state=_default(_integer(child_text(root, "STATE")), ACTIVE),
        lcm_state=_integer(child_text(root, "LCM_STATE")),
        deploy_id=child_text(root, "DEPLOY_ID") or child_text(template, "DEPLOY_ID"),
        cpu=_decimal(child_text(template, "CPU")),
        memory=_integer(child_text(template, "MEMORY")),
        eh=vectors,
        eh_text=plain,
        vcpu=_integer(child_text(template, "VCPU")),
        history_host=child_text(history, "HOSTNAME"),
        history_driver=child_text(history, "VM_MAD") or child_text(history, "VMMMAD"),
        history_seq=_default(_integer(child_text(history, "SEQ")), 0),
        # Before 4.14, which introduced MONITORING, cores do not set IMPORTED: a user wrote it, so it proves nothing.
        imported=root.find("MONITORING") is not None and child_text(template, "IMPORTED").upper() == "YES",
        monitoring=root.find("MONITORING") is not None,
        user_template=root.find("USER_TEMPLATE") is not None,
        disk=next((disk for disk in disks if disk.get("ATTACH", "").upper() == "YES"), {}),
        disks=disks,
        nics=_vectors(template, "NIC"),
        context=template is not None and template.find("CONTEXT") is not None,
    )


def _last_record(root: Element) -> Optional[Element]:
    """Return the newest history record.

    A request has only the newest record; one.vm.info has all records from 3.0 on, and up to 2.2 the newest record
    outside HISTORY_RECORDS.
    """
    records = [*root.findall("HISTORY_RECORDS/HISTORY"), *root.findall("HISTORY")]
    return max(records, key=lambda record: _default(_integer(child_text(record, "SEQ")), 0), default=None)


def _eh(homes: Tuple[Optional[Element], ...]) -> Tuple[Tuple[Mapping[str, str], ...], str]:
    """Return (EH vectors, text of each EH that is no vector) of the first element with any EH."""
    for home in homes:
        found = [] if home is None else [child for child in home if child.tag.upper() == "EH"]
        if found:
            vectors: List[Mapping[str, str]] = [_vector(element) for element in found if len(element)]
            plain = " ".join((element.text or "").strip() for element in found if not len(element))
            return tuple(vectors), plain.strip()
    return (), ""


def _vectors(template: Optional[Element], name: str) -> Tuple[Mapping[str, str], ...]:
    return () if template is None else tuple(_vector(element) for element in template.findall(name))


def device_of(target: str) -> str:
    """Return the API's device for an OpenNebula disk target such as ``hdb``, ``sdc`` or ``vda``; empty if none."""
    bus, number = target[:2].lower(), ord(target[2].lower()) - ord("a") if len(target) == 3 else -1
    if bus == "hd" and 0 <= number < 4:
        return f"ide:{number // 2}:{number % 2}"
    names = {"sd": "scsi:0:", "vd": "block:"}
    return f"{names[bus]}{number}" if bus in names and 0 <= number < 8 else ""


def _vector(element: Element) -> Dict[str, str]:
    """Return the sub-attributes by upper-case name; of repeated names the first counts, as in the core.

    See opennebula-drivers 2.5.
    """
    vector: Dict[str, str] = {}
    for child in element:
        text = (child.text or "").strip()
        # 2.0 writes an empty value as two quotation marks (opennebula-drivers 8.10).
        vector.setdefault(child.tag.upper(), "" if text == '""' else text)
    return vector


def _default(number: Optional[int], default: int) -> int:
    return default if number is None else number


def _integer(text: str) -> Optional[int]:
    try:
        return int(text)
    except ValueError:
        return None


def _decimal(text: str) -> Optional[float]:
    """Return a number; None if the text is none, or its absolute value is not below a billion."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


FORM = 'EH=[NAME="bitrot", CPUMHZ="500", MEMORY="500", DRIVE="ide:0:0 UUID", BOOT="ide:0:0"]'


def eh_vector(vm: VirtualMachine, host: str) -> Mapping[str, str]:
    """Return the EH vector for the OpenNebula host ``host`` (opennebula-drivers 2.5).

    That is the vector whose HOST (or legacy CLOUD) is this host, ignoring case, else the only one without HOST.

    :raises TemplateError: no vector fits, or several do
    """
    if not vm.eh:
        if vm.eh_text:
            raise TemplateError(
                f"Write EH as a vector, EH=[...]: in the template of VM {vm.id} it is plain text; the form is {FORM}."
            )
        raise TemplateError(
            f"Add EH=[...] to the template of the VM: VM {vm.id} has none to run on host {host!r}; the form is {FORM}."
        )
    named = [vector for vector in vm.eh if _host(vector) and _host(vector) == host.lower()]
    general = [vector for vector in vm.eh if not _host(vector)]
    for vectors in (named, general):
        if len(vectors) == 1:
            return vectors[0]
        if vectors:
            raise TemplateError(
                f"Keep one EH=[...] for each host, or give each another HOST: VM {vm.id} has {len(vectors)} that fit "
                f"host {host!r}."
            )
    others = ", ".join(sorted({vector.get("HOST") or vector.get("CLOUD", "") for vector in vm.eh}))
    raise TemplateError(
        f"Add an EH=[...] for this host or without HOST, or deploy the VM elsewhere: VM {vm.id} has none for host "
        f"{host!r}, only for {others}."
    )


def _host(vector: Mapping[str, str]) -> str:
    return (vector.get("HOST") or vector.get("CLOUD") or "").lower()
