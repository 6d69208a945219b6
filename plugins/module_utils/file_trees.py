# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of files for the module program_files: what of a folder is wrong, and the folder put right in one step."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible.module_utils.basic import AnsibleModule

from .atomic_files import at, beside, own, remove
from .front_end import run
from .front_end_library import library

MADE = ".made_for_one_eh"
"""a file in a parent folder that was made for a tree: an installation may bring an empty one, which has to stay"""
AT_FDCWD = -100
RENAME_EXCHANGE = 2


class Tree:
    """A folder as it has to be; the arguments are the suboptions of the module's option ``trees``."""

    def __init__(
        self,
        *,
        path: str,
        files: Mapping[str, Any],
        drivers: bool,
        replace: str,
        python: Optional[str],
        mode: str,
        owner: Optional[str],
        group: Optional[str],
    ) -> None:
        self.folder = Path(path)
        self.drivers = drivers
        self.replace = replace
        self.python = python
        self.mode, self.owner, self.group = mode, owner, group
        texts = {name: str(text).encode("utf-8", "surrogateescape") for name, text in files.items()}
        all_files = {**texts, **(library() if drivers else {})}
        self.contents = {self.folder / name: content for name, content in all_files.items()}
        self.folders = [self.folder, *sorted({p for f in self.contents for p in f.parents if self.folder in p.parents})]

    @property
    def targets(self) -> List[Path]:
        """What is put in place in one step: the folder, or each of its files."""
        return [self.folder] if self.replace == "folder" else list(self.contents)

    def wrong(self) -> Iterator[Path]:
        """Yield the folders that are missing and the files that are missing or have another content."""
        if self.replace == "folder":
            yield from (path for path in self.folders if not path.is_dir())
        for path, content in self.contents.items():
            if self.replace == "missing":
                wrong = not os.path.lexists(path)
            else:
                wrong = not path.is_file() or path.read_bytes() != content
            if wrong:
                yield path

    def outdated(self) -> Iterator[Path]:
        """Yield the files and folders of an older version; what an interpreter has compiled is none."""
        current = {*self.folders, *self.contents}
        for folder in self.folders if self.replace == "folder" else ():
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path not in current and path.name != "__pycache__":
                    yield path

    def diff(self, wrong: Sequence[Path], left: Sequence[Path]) -> List[Dict[str, str]]:
        """Return what a user sees: the content of files that change, or only the names of the drivers' packages."""
        if self.drivers and wrong:
            names = {"before_header": str(self.folder), "after_header": str(self.folder)}
            before = "".join(f"{path}\n" for path in wrong if path.exists())
            ours = [path for path in wrong if path in self.contents]
            after = "".join(f"{path}{' (new content)' if path.exists() else ''}\n" for path in ours)
            return [{**names, "before": before, "after": after}]
        gone = "".join(f"{path}\n" for path in (*left, *wrong) if path not in self.contents and path.exists())
        texts = [
            {"before_header": str(path), "after_header": str(path), "before": text(path), "after": content.decode()}
            for path, content in self.contents.items()
            if path in wrong
        ]
        return texts + ([{"before": gone, "after": ""}] if gone else [])

    def put(self, module: AnsibleModule, wrong: Sequence[Path]) -> None:
        """Exchange the folder if something in it is wrong, or replace the wrong ones of its files."""
        if wrong and self.replace == "folder":
            make_parent(self.folder)
            self._exchange(module)
        for path in wrong if self.replace != "folder" else ():
            with at(path), beside(path, self.contents[path]) as temporary:
                own(module, temporary, self.mode, self.owner, self.group)  # before the file has its name
                Path(temporary).replace(path)

    def owned(self, module: AnsibleModule) -> List[Path]:
        """Set mode and owner of what is there, or foretell it. Returns the paths where that was a change."""
        folders = dict.fromkeys(self.folders if self.replace == "folder" else (), "0755")
        modes = {**folders, **dict.fromkeys(self.contents, self.mode)}
        return [path for path, mode in modes.items() if own(module, str(path), mode, self.owner, self.group)]

    def _exchange(self, module: AnsibleModule) -> None:
        root = self.folder
        fresh = Path(tempfile.mkdtemp(prefix=f".{root.name}.new-", dir=root.parent))
        try:
            for path, content in self.contents.items():
                new = fresh / path.relative_to(root)
                with at(path):
                    new.parent.mkdir(parents=True, exist_ok=True)
                    new.write_bytes(content)
                    new.chmod(int(self.mode, 8))
            fresh.chmod(0o755)
            if self.python:
                # A failure is none: the interpreter then compiles at each start. Paths are those of the final place.
                run((self.python, "-I", "-m", "compileall", "-q", "-s", str(fresh), "-p", str(root), str(fresh)))
            for path in (fresh, *fresh.rglob("*")):
                own(module, str(path), None, self.owner, self.group)
            with at(root):
                exchange(fresh, root)
        finally:
            remove(fresh)


def text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def exchange(fresh: Path, root: Path) -> None:
    """Swap two folders. Where the kernel cannot do that, there is a moment without either."""
    if not os.path.lexists(root):
        fresh.rename(root)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    arguments = (AT_FDCWD, os.fsencode(fresh), AT_FDCWD, os.fsencode(root), RENAME_EXCHANGE)
    if renameat2 is not None and renameat2(*arguments) == 0:
        return
    old = fresh.with_name(f"{fresh.name}-old")
    root.rename(old)
    fresh.rename(root)
    remove(old)


def make_parent(folder: Path) -> None:
    """Make the folder that a tree is in, and note there that it was not there before."""
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True)
        (folder.parent / MADE).touch()


def remove_parent(folder: Path) -> None:
    """Remove the folder that a tree was in if it was made for the tree and holds nothing else."""
    note = folder.parent / MADE
    if note.exists() and list(folder.parent.iterdir()) == [note]:
        note.unlink()
        folder.parent.rmdir()
