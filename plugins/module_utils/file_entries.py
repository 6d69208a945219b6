# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders as they have to be: what of them is wrong, the diff, and each put right in one step.

What the modules driver_files and program_files have in common; mad replaces its files so as well.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ansible.module_utils.basic import AnsibleModule

_NO_ROOM = "Make room and run the task again: it goes on from there."
_NO_RIGHT = "Run the task as the owner of the folder or as root (become), and see that it is not immutable (lsattr)."
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _NO_RIGHT),
    errno.EROFS: "Mount its file system writable and run the task again.",
    errno.EBUSY: "It is a mount of its own, as in a container, so no other file can take its place: unmount it first.",
}
_SECRET_LINE = re.compile(r"^([ \t]*(?:export[ \t]+)?EHAUTH=).+$", re.MULTILINE)

_PLACE = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0755"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}
# Suboptions of a file or, without content, a folder.
FILE = {**_PLACE, "content": {"type": "str"}}
# Suboptions of a folder that holds plain files and nothing else.
TREE = {**_PLACE, "files": {"type": "dict", "required": True}}


class Entry(NamedTuple):
    """A file or (content None) a folder as it has to be."""

    path: Path
    content: Optional[bytes]
    mode: str
    owner: Optional[str]
    group: Optional[str]

    @property
    def is_right(self) -> bool:
        if self.content is None:
            return self.path.is_dir()
        return self.path.is_file() and self.path.read_bytes() == self.content

    def diff(self) -> Dict[str, str]:
        now = self.path.read_bytes() if self.path.is_file() else b""
        texts = [content.decode("utf-8", "replace") for content in (now, self.content or b"")]
        before, after = (_SECRET_LINE.sub(r"\1(hidden)", text) for text in texts)
        if before == after and now != self.content:
            after += "(a line that is hidden changes)\n"
        return {"before_header": str(self.path), "after_header": str(self.path), "before": before, "after": after}


def entry_of(file: Mapping[str, Any], text: Optional[str]) -> Entry:
    """What the suboptions FILE ask for, with ``text`` in it; None is a folder."""
    content = None if text is None else text.encode("utf-8", "surrogateescape")
    return Entry(Path(file["path"]), content, file["mode"], file["owner"], file["group"])


def tree_entries(tree: Mapping[str, Any]) -> List[Entry]:
    """The folder of a tree and its files."""
    folder, owner, group = Path(tree["path"]), tree["owner"], tree["group"]
    contents = {name: str(content).encode("utf-8", "surrogateescape") for name, content in tree["files"].items()}
    return [
        Entry(folder, None, "0755", owner, group),
        *(Entry(folder / name, content, tree["mode"], owner, group) for name, content in contents.items()),
    ]


def strangers(tree: Mapping[str, Any]) -> List[Path]:
    """Files of an older version of a tree."""
    folder = Path(tree["path"])
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name not in tree["files"] and not path.is_dir())


def diff_of(wrong: Sequence[Entry], old: Iterable[Path]) -> List[Dict[str, str]]:
    """What a user sees of the entries that are not right, and of what goes."""
    gone = "".join(f"{path}\n" for path in old)
    return [entry.diff() for entry in wrong if entry.content is not None] + (
        [{"before": gone, "after": ""}] if gone else []
    )


@contextlib.contextmanager
def at(path: Path) -> Iterator[None]:
    """A problem names the file, also when it is one of the disk."""
    try:
        yield
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        raise


def advice(problem: OSError) -> str:
    """What to do, as a sentence."""
    return _ADVICE.get(problem.errno or 0, "Put that right and run the task again.")


def sentence_of(problem: OSError) -> str:
    return f"{problem.filename}: {problem.strerror}. {advice(problem)}"


def write(module: AnsibleModule, entry: Entry) -> None:
    """Make a folder, or put a file in the place of the old one in one step."""
    if entry.content is None:
        entry.path.mkdir(parents=True, exist_ok=True)
        return
    with at(entry.path), beside(entry.path, entry.content) as temporary:
        Path(temporary).chmod(int(entry.mode, 8))  # before it has its name
        replace(module, temporary, str(entry.path))


@contextlib.contextmanager
def beside(path: Path, content: bytes) -> Iterator[str]:
    """A new file for the place of ``path``, in the same folder: a disk that is full leaves the old one as it is."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


def broken_off(paths: Iterable[Path]) -> List[Path]:
    """What runs that were killed had not time to put in its place."""
    return sorted(found for path in paths for found in path.parent.glob(f".{glob.escape(path.name)}.new-????????"))


def replace(module: AnsibleModule, temporary: str, path: str) -> None:
    """Let a new file take the place of an old one in one step. Raises OSError with the name of the old one."""
    try:
        module.atomic_move(temporary, path)
    except Exception as problem:  # it raises no narrower one, with the system's own as its cause
        cause: Optional[BaseException] = problem
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, path) from None


def own(module: AnsibleModule, path: str, mode: Optional[str], owner: Optional[str], group: Optional[str]) -> bool:
    """Set mode and owner. Returns whether that was a change."""
    changed = bool(mode) and module.set_mode_if_different(path, mode, False)
    changed = module.set_owner_if_different(path, owner, changed)
    return bool(module.set_group_if_different(path, group, changed))


def own_all(module: AnsibleModule, entries: Iterable[Entry]) -> List[Path]:
    """Set mode and owner of entries that are there, or tell it in check mode. Returns those where that was a change."""
    return [entry.path for entry in entries if own(module, str(entry.path), entry.mode, entry.owner, entry.group)]


def put(module: AnsibleModule, wrong: Iterable[Entry], old: Iterable[Path]) -> None:
    """Make what is not right as it has to be, and remove what is old."""
    for entry in wrong:
        write(module, entry)
    for path in old:
        remove(path)


def standing(paths: Iterable[Path]) -> List[Path]:
    return [path for path in paths if path.exists() or path.is_symlink()]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
