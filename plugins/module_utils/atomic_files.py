# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that are replaced in one step: a reader finds the old content or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Iterable, Iterator, List, Optional

from ansible.module_utils.basic import AnsibleModule

_NO_ROOM = "Make room and run the task again: it goes on from there."
_NO_RIGHT = "Run the task as the owner of the folder or as root (become), and see that it is not immutable (lsattr)."
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _NO_RIGHT),
    errno.EROFS: "Mount its file system writable and run the task again.",
    errno.EBUSY: "It is a mount of its own, as in a container, so no other file can take its place: unmount it first.",
}


@contextlib.contextmanager
def at(path: Path) -> Iterator[None]:
    """Let a problem name this file: the one that a user knows, also when a temporary one beside it has the problem."""
    try:
        yield
    except OSError as problem:
        problem.filename = str(path)
        raise


def advice(problem: OSError) -> str:
    """What to do, as a sentence."""
    return _ADVICE.get(problem.errno or 0, "Put that right and run the task again.")


def sentence_of(problem: OSError) -> str:
    return f"{problem.filename}: {problem.strerror}. {advice(problem)}"


def check_kind(path: Path) -> None:
    """Raise OSError when a pipe, a socket or a device is there, which is neither read nor replaced.

    A pipe would be read for ever, and a file in the place of a device is a loss. Symbolic links are followed.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


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
    """Return what killed runs have left of new files and folders, also what lineinfile leaves where it has to copy."""
    left = []
    for path in paths:
        name = glob.escape(path.name)
        for pattern in (f".{name}.new-????????", f".ansible_tmp????????{name}"):
            left += path.parent.glob(pattern)
    return sorted(left)


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


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
