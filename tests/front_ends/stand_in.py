# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for a program of OpenNebula: knows its words in each release, remembers, refuses as the real one does.

    stand_in.py PROGRAM FOLDER WORD...

FOLDER holds state.json, and calls.jsonl, where every call is noted. A start reads the configuration with a reader of
its own and starts the ElasticHosts drivers that it finds there: one that does not answer INIT keeps OpenNebula down.

The programs in Ruby load as the real ones do: those of a self-contained installation need ONE_LOCATION, from 7.0 on
also RUBYLIB. What does not load says so in its first line, and ends with a backtrace; so does a start.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]
TOKEN = re.compile(r'\s+|#[^\n]*\n?|"((?:[^"\\]|\\.)*)"|([A-Za-z0-9_./:-]+)|([=\[\],])')


class Refused(Exception):
    """What the program says on standard error before it ends with 255."""


def number(release: str) -> tuple[int, int]:
    parts = release.split(".")
    return int(parts[0]), int(parts[1])


# --- the configuration, read as simply as it can be -------------------------------------------------------------------


def vectors(text: str) -> list[tuple[str, dict[str, str]]]:
    """All NAME = [ ... ] of a file."""
    words: list[str] = []
    for found in TOKEN.finditer(text):  # what is none of its kinds is skipped, as the core does it
        word = found.group(1) if found.group(1) is not None else found.group(2) or found.group(3)
        if word is not None:
            words.append(word)
    result: list[tuple[str, dict[str, str]]] = []
    for index in range(len(words) - 2):
        if words[index + 1 : index + 3] == ["=", "["]:
            inside = words[index + 3 : words.index("]", index)]
            pairs = [pair for pair in " \0".join(inside).split(" \0, \0") if pair]
            split = [pair.split(" \0= \0", 1) for pair in pairs]
            result.append((words[index].upper(), {pair[0].upper(): pair[1] if len(pair) > 1 else "" for pair in split}))
    return result


def load(state: State) -> None:
    """What oned does when it starts: its drivers, and the transfer drivers that it lets datastores have."""
    import subprocess

    etc, mads = Path(state["folders"]["etc"]), Path(state["folders"]["mads"])
    sections = vectors((etc / "oned.conf").read_text())
    release = number(state["release"])
    if release >= (5, 12):
        sections += vectors((etc / "monitord.conf").read_text())
    loaded = []
    for kind, section in sections:
        program = mads / section.get("EXECUTABLE", "")
        if kind not in ("IM_MAD", "VM_MAD") or not program.name.endswith("_eh"):
            continue
        environment = {**os.environ, **({"ONE_LOCATION": state["one_location"]} if state["one_location"] else {})}
        owner = Path(state["folders"]["var"]).stat()
        become = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 != owner.st_uid else {}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([str(program)], env=environment, **pipes, **become) as driver:
            driver.stdin.write(b"INIT\n")
            driver.stdin.flush()
            said = driver.stdout.readline()
            driver.kill()
        if said != b"INIT SUCCESS\n":
            state["running"] = False
            raise Refused("Could not load an OpenNebula driver")
        if section["NAME"] in loaded:
            raise Refused(f"driver {section['NAME']} is there twice")
        loaded.append(section["NAME"])
    state["loaded"] = loaded
    write_dump(state, sections)
    lists = [section["ARGUMENTS"] for kind, section in sections if kind == "TM_MAD" and "NAME" not in section]
    listed = re.findall(r"-d (\S+)", lists[0])[0].split(",") if lists else []
    configured = {section["NAME"] for kind, section in sections if kind == "TM_MAD_CONF"}
    state["transfer"] = [name for name in listed if release < (4, 4) or name in configured]
    state["named_transfer"] = [section["NAME"] for kind, section in sections if kind == "TM_MAD" and "NAME" in section]


