# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mad
short_description: Set or remove driver sections of C(oned.conf) or C(monitord.conf)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Sets or removes one driver section, such as C(VM_MAD = [ NAME = "vmm_eh", ... ]), in a file of OpenNebula.
  - The file is read by its grammar, not by lines. A file that the core could not read is refused, with line and column.
  - Every byte outside the section stays as it is. A section that stands already, in whatever spelling, is edited in
    place; a missing one is appended to the file.
  - Every edit has its inverse. Removing what this module did gives the file back byte for byte.
  - The file is replaced atomically; its owner and mode are kept. A symbolic link is followed.
  - Several edits, of one file or of several, are all decided before the first file is replaced. If one of them cannot
    be made, no file is changed.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff shows the section only, because other sections of the file may hold passwords.
  idempotent:
    support: full
requirements:
  - python >= 3.9
options:
  path:
    description:
      - The configuration file, for example V(/etc/one/oned.conf). It has to exist, unless nothing is to be in it.
      - It can be left out where each of O(edits) names its own.
    type: path
  kind:
    description:
      - The kind of the section, in upper or lower case, for example V(IM_MAD), V(VM_MAD), V(TM_MAD), V(TM_MAD_CONF).
      - With O(value) the name of a single attribute, for example V(MAX_HOST).
    type: str
  name:
    description:
      - The C(NAME) of the section.
      - Without it the section is the only one of its kind that has none, such as C(DATASTORE_MAD), and O(words) say
        what to change.
    type: str
  attributes:
    description:
      - The other attributes of the section, in the order in which they are to be written.
      - A value of V(null) takes the attribute out. V(true) and V(false) are written C(yes) and C(no).
    type: dict
    default: {}
  exclusive:
    description: Whether attributes that stand in the section, but not in O(attributes), are taken out.
    type: bool
    default: false
  words:
    description:
      - Words of lists that stand behind an option within an attribute, by attribute and option, for example
        C(ARGUMENTS) and C(-d) with the word C(eh) for C(-t 15 -d dummy,shared).
      - Words are added to the list, or taken out of it with O(state=absent). An option that is not there is left out,
        because without it OpenNebula's drivers take all that they find.
    type: dict
    default: {}
  stock:
    description:
      - Whether the section is one of OpenNebula's own. It is left as it is where it stands. Where it stands as a
        comment, it is switched on; only where there is no such comment is it written with O(attributes).
      - A comment line above it says that, so that O(state=absent) takes back what was done, and nothing else.
    type: bool
    default: false
  value:
    description:
      - The value for a single attribute. A comment line above it keeps the value that was there before, for
        O(state=absent) to bring back.
    type: str
  least:
    description: Whether a larger number than O(value) is left as it is.
    type: bool
    default: false
  state:
    description: Whether the section, the words or the value are to be there.
    type: str
    choices: [present, absent]
    default: present
  edits:
    description:
      - Several edits. In each of them an option means what the option of the same name outside of this list means.
      - Each file is replaced once.
    type: list
    elements: dict
    suboptions:
      path:
        description: The file, if it is not O(path).
        type: path
      kind:
        description: As O(kind).
        type: str
        required: true
      name:
        description: As O(name).
        type: str
      attributes:
        description: As O(attributes).
        type: dict
        default: {}
      exclusive:
        description: As O(exclusive).
        type: bool
        default: false
      words:
        description: As O(words).
        type: dict
        default: {}
      stock:
        description: As O(stock).
        type: bool
        default: false
      value:
        description: As O(value).
        type: str
      least:
        description: As O(least).
        type: bool
        default: false
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
  backup:
    description: Whether to keep a copy of the file, with the time in its name, before it is changed.
    type: bool
    default: false
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: The VM driver, as OpenNebula 2.0 wants it
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    kind: VM_MAD
    name: vmm_eh
    attributes:
      executable: one_vmm_eh
      type: xml
    backup: true

- name: The monitoring driver of OpenNebula 5.12 and later
  opennebula.elastichosts.mad:
    path: /etc/one/monitord.conf
    kind: IM_MAD
    name: im_eh
    attributes:
      SUNSTONE_NAME: ElasticHosts
      EXECUTABLE: one_im_eh
      THREADS: 0

- name: The stock transfer driver of OpenNebula 2.0 that does nothing, and one of our own in the lists of a later one
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    edits:
      - kind: TM_MAD
        name: tm_dummy
        stock: true
        attributes:
          executable: one_tm
          arguments: tm_dummy/tm_dummy.conf
      - kind: DATASTORE_MAD
        words:
          ARGUMENTS:
            -s: [eh]

