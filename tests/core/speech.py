# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the lines and files of the core exactly as each release does (opennebula-drivers 2, 3, 9)."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from .grammar import Item
from .model import LCM, STATES, Host, Vm
from .releases import Release

RESERVED = ("CPU", "VCPU", "MEMORY", "NAME", "DISK", "NIC", "OS", "CONTEXT", "GRAPHICS", "DEPLOY_ID", "IMPORTED")
"""attributes that stay in TEMPLATE; from 4.0 on the others are the user's"""


def _cdata(text: str) -> str:
    return f"<![CDATA[{text}]]>"


def _attributes(items: list[Item]) -> str:
    """Template attributes as XML: sorted by name, and so inside each vector."""
    parts = []
    for name, value in sorted(items, key=lambda item: item[0]):
        if isinstance(value, str):
            parts.append(f"<{name}>{_cdata(value)}</{name}>")
        else:
            inner = "".join(f"<{key}>{_cdata(text)}</{key}>" for key, text in sorted(value.items()))
            parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)


def _template(release: Release, vm: Vm) -> tuple[str, str]:
    """TEMPLATE and USER_TEMPLATE (empty before 4.0)."""
    items: list[Item] = [item for item in vm.template if item[0] != "NAME"]
    mine = [item for item in items if item[0] in RESERVED or not release.user_template]
    users = [item for item in items if item not in mine]
    mine.append(("VMID", str(vm.id)))
    if not release.user_template:
        mine.append(("NAME", vm.name))
    user = f"<USER_TEMPLATE>{_attributes(users)}</USER_TEMPLATE>" if release.user_template else ""
    return f"<TEMPLATE>{_attributes(mine)}</TEMPLATE>", user


def _history(release: Release, vm: Vm, seq: int, host: Host, now: int) -> str:
    mad = "VM_MAD" if release.zlib_hosts else "VMMMAD"
    return (
        f"<HISTORY><OID>{vm.id}</OID><SEQ>{seq}</SEQ><HOSTNAME>{escape(host.name)}</HOSTNAME><HID>{host.id}</HID>"
        f"<STIME>{now}</STIME><ETIME>0</ETIME><{mad}>{_cdata(host.vm_mad)}</{mad}><DS_ID>0</DS_ID></HISTORY>"
    )


def _records(release: Release, vm: Vm, now: int) -> str:
    """The newest history record, which is all that a driver gets."""
    last = "" if vm.host is None else _history(release, vm, vm.seq, vm.host, now)
    return f"<HISTORY_RECORDS>{last}</HISTORY_RECORDS>"


def info_document(release: Release, vm: Vm, now: int) -> str:
    """``<VM>`` as one.vm.info answers: all history records, oldest first; 2.x has the newest alone, and less of it."""
    if release.hashed_passwords:
        template, _user = _template(release, vm)
        history = ""
        if vm.host is not None:
            history = (
                f"<HISTORY><SEQ>{vm.seq}</SEQ><HOSTNAME>{escape(vm.host.name)}</HOSTNAME><HID>{vm.host.id}</HID>"
                f"<STIME>{now}</STIME><ETIME>0</ETIME><REASON>0</REASON></HISTORY>"
            )
        return (
            f"<VM><ID>{vm.id}</ID><UID>0</UID><USERNAME>oneadmin</USERNAME><NAME>{escape(vm.name)}</NAME>"
            f"<LAST_POLL>0</LAST_POLL><STATE>{STATES.get(vm.state, 3)}</STATE><LCM_STATE>{LCM.get(vm.state, 0)}"
            f"</LCM_STATE><STIME>{now}</STIME><ETIME>0</ETIME><DEPLOY_ID>{vm.deploy_id}</DEPLOY_ID><MEMORY>0</MEMORY>"
            f"<CPU>0</CPU><NET_TX>0</NET_TX><NET_RX>0</NET_RX>{template}{history}</VM>"
        )
    records = "".join(_history(release, vm, seq, host, now) for seq, host in vm.records)
    return vm_document(release, vm, now).replace(
        _records(release, vm, now), f"<HISTORY_RECORDS>{records}</HISTORY_RECORDS>"
    )