def write_dump(state: State, sections: list[tuple[str, dict[str, str]]]) -> None:
    """The core writes its configuration to VAR/config whenever it starts."""
    lines = [f"{kind}=" + ",".join(f"{key}={value}" for key, value in section.items()) for kind, section in sections]
    old = number(state["release"]) < (4, 0)
    lines.append("HOST_MONITORING_INTERVAL=600" if old else "MONITORING_INTERVAL=60")
    Path(state["folders"]["var"], "config").write_text("\n".join(lines) + "\n")


# --- Ruby -------------------------------------------------------------------------------------------------------------

IN_RUBY = ("onehost", "onecluster", "onedatastore", "onevm")


def loading_error(state: State, program: str, words: list[str]) -> str:
    """What Ruby says when it cannot load a program, or what a start needs; empty where it can."""
    if program not in IN_RUBY and (program, words) != ("one", ["start"]):
        return ""
    root, missing = state["one_location"], state.get("missing_gem", "")
    if root and os.environ.get("ONE_LOCATION") != root:
        missing = "command_parser"
    elif root and number(state["release"]) >= (7, 0):
        found = f"{root}/lib/ruby" in os.environ.get("RUBYLIB", "").split(os.pathsep)
        missing = missing if found else "load_opennebula_paths"
    if not missing:
        return ""
    require = "/usr/lib/ruby/vendor_ruby/rubygems/core_ext/kernel_require.rb:86:in 'require'"
    place = f"{root}/bin" if root else "/usr/bin"
    main = f"{place}/{'onehem-server' if program == 'one' else program}:32:in '<main>'"
    return f"{require}: cannot load such file -- {missing} (LoadError)\n\tfrom {require}\n\tfrom {main}\n"


# --- the command line -------------------------------------------------------------------------------------------------