- name: Both drivers of OpenNebula 6.10, in both files or in none
  opennebula.elastichosts.mad:
    edits:
      - path: /etc/one/oned.conf
        kind: VM_MAD
        name: vmm_eh
        attributes:
          EXECUTABLE: one_vmm_eh
          TYPE: xml
      - path: /etc/one/monitord.conf
        kind: IM_MAD
        name: im_eh
        attributes:
          EXECUTABLE: one_im_eh

- name: More than one VM for a host in each round of the scheduler
  opennebula.elastichosts.mad:
    path: /etc/one/sched.conf
    kind: MAX_HOST
    value: "30"

- name: No ElasticHosts driver any more
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    kind: VM_MAD
    name: vmm_eh
    state: absent
"""

RETURN = r"""
path:
  description: The file, with symbolic links followed.
  returned: when it is one file
  type: str
  sample: /etc/one/oned.conf
changed_files:
  description: The files that were changed, with symbolic links followed.
  returned: success
  type: list
  elements: str
  sample: [/etc/one/oned.conf, /etc/one/monitord.conf]
section:
  description: The attributes of the section as the core reads them, empty when there is none.
  returned: without O(edits)
  type: dict
  sample: {NAME: vmm_eh, EXECUTABLE: one_vmm_eh, TYPE: xml}
changed_edits:
  description: The edits that were needed, by kind and name.
  returned: success
  type: list
  elements: str
  sample: [VM_MAD vmm_eh, TM_MAD]
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup) is set and one file was changed
  type: str
  sample: /etc/one/oned.conf.12345.2026-11-22@10:00:00~
backup_files:
  description: The copies of all changed files.
  returned: when O(backup) is set and a file was changed
  type: list
  elements: str
  sample: [/etc/one/oned.conf.12345.2026-11-22@10:00:00~]
"""

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.atomic_files import advice, beside, broken_off, check_kind, replace
from ..module_utils.opennebula import conf
from ..module_utils.opennebula.conf_edits import Edit, apply, only, shown

EDIT = {
    "name": {"type": "str"},
    "attributes": {"type": "dict", "default": {}},
    "exclusive": {"type": "bool", "default": False},
    "words": {"type": "dict", "default": {}},
    "stock": {"type": "bool", "default": False},
    "value": {"type": "str"},
    "least": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS = {
    "path": {"type": "path"},
    "kind": {"type": "str"},
    **EDIT,
    "edits": {
        "type": "list",
        "elements": "dict",
        "options": {"path": {"type": "path"}, "kind": {"type": "str", "required": True}, **EDIT},
    },
    "backup": {"type": "bool", "default": False},
}


def written(attributes: Mapping[str, Any]) -> Dict[str, Optional[str]]:
    """Values of a play as values of the file. Raises ConfError for lists and dictionaries."""
    result: Dict[str, Optional[str]] = {}
    for key, value in attributes.items():
        if isinstance(value, (list, tuple, dict)):
            raise conf.ConfError(f"the attribute {key} has to be a text or a number, not a {type(value).__name__}")
        if isinstance(value, bool):
            value = "yes" if value else "no"
        result[str(key)] = None if value is None else str(value)
    return result


def word_lists(words: Mapping[str, Any]) -> Dict[str, Dict[str, Sequence[str]]]:
    """Raises ConfError when they are not lists of words by option by attribute."""
    lists: Dict[str, Dict[str, Sequence[str]]] = {}
    for attribute, options in words.items():
        if not isinstance(options, dict) or not all(isinstance(listed, list) for listed in options.values()):
            raise conf.ConfError(f"the words of {attribute} have to be lists by option, for example -d: [eh]")
        lists[attribute] = {option: [str(word) for word in listed] for option, listed in options.items()}
    return lists


def edit_of(params: Mapping[str, Any]) -> Edit:
    return Edit(
        kind=params["kind"],
        name=params["name"],
        attributes=written(params["attributes"]),
        exclusive=params["exclusive"],
        words=word_lists(params["words"]),
        stock=params["stock"],
        value=params["value"],
        least=params["least"],
        present=params["state"] == "present",
    )


class Plan(NamedTuple):
    """One file as it is and as it is to be."""

    path: str
    before: conf.Document
    after: conf.Document
    edits: Tuple[Edit, ...]
    needed: Tuple[Edit, ...]
    """of the edits those that change something"""

    @property
    def is_change(self) -> bool:
        return self.after.text != self.before.text

    def diff(self) -> Dict[str, str]:
        header = f"{self.path} ({', '.join(edit.label for edit in self.needed or self.edits)})"
        texts = ["".join(shown(document, edit) for edit in self.needed) for document in (self.before, self.after)]
        return {"before_header": header, "after_header": header, "before": texts[0], "after": texts[1]}


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Every problem with a file names it."""
    try:
        yield
    except conf.ConfError as problem:
        raise conf.ConfError(f"{path}: {problem}") from None
    except OSError as problem:
        what_to_do = advice(problem).rstrip(".")
        raise conf.ConfError(f"{path}: it cannot be written: {problem.strerror}. {what_to_do}") from None