def vm_document(release: Release, vm: Vm, now: int) -> str:
    """``<VM>`` as the payload and, from 4.0 on, the deployment file hold it."""
    state = STATES.get(vm.state, 3)
    lcm = LCM.get(vm.state, 0)
    template, user = _template(release, vm)
    monitoring = (
        "<MONITORING></MONITORING>"
        if release.boot_failure
        else "<MEMORY>0</MEMORY><CPU>0</CPU><NET_TX>0</NET_TX><NET_RX>0</NET_RX>"
    )
    return (
        f"<VM><ID>{vm.id}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME>"
        f"<NAME>{escape(vm.name)}</NAME><LAST_POLL>0</LAST_POLL><STATE>{state}</STATE><LCM_STATE>{lcm}</LCM_STATE>"
        f"<RESCHED>0</RESCHED><STIME>{now}</STIME><ETIME>0</ETIME><DEPLOY_ID>{vm.deploy_id}</DEPLOY_ID>{monitoring}"
        f"{template}{user}{_records(release, vm, now)}</VM>"
    )


def deployment_folder(release: Release, var: Path, vm: Vm) -> Path:
    return var / "vms" / str(vm.id) if release.vms_folder else var / str(vm.id)


def write_deployment_file(release: Release, var: Path, vm: Vm, now: int) -> Path:
    """``deployment.<seq>`` as TYPE="xml" writes it (opennebula-drivers 2.6); 2.0 empties it when a value contains ']]>'
    (opennebula-drivers 8.10)."""
    text = _template(release, vm)[0] if release.template_document else vm_document(release, vm, now)
    if release.vmm == "2.0-3.0" and text.count("]]>") != text.count("<![CDATA["):
        text = ""
    folder = deployment_folder(release, var, vm)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"deployment.{vm.seq}"
    path.write_text(text + "\n" if text else "", encoding="utf-8")
    return path


_FLAT = (
    "HOST NET_DRV MIGR_HOST MIGR_NET_DRV DEPLOY_ID LOCAL_DEPLOYMENT_FILE REMOTE_DEPLOYMENT_FILE CHECKPOINT_FILE "
    "TM_COMMAND TM_COMMAND_ROLLBACK DISK_TARGET_PATH SECURITY_GROUP_ID VIRTUAL_NETWORK_ID"
)


def _flat_names(release: Release) -> list[str]:
    version = tuple(int(part) for part in release.name.split(".")[:2])
    gone = {"NET_DRV", "MIGR_NET_DRV"} if version >= (5, 0) else set()
    gone |= {"TM_COMMAND", "DISK_TARGET_PATH"} if version < (3, 6) else set()
    gone |= {"TM_COMMAND_ROLLBACK"} if version < (4, 4) else set()
    return [name for name in _FLAT.split() if name not in gone]


def vmm_line(
    release: Release, action: str, vm: Vm, var: Path, now: int, extra: Mapping[str, str] | None = None
) -> bytes:
    """A request to the VMM driver; DEPLOY's file must have been written.

    :param extra: further flat elements of the payload, for example SECURITY_GROUP_ID
    """
    if action == "DRIVER_CANCEL":
        return f"DRIVER_CANCEL  {vm.id} ".encode() if release.vmm == "6.0-7.4" else f"DRIVER_CANCEL {vm.id}".encode()
    host = vm.host.name if vm.host else ""
    images = f"{var}//{vm.id}/images"
    checkpoint = f"{images}/checkpoint" if release.vmm == "2.0-3.0" else f"{var}//datastores/0/{vm.id}/checkpoint"
    if release.vmm == "2.0-3.0":
        tail = {
            "DEPLOY": f"{images}/deployment.{vm.seq} -",
            "SAVE": f"{vm.deploy_id} {checkpoint}",
            "RESTORE": f"{vm.deploy_id} {checkpoint}",
        }.get(action, f"{vm.deploy_id} -")
        return f"{action} {vm.id} {host} {tail}".encode()
    flat = {"HOST": host, "DEPLOY_ID": "" if action == "DEPLOY" else vm.deploy_id, **(extra or {})}
    if action == "DEPLOY":
        flat["LOCAL_DEPLOYMENT_FILE"] = str(deployment_folder(release, var, vm) / f"deployment.{vm.seq}")
        flat["REMOTE_DEPLOYMENT_FILE"] = f"{var}//datastores/0/{vm.id}/deployment.{vm.seq}"
    if action in ("SAVE", "RESTORE"):
        flat["CHECKPOINT_FILE"] = checkpoint
    if action == "CLEANUP":
        flat["TM_COMMAND"] = _cdata(f"DELETE dummy {host}:{var}//datastores/0/{vm.id} {vm.id} 0\n")
    optional = ("SECURITY_GROUP_ID", "VIRTUAL_NETWORK_ID")
    names = [name for name in _flat_names(release) if name not in optional or name in flat]
    body = "".join(f"<{name}>{flat[name]}</{name}>" if flat.get(name) else f"<{name}/>" for name in names)
    document = f"<VMM_DRIVER_ACTION_DATA>{body}{vm_document(release, vm, now)}</VMM_DRIVER_ACTION_DATA>"
    gap = "  " if release.vmm == "6.0-7.4" else " "
    return f"{action}{gap}{vm.id} ".encode() + base64.b64encode(document.encode("utf-8"))