def options(words: list[str], known: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Arguments and options with a value, of a command line that knows these and no other."""
    arguments, found = [], {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            if word not in known or not rest:
                raise Refused(f"invalid option: {word}")
            found[known[word]] = rest.pop(0)
        else:
            arguments.append(word)
    return arguments, found


def by_name(items: list[State], what: str, name: str) -> State:
    item = next((one for one in items if one["name"] == name or str(one["id"]) == name), None)
    if item is None:
        raise Refused(f"{what} named {name} not found.")
    return item


def new_id(state: State) -> int:
    state["next"] += 1
    return int(state["next"])


def onehost(state: State, words: list[str]) -> str:
    command, rest = words[0], words[1:]
    if command == "create":
        return create_host(state, rest)
    if command == "list":
        return list_hosts(state, rest)
    if command == "show":
        if rest[:1] != ["-x"]:
            raise Refused("only -x is known here")
        return host_xml(state, by_name(state["hosts"], "HOST", rest[1]))
    if command == "delete":
        host = by_name(state["hosts"], "HOST", rest[0])
        if host["vms"]:
            raise Refused(f"[HostDelete] Can not remove a host with running VMs {host['id']}.")
        state["hosts"].remove(host)
        for cluster in state["clusters"]:
            cluster["hosts"] = [member for member in cluster["hosts"] if member != host["id"]]
        return ""
    raise Refused(f"onehost knows no {command}")


def create_host(state: State, words: list[str]) -> str:
    release = number(state["release"])
    drivers = {"-i": "im", "--im": "im", "-v": "vm", "--vm": "vm"}
    if release < (3, 4):
        wanted = ["name", "im", "vm", "tm"] if release < (3, 2) else ["name", "im", "vm", "tm", "vnm"]
        if len(words) != len(wanted):
            raise Refused("Command create requires other parameters to run.")
        given = dict(zip(wanted, words))
        if given["tm"] not in state.get("named_transfer", []):
            raise Refused(f"Transfer driver {given['tm']} not available")
    else:
        known = {**drivers, "-c": "cluster", "--cluster": "cluster"}
        if release < (5, 0):
            known.update({"-n": "vnm", "--net": "vnm"})
        arguments, given = options(words, known)
        needed = {"im", "vm"} | ({"vnm"} if release < (5, 0) else set())
        if len(arguments) != 1 or not needed <= set(given):
            raise Refused("Drivers are mandatory to create a host")
        given["name"] = arguments[0]
    if any(host["name"] == given["name"] for host in state["hosts"]):
        raise Refused(f"[HostAllocate] NAME is already taken by HOST {given['name']}.")
    cluster = by_name(state["clusters"], "CLUSTER", given["cluster"]) if "cluster" in given else None
    host = {"id": new_id(state), "name": given["name"], "im": given["im"], "vm": given["vm"], "vms": 0}
    state["hosts"].append(host)
    if cluster is None and state["clusters"] and release >= (5, 0):
        cluster = state["clusters"][0]
    if cluster is not None:
        cluster["hosts"].append(host["id"])
    return f"ID: {host['id']}\n"


def host_state(state: State, host: State) -> int:
    return 2 if {host["im"], host["vm"]} <= {*state["loaded"], "im_kvm", "vmm_kvm", "kvm"} else 0


def host_xml(state: State, host: State) -> str:
    return (
        f"<HOST><ID>{host['id']}</ID><NAME>{host['name']}</NAME><STATE>{host_state(state, host)}</STATE>"
        f"<IM_MAD><![CDATA[{host['im']}]]></IM_MAD><VM_MAD><![CDATA[{host['vm']}]]></VM_MAD>"
        f"<HOST_SHARE><RUNNING_VMS>{host['vms']}</RUNNING_VMS></HOST_SHARE><TEMPLATE/></HOST>"
    )


def list_hosts(state: State, words: list[str]) -> str:
    if words == ["-x"] and not state.get("tables_only"):
        return "<HOST_POOL>" + "".join(host_xml(state, host) for host in state["hosts"]) + "</HOST_POOL>\n"
    if words:
        raise Refused(f"invalid option: {words[0]}")
    lines = ["  ID NAME                      CLUSTER  RVM   TCPU   FCPU   ACPU    TMEM    FMEM STAT"]
    for host in state["hosts"]:
        shown = "on" if host_state(state, host) == 2 else "off"
        lines.append(
            f"{host['id']:4} {host['name']:25} default {host['vms']:4}    200    200    200      2G      2G {shown:>4}"
        )
    return "\n".join(lines) + "\n"


MEMBERS = ("hosts", "datastores", "vnets")


def cluster_xml(cluster: State) -> str:
    members = "".join(
        f"<{kind.upper()}>" + "".join(f"<ID>{member}</ID>" for member in cluster.get(kind, [])) + f"</{kind.upper()}>"
        for kind in MEMBERS
    )
    template = cluster.get("template", "<TEMPLATE></TEMPLATE>")
    return f"<CLUSTER><ID>{cluster['id']}</ID><NAME>{cluster['name']}</NAME>{members}{template}</CLUSTER>"


def template_of(text: str) -> str:
    """The XML of a template that is given as XML or as lines; without an attribute the lines are no template."""
    if text.startswith("<"):
        return text.strip()
    pairs = re.findall(r'^(\w+)\s*=\s*"(.*)"$', text, re.MULTILINE)
    if not pairs:
        raise Refused("[ClusterUpdateTemplate] Cannot update template. Parse error: syntax error, unexpected $end.")
    return "<TEMPLATE>" + "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in pairs) + "</TEMPLATE>"


def onecluster(state: State, words: list[str]) -> str:
    command, rest = words[0], words[1:]
    clusters = state["clusters"]
    if command == "list" and rest == ["-x"]:
        return f"<CLUSTER_POOL>{''.join(map(cluster_xml, clusters))}</CLUSTER_POOL>\n"
    if command == "create":
        clusters.append({"id": new_id(state), "name": rest[0], "hosts": [], "datastores": [], "vnets": []})
        return f"ID: {clusters[-1]['id']}\n"
    cluster = by_name(clusters, "CLUSTER", rest[0])
    if command == "addhost":
        host = by_name(state["hosts"], "HOST", rest[1])["id"]
        for one in clusters:
            one["hosts"] = [member for member in one["hosts"] if member != host]
        cluster["hosts"].append(host)
        return ""
    if command == "adddatastore":
        cluster["datastores"].append(by_name(state["datastores"], "DATASTORE", rest[1])["id"])
        return ""
    if command == "update":
        # What is not in the file is gone.
        cluster["template"] = template_of(Path(rest[1]).read_text())
        return ""
    if command == "delete":
        members = [f"{len(cluster[kind])} {kind}" for kind in MEMBERS if cluster.get(kind)]
        if members:
            raise Refused(f"[ClusterDelete] Cannot delete cluster. Cluster is not empty, it contains {members[0]}.")
        clusters.remove(cluster)
        return ""
    raise Refused(f"onecluster knows no {command}")


def onedatastore(state: State, words: list[str]) -> str:
    command, rest = words[0], words[1:]
    datastores = state["datastores"]
    if command == "list" and rest == ["-x"]:
        parts = [
            f"<DATASTORE><ID>{one['id']}</ID><NAME>{one['name']}</NAME><TM_MAD>{one['tm']}</TM_MAD></DATASTORE>"
            for one in datastores
        ]
        return f"<DATASTORE_POOL>{''.join(parts)}</DATASTORE_POOL>\n"
    if command == "create":
        arguments, given = options(rest, {"-c": "cluster", "--cluster": "cluster"})
        template = dict(re.findall(r'^(\w+)\s*=\s*"(.*)"$', Path(arguments[0]).read_text(), re.MULTILINE))
        system = ("SYSTEM", "YES") if number(state["release"]) < (4, 0) else ("TYPE", "SYSTEM_DS")
        if template.get(system[0]) != system[1]:
            raise Refused("[DatastoreAllocate] No DS_MAD in template.")
        if template["TM_MAD"] not in state["transfer"]:
            raise Refused(f'[DatastoreAllocate] TM_MAD named "{template["TM_MAD"]}" is not defined in oned.conf.')
        datastores.append({"id": new_id(state), "name": template["NAME"], "tm": template["TM_MAD"]})
        cluster = (
            by_name(state["clusters"], "CLUSTER", given["cluster"]) if "cluster" in given else state["clusters"][0]
        )
        cluster["datastores"].append(datastores[-1]["id"])
        return f"ID: {datastores[-1]['id']}\n"
    if command == "delete":
        datastore = by_name(datastores, "DATASTORE", rest[0])
        datastores.remove(datastore)
        for cluster in state["clusters"]:
            cluster["datastores"] = [member for member in cluster["datastores"] if member != datastore["id"]]
        return ""
    raise Refused(f"onedatastore knows no {command}")


def onevm(state: State, words: list[str]) -> str:
    command, rest = words[0], words[1:]
    vms = state.setdefault("virtual_machines", {})
    number_ = rest[-1] if command == "show" else rest[0]
    if number_ not in vms:
        noun = "VM" if number(state["release"]) < (3, 0) else "virtual machine"
        raise Refused(f"[VirtualMachineInfo] Error getting {noun} [{number_}].")
    vm = vms[number_]
    if command == "deploy":
        vm.update(state=3, datastore=system_datastore(state, by_name(state["hosts"], "HOST", rest[1])))
        return ""
    if command == "show" and rest[0] == "-x":
        history = ""
        if "datastore" in vm:
            found = by_name(state["datastores"], "DATASTORE", vm["datastore"])
            history = f"<HISTORY><DS_ID>{found['id']}</DS_ID><TM_MAD>{found['tm']}</TM_MAD></HISTORY>"
        records = f"<HISTORY_RECORDS>{history}</HISTORY_RECORDS>"
        return f"<VM><ID>{number_}</ID><STATE>{vm['state']}</STATE>{records}</VM>\n"
    raise Refused(f"onevm knows no {command}")


def system_datastore(state: State, host: State) -> str:
    """Where a VM on this host has its disks: 3.4 knows one place, 3.6 and 3.8 what the template of the cluster names,
    later releases what is in the cluster."""
    release = number(state["release"])
    cluster = next((one for one in state["clusters"] if host["id"] in one["hosts"]), None)
    if cluster is None or release < (3, 6):
        return "0"
    if release < (4, 0):
        named = re.search(r"<SYSTEM_DS>(?:<!\[CDATA\[)?(\d+)", cluster.get("template", ""))
        return named.group(1) if named else "0"
    return str(cluster["datastores"][0]) if cluster["datastores"] else "0"


# --- starting and stopping --------------------------------------------------------------------------------------------


def pid_file(state: State) -> Path:
    return Path(state["folders"]["var"], "oned.pid") if state["one_location"] else Path("/run/one/oned.pid")


def one(state: State, words: list[str]) -> str:
    if words == ["stop"]:
        if state.get("stop_fails"):
            raise Refused("oned still running, not stopping")
        state["running"] = False
        pid_file(state).unlink(missing_ok=True)
        return ""
    if words == ["start"]:
        if state["running"] and pid_file(state).exists():
            raise Refused("oned already running.")
        if state.get("failing_starts", 0) > 0:
            state["failing_starts"] -= 1
            raise Refused("oned failed to start")
        load(state)
        state["running"] = True
        pid_file(state).write_text("1\n")
        return ""
    raise Refused("Usage: one {start|stop}")


def systemctl(state: State, words: list[str]) -> str:
    units = {"opennebula", *(["opennebula-scheduler"] if number(state["release"]) < (7, 0) else [])}
    if words[0] == "is-active" and words[-1] in units:
        if not state["running"]:
            sys.exit(3)
        return ""
    if words[0] in ("start", "restart") and words[1] in units:
        if words == ["restart", "opennebula"]:
            one(state, ["stop"])
        if words[1] == "opennebula":
            one(state, ["start"])
        return ""
    raise Refused(f"Unit {words[-1]}.service not found.")


def init_script(state: State, words: list[str]) -> str:
    """/etc/init.d/opennebula of the packages, which calls the script one."""
    if words == ["status"]:
        if not state["running"]:
            print("one is not running")
            sys.exit(3)
        return "one is running\n"
    if words == ["restart"]:
        one(state, ["stop"])
    if words in (["start"], ["restart"]):
        return one(state, ["start"])
    raise Refused("Usage: /etc/init.d/opennebula {start|stop|restart|status}")


def oned(state: State, words: list[str]) -> str:
    if words != ["-v"]:
        raise Refused("usage: oned [-h] [-v] [-f]")
    release = state["release"]
    if number(release) >= (6, 0):
        return f"OpenNebula {release} (1234abcd)\nCopyright 2002-2024, OpenNebula Project, OpenNebula Systems\n"
    return (
        "Copyright 2002-2019, OpenNebula Project, OpenNebula Systems\n\n"
        f"OpenNebula {release} is distributed and licensed for use under the terms of the\nApache License\n"
    )


PROGRAMS = {
    "oned": oned,
    "one": one,
    "systemctl": systemctl,
    "opennebula": init_script,
    "onehost": onehost,
    "onecluster": onecluster,
    "onedatastore": onedatastore,
    "onevm": onevm,
}


def main() -> NoReturn:
    program, folder, words = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    os.umask(0)  # root and the user of OpenNebula both write here
    with (folder / "calls.jsonl").open("a") as file:
        file.write(json.dumps({"argv": [program, *words], "user": os.geteuid(), "home": os.environ.get("HOME")}) + "\n")
    path = folder / "state.json"
    state = json.loads(path.read_text())
    unloaded = loading_error(state, program, words)
    if unloaded:
        sys.stderr.write(unloaded)
        sys.exit(1)
    try:
        if program in IN_RUBY and not state["running"]:
            raise Refused("Connection refused - connect(2) for localhost port 2633")
        print(PROGRAMS[program](state, words), end="")
    except Refused as refusal:
        path.write_text(json.dumps(state))
        print(refusal, file=sys.stderr)
        sys.exit(255)
    path.write_text(json.dumps(state))
    sys.exit(0)


if __name__ == "__main__":
    main()