def read(path: str) -> str:
    """The file as text. Raises ConfError with a sentence when it cannot be read."""
    try:
        check_kind(Path(path))
        return conf.decode(Path(path).read_bytes())
    except OSError as problem:
        raise conf.ConfError(f"the file cannot be read: {problem.strerror}") from None


def check_writable(path: str) -> None:
    """Raises ConfError when the file could not be replaced; asked before a change, in check mode too."""
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise conf.ConfError(
            f"the folder {folder} is not writable for this user: run the task as the owner of the folder (become)"
        )
    # Another user than root may replace what is not theirs to write, where the folder is theirs.
    if os.geteuid() == 0 and Path(path).exists() and not os.access(path, os.W_OK):
        raise conf.ConfError("it is immutable, so that root cannot replace it: see lsattr, and chattr -i")


def plan(path: str, edits: Sequence[Edit]) -> Plan:
    """What the edits make of a file. Raises ConfError, with the file in it, when one of them cannot be made."""
    with named(path):
        absent = not os.path.lexists(path) and not any(edit.present for edit in edits)
        before = conf.parse("" if absent else read(path))
        text, needed = before.text, []
        for edit in edits:
            previous, text = text, apply(text, edit)
            if text != previous:
                needed.append(edit)
        after = conf.parse(text)
        if text != before.text:
            check_writable(path)
    return Plan(path, before, after, tuple(edits), tuple(needed))


def save(module: AnsibleModule, plans: Sequence[Plan]) -> List[str]:
    """Replace files, each in one step and none before all new ones are written. Returns the paths of the backups.

    Raises ConfError when one of them cannot be replaced. Those that were replaced before it are as they were again.
    """
    with contextlib.ExitStack() as leftovers:
        # A disk that is full is noticed before anything is changed.
        new = [written_beside(one.path, one.after.text, leftovers) for one in plans]
        old = [written_beside(one.path, one.before.text, leftovers) for one in plans[:-1]]
        backups = [module.backup_local(one.path) for one in plans] if module.params["backup"] else []
        replaced: List[Tuple[str, str]] = []
        for index, one in enumerate(plans):
            try:
                with named(one.path):
                    replace(module, new[index], one.path)
            except conf.ConfError:
                for path, temporary in replaced:
                    replace(module, temporary, path)
                raise
            replaced += [(one.path, temporary) for temporary in old[index : index + 1]]
    return backups


def written_beside(path: str, text: str, leftovers: contextlib.ExitStack) -> str:
    with named(path):
        return leftovers.enter_context(beside(Path(path), conf.encode(text)))


def wishes(params: Mapping[str, Any]) -> Dict[str, List[Edit]]:
    """All edits by file, in the order in which they are given. Raises ConfError for an edit without a file."""
    found: Dict[str, List[Edit]] = {}
    for one in params["edits"] if params["edits"] is not None else [params]:
        path = one.get("path") or params["path"]
        if not path:
            raise conf.ConfError(f"the edit of {one['kind']} has no path: name its file")
        with named(path):
            found.setdefault(os.path.realpath(path), []).append(edit_of(one))
    return found


def run(module: AnsibleModule) -> Dict[str, Any]:
    plans = [plan(path, edits) for path, edits in wishes(module.params).items()]
    changes = [one for one in plans if one.is_change]
    result: Dict[str, Any] = {
        "changed": bool(changes),
        "changed_files": [one.path for one in changes],
        "changed_edits": [edit.label for one in plans for edit in one.needed],
        "diff": [one.diff() for one in changes],
    }
    if len(plans) == 1:
        result.update(path=plans[0].path, diff=plans[0].diff())
    if module.params["edits"] is None:
        edit = plans[0].edits[0]
        section = None if edit.value is not None else only(plans[0].after, edit)
        result["section"] = section.mapping() if section else {}
    backups = [] if module.check_mode else save(module, changes)
    if not module.check_mode:
        for left in broken_off(Path(one.path) for one in plans):
            left.unlink(missing_ok=True)
    if backups:
        result["backup_files"] = backups
    if len(backups) == 1:
        result["backup_file"] = backups[0]
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_one_of=[("kind", "edits"), ("path", "edits")],
        mutually_exclusive=[("kind", "edits"), ("name", "value")],
    )
    try:
        result = run(module)
    except conf.ConfError as problem:
        module.fail_json(msg=f"{problem}. No configuration file was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