PERIODS: Mapping[str, int] = {
    "BEACON_HOST": 30,
    "MONITOR_HOST": 2,
    "MONITOR_VM": 1,
    "STATE_VM": 1,
    "SYNC_STATE_VM": 2,
    "SYSTEM_HOST": 5,
}
"""seconds; short, so that tests are"""


def im_line(
    release: Release, action: str, host: Host, var: Path, periods: Mapping[str, int], interval: int, first: bool
) -> bytes:
    """A request to the IM driver. ``action``: MONITOR (START_MONITOR) or STOPMONITOR (STOP_MONITOR).

    :param first: the host was never monitored: its remotes are to be updated
    """
    if release.im == "5.12-7.4":
        verb = {"MONITOR": "START_MONITOR", "STOPMONITOR": "STOP_MONITOR"}[action]
        packed = base64.b64encode(zlib.compress(_monitor_document(release, host, var, periods, interval).encode()))
        return f"{verb} - {host.id} 0 ".encode() + packed
    if action == "STOPMONITOR":
        return f"STOPMONITOR {host.id} {host.name} ".encode()
    datastores = f" {var}//datastores" if release.im == "4.4-5.10" else ""
    return f"MONITOR {host.id} {host.name}{datastores} {int(first)}".encode()


def _monitor_document(release: Release, host: Host, var: Path, periods: Mapping[str, int], interval: int) -> str:
    probes = "".join(f"<{name}>{_cdata(str(seconds))}</{name}>" for name, seconds in sorted(periods.items()))
    return (
        f"<MONITOR_DRIVER_ACTION><HOST><ID>{host.id}</ID><NAME>{escape(host.name)}</NAME><STATE>{host.number}</STATE>"
        f"<PREV_STATE>0</PREV_STATE><IM_MAD>{_cdata(host.im_mad)}</IM_MAD><VM_MAD>{_cdata('vmm_eh')}</VM_MAD>"
        "<CLUSTER_ID>0</CLUSTER_ID><CLUSTER>default</CLUSTER></HOST><MONITOR_CONFIGURATION>"
        f"<DATASTORE_LOCATION>{_cdata(f'{var}//datastores')}</DATASTORE_LOCATION>"
        f"<MANAGER_TIMER>{_cdata('15')}</MANAGER_TIMER>"
        f"<MONITORING_INTERVAL_HOST>{_cdata(str(interval))}</MONITORING_INTERVAL_HOST>"
        f"<NETWORK><ADDRESS>{_cdata('0.0.0.0')}</ADDRESS><PORT>{_cdata('4124')}</PORT>"
        f"<PRIKEY>{_cdata('')}</PRIKEY><PUBKEY>{_cdata('')}</PUBKEY></NETWORK>"
        f"<PROBES_PERIOD>{probes}</PROBES_PERIOD></MONITOR_CONFIGURATION></MONITOR_DRIVER_ACTION>"
    )
