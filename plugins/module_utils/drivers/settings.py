# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the administrator decided: environment, vmm_ehrc, im_ehrc, the host's own file, the template defaults.

A later source wins: environment, then ``etc/defaultrc``, then ``etc/im_eh/im_eh.conf`` (numbers only, in the template
language), then ``etc/vmm_eh/vmm_ehrc`` and ``etc/im_eh/im_ehrc``, then ``etc/vmm_eh/hosts/<HOST>rc`` for one
OpenNebula host. Every file is read again when it has changed. No file is run: a shell has no part in it.

============== ======== =====================================================================================
EHURI                   endpoint of the API
EHAUTH                  ``<user uuid>:<secret API key>``
EHAUTH_FILE             file that holds the same, where EHAUTH is empty; read again for each use
EHCA                    file or folder with the certificates to trust; empty: the system's
EHCLOUD                 id of this OpenNebula cloud, the same on all its front-ends; marks what it owns
TOTAL_MEMORY   2048     MB that the host offers
TOTAL_CPU      2        cores that the host offers
CPU_MHZ        2000     MHz that count as one core
MAX_SERVERS             servers that the host may have; a DEPLOY that would make one more fails; unset: no limit;
                        0 in a file for all hosts holds for each host
SHUTDOWN_TIMEOUT 120    seconds a guest gets to obey the ACPI power button
ACTION_TIMEOUT 300      seconds any other action gets
IMAGE_TIMEOUT  3600     seconds the copies of a VM's IMAGE may take
API_TIMEOUT    60       seconds the API gets for one answer
LISTING_PERIOD 15       seconds between two listings of the account
GRACE          300      seconds the API may be silent before the host is reported as failed
SOURCE_IN_USE  refuse   whether a drive that a running server uses is copied for an IMAGE: refuse or allow
============== ======== =====================================================================================
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import stat
import threading
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Generic,
    Iterable,
    List,
    Mapping,
    MutableMapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)
from urllib.parse import urlsplit

from ..opennebula.conf import ConfError, parse
from ..opennebula.layout import Layout

T = TypeVar("T")
Values = Dict[str, str]
Vectors = Tuple[Mapping[str, str], ...]


class SettingsError(Exception):
    """A setting is missing or makes no sense: one sentence that names it, the file, and what to do."""


class NumberSetting(NamedTuple):
    default: float
    least: float
    unit: str
    example: str = ""
    """a value to show, where the default is none"""


NUMBERS: Mapping[str, NumberSetting] = {
    "TOTAL_MEMORY": NumberSetting(2048, 1, "MB"),
    "TOTAL_CPU": NumberSetting(2, 0.01, "cores"),
    "CPU_MHZ": NumberSetting(2000, 1, "MHz"),
    "MAX_SERVERS": NumberSetting(math.inf, 0, "servers", "10"),
    "SHUTDOWN_TIMEOUT": NumberSetting(120, 0.1, "seconds"),
    "ACTION_TIMEOUT": NumberSetting(300, 1, "seconds"),
    "IMAGE_TIMEOUT": NumberSetting(3600, 1, "seconds"),
    "API_TIMEOUT": NumberSetting(60, 0.1, "seconds"),
    "LISTING_PERIOD": NumberSetting(15, 0.1, "seconds"),
    "GRACE": NumberSetting(300, 0, "seconds"),
}
ACCOUNT_FORM = "<user uuid>:<secret API key>"
CLOUD_FORM = "<an id of this OpenNebula cloud, the same on all its front-ends>"
TEXTS = ("EHURI", "EHAUTH", "EHAUTH_FILE", "EHCA", "EHCLOUD")
CHOICES: Mapping[str, Tuple[str, ...]] = {"SOURCE_IN_USE": ("refuse", "allow")}
"""possible values, the default first"""
NAMES = (*TEXTS, *NUMBERS, *CHOICES)
KEPT_FROM_ENVIRONMENT = re.compile(r"PYTHON.*|LD_.*|PATH")
"""names that decide which program runs, and how: no settings file sets them"""
LONGEST_KEY = 4096
"""characters of the file that EHAUTH_FILE names; more is not read"""


class ShellText(str):
    """A value that only a shell can work out, as it stands in the file. It is no value: see :func:`shell_sentence`."""


_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_WITH_BLANKS = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*(.*)")
"""what a shell takes for a command"""
_PIECE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\$`])*)"|\\(.)|([^\s'"\\$`;|&<>()]+)""")
_ESCAPED = re.compile(r"""\\(["\\$`])""")
_END = re.compile(r"\s*(?:;\s*)?(?:\s#.*)?")


def parse_rc(text: str) -> Values:
    """Return the assignments of a settings file, which is written as for a shell and never run by one.

    ``NAME=VALUE``, quoted as the shell allows, with or without ``export``. A value that only a shell can work out
    (``$OTHER``, a command) is a :class:`ShellText`. Any other line is left out. A number of ours is taken with blanks
    around the sign, or a colon for it: a limit that somebody has written must not be without effect.
    """
    return dict(filter(None, map(_assignment, text.splitlines())))


def _assignment(line: str) -> Optional[Tuple[str, str]]:
    """Return name and value of a line; None if it is no assignment."""
    plain, loose = _ASSIGNMENT.match(line), _WITH_BLANKS.match(line)
    if plain:
        value = _shell_word(plain.group(2))
        if value is not None:
            return plain.group(1), value
    if loose and loose.group(1) in NUMBERS:
        value = _shell_word(loose.group(2))
        if value is not None:
            return loose.group(1), value
    return (plain.group(1), ShellText(plain.group(2))) if plain else None


def shell_names(values: Values) -> List[str]:
    """Return the names whose values only a shell can work out."""
    return sorted(name for name, value in values.items() if isinstance(value, ShellText))


def shell_sentence(name: str, path: str) -> str:
    """Say what to do about the setting ``name`` whose value in the file ``path`` only a shell can work out."""
    instead = f", or set EHAUTH_FILE to a file with the account in it and leave {name} out" if name == "EHAUTH" else ""
    return (
        f"Write {name} without $, backquotes and bare blanks: settings are read as data and no shell works out what "
        f"{path} says{instead}."
    )


def read_file(path: str, most: int = -1) -> str:
    """Return the text of a regular file; a named pipe, whose end may never come, is refused at once.

    :param most: characters
    :raises OSError:
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)

    with open(path, encoding="utf-8", errors="surrogateescape", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        return file.read(most)


def account_in(path: str, source: str) -> str:
    """Return the account that the file ``path`` holds.

    :param source: the settings file that names it with EHAUTH_FILE
    :raises SettingsError: there is none in it, or it cannot be read
    """
    problem = "it is empty"
    try:
        found = read_file(path, LONGEST_KEY).strip() if path.startswith("/") else ""
    except OSError as error:
        found, problem = "", str(error.strerror)
    if found:
        return found
    raise SettingsError(
        f"Correct EHAUTH_FILE in the settings, or what it names: {path!r} in {source} has to be the absolute path of a "
        f"file with {ACCOUNT_FORM} in it that the user that runs OpenNebula can read ({problem})."
    )


def _common_files(layout: Layout) -> Tuple[str, str, str]:
    """Return the settings files that hold for all hosts, a later one before an earlier one."""
    return f"{layout.etc}/defaultrc", f"{layout.etc}/vmm_eh/vmm_ehrc", f"{layout.etc}/im_eh/im_ehrc"


def fill_environment(layout: Layout, environment: MutableMapping[str, str]) -> None:
    """Put what the settings files assign into ``environment``, for libraries and children: proxies, ONE_XMLRPC.

    Our own settings are not among it: :class:`Settings` reads them, and a child needs no secret.
    """
    for path in _common_files(layout):
        with contextlib.suppress(OSError):
            for name, value in parse_rc(read_file(path)).items():
                if name in NAMES or KEPT_FROM_ENVIRONMENT.fullmatch(name) or isinstance(value, ShellText):
                    continue
                with contextlib.suppress(ValueError):  # a NUL, or what the system's encoding does not have
                    environment[name] = value


def parse_limits(text: str) -> Values:
    """Return the numbers of im_eh.conf, which is written in the template language.

    :raises ValueError: a syntax error, with its place, or a name that is none of NUMBERS
    """
    values: Values = {}
    try:
        for item in parse(text).items:
            if item.is_vector or item.name.upper() not in NUMBERS:
                raise ValueError(f"{item.name} is none of {', '.join(NUMBERS)}: take it out, or correct its name.")
            values.setdefault(item.name.upper(), item.value or "")
    except ConfError as error:
        raise ValueError(f"{error} Correct it, for instance TOTAL_MEMORY=2048.") from None
    return values


def _shell_word(text: str) -> Optional[str]:
    """The word that ``text`` begins with, unquoted; None when a shell would have to work it out."""
    pieces: List[str] = []
    position = 0
    while position < len(text):
        found = _PIECE.match(text, position)
        if not found:
            break
        single, double, escaped, bare = found.groups()
        if bare is not None and bare.startswith("#") and not pieces:
            break
        pieces.append(_ESCAPED.sub(r"\1", double) if double is not None else single or escaped or bare or "")
        position = found.end()
    rest = text[position:]
    return "".join(pieces) if _END.fullmatch(" " + rest if rest.startswith("#") else rest) else None


class WatchedFile(Generic[T]):
    """The parsed content of a file, which is read again whenever the file has changed.

    :param optional: the file belongs to somebody else, so one that cannot be read counts as missing
    """

    def __init__(self, path: str, parse: Callable[[str], T], missing: T, *, optional: bool = False) -> None:
        self.path = path
        self._optional = optional
        self._parse = parse
        self._missing = missing
        self._seen: Optional[Tuple[int, int, int, int]] = None
        self._value = missing
        self._problem: Optional[SettingsError] = None
        self.mode = 0

    def value(self) -> T:
        """:raises SettingsError: the file is there and cannot be read or understood"""
        try:
            status = os.stat(self.path)  # noqa: PTH116
        except OSError:
            self._seen, self._value, self._problem, self.mode = None, self._missing, None, 0
            return self._value
        seen = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._load()
            self._seen, self.mode = seen, status.st_mode & 0o777
        if self._problem and not self._optional:
            raise self._problem
        return self._value

    def _load(self) -> None:
        self._value, self._problem = self._missing, None
        try:
            self._value = self._parse(read_file(self.path))
        except OSError as error:
            self._problem = SettingsError(
                f"Make the settings readable for the user that runs OpenNebula: {self.path} cannot be read "
                f"({error.strerror})."
            )
        except ValueError as error:
            self._problem = SettingsError(f"Correct a settings file: {self.path} cannot be understood: {error}")


class HostSettings:
    """The settings of one OpenNebula host. A bad value hurts only who asks for it."""

    def __init__(
        self,
        host: str,
        values: Mapping[str, str],
        sources: Mapping[str, str],
        main: str,
        notice: Optional[str] = None,
    ) -> None:
        self.host = host
        self._values = values
        self._sources = sources
        self._main = main
        self.notice = notice
        """about values that only a shell can work out; empty: there are none any more; None: there never were"""

    def __repr__(self) -> str:
        return f"HostSettings({self.host!r}, endpoint={self._values.get('EHURI', '')!r})"

    def optional(self, name: str) -> str:
        """:raises SettingsError: only a shell could work the value out"""
        value = self._values.get(name, "")
        if isinstance(value, ShellText):
            raise SettingsError(shell_sentence(name, self.source(name)))
        return value

    def text(self, name: str, form: str) -> str:
        """:raises SettingsError: nothing is set; the sentence shows the form to write"""
        value = self.optional(name)
        if not value:
            raise SettingsError(
                f"Set {name} in vmm_ehrc: it is not set for host {self.host!r}; write {name}={form} into {self._main}."
            )
        return value

    def number(self, name: str) -> float:
        """:raises SettingsError: what is set is not a number, or too small"""
        rule = NUMBERS[name]
        raw = self.optional(name)
        if not raw:
            return rule.default
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not rule.least <= value < 1e12:
            raise SettingsError(
                f"Correct {name} in the settings: {raw!r} in {self.source(name)} is not a number of {rule.unit} from "
                f"{rule.least:g} up; write for instance {name}={rule.example or f'{rule.default:g}'}."
            )
        return value

    def choice(self, name: str) -> str:
        """:raises SettingsError: what is set is none of the possible values"""
        value = self.optional(name) or CHOICES[name][0]
        if value not in CHOICES[name]:
            raise SettingsError(
                f"Correct {name} in the settings: {value!r} in {self.source(name)} is none of "
                f"{', '.join(CHOICES[name])}; write {name}={CHOICES[name][0]}."
            )
        return value

    def source(self, name: str) -> str:
        """Where the setting ``name`` comes from: the path of a file, or words."""
        return self._sources.get(name, "the environment")

    @property
    def endpoint(self) -> str:
        return self.text("EHURI", "https://eh.example.org")

    @property
    def zone(self) -> str:
        """Name of the endpoint's machine, by which people know the zone; empty where EHURI is not set."""
        return urlsplit(self.optional("EHURI")).hostname or ""

    @property
    def auth(self) -> str:
        """:raises SettingsError: there is none, or the file that has it cannot be read"""
        path = self.optional("EHAUTH_FILE")
        if path and not self._values.get("EHAUTH"):
            return account_in(path, self.source("EHAUTH_FILE"))
        return self.text("EHAUTH", ACCOUNT_FORM)

    @property
    def cloud(self) -> str:
        """:raises SettingsError: there is none, or it has characters that no property of the API may have"""
        value = self.text("EHCLOUD", CLOUD_FORM)
        if not value.isprintable():
            raise SettingsError(
                f"Correct EHCLOUD in the settings: {value!r} in {self.source('EHCLOUD')} has characters that are not "
                f"printable; write {CLOUD_FORM}."
            )
        return value

    @property
    def ca_path(self) -> str:
        return self.optional("EHCA")

    @property
    def total_memory(self) -> int:
        """MB"""
        return int(self.number("TOTAL_MEMORY"))

    @property
    def total_cpu(self) -> float:
        """cores"""
        return self.number("TOTAL_CPU")

    @property
    def cpu_mhz(self) -> int:
        """MHz of one core"""
        return int(self.number("CPU_MHZ"))


class Settings:
    """All settings of this front-end.

    :param layout: where the files are
    :param environment: the process environment; EHAUTH is taken out of it, since every child of the process gets it
    :param defaults: parses vmm_eh.conf into the EH vectors that fill in where a VM's own is silent
    """

    def __init__(
        self, layout: Layout, environment: MutableMapping[str, str], defaults: Callable[[str], Vectors]
    ) -> None:
        self._hosts = f"{layout.etc}/vmm_eh/hosts"
        default, self._main, im = _common_files(layout)
        self._rc: Sequence[WatchedFile[Values]] = (
            WatchedFile(default, parse_rc, {}, optional=True),
            WatchedFile(f"{layout.etc}/im_eh/im_eh.conf", parse_limits, {}),
            WatchedFile(self._main, parse_rc, {}),
            WatchedFile(im, parse_rc, {}),
        )
        self._own: Dict[str, WatchedFile[Values]] = {}
        self._made: Dict[str, Tuple[Tuple[Values, ...], HostSettings]] = {}
        """by host: what the files held, and what came of it"""
        self._defaults: WatchedFile[Vectors] = WatchedFile(f"{layout.etc}/vmm_eh/vmm_eh.conf", defaults, ())
        self._lock = threading.Lock()
        self._environment = {name: environment[name] for name in NAMES if environment.get(name)}
        environment.pop("EHAUTH", None)

    def host(self, name: str) -> HostSettings:
        """The settings that hold for the OpenNebula host ``name`` now.

        :raises SettingsError: a file cannot be read
        """
        with self._lock:
            files = (*self._rc, *self._own_file(name))
            found = tuple(watched.value() for watched in files)
            made = self._made.get(name)
            if made is None or any(new is not old for new, old in zip(found, made[0])):
                made = self._made[name] = found, self._merged(name, zip(files, found))
            return made[1]

    def _merged(self, name: str, found: Iterable[Tuple[WatchedFile[Values], Values]]) -> HostSettings:
        values: Values = dict(self._environment)
        sources: Values = {}
        for watched, given in found:
            if given.get("EHAUTH") or given.get("EHAUTH_FILE"):  # one account takes the place of the other
                values.pop("EHAUTH", None)
                values.pop("EHAUTH_FILE", None)
            values.update(given)
            sources.update(dict.fromkeys(given, watched.path))
        notice: Optional[str] = " ".join(shell_sentence(one, sources[one]) for one in shell_names(values))
        if not notice and (name not in self._made or self._made[name][1].notice is None):
            notice = None
        return HostSettings(name, values, sources, self._main, notice)

    def all_hosts(self) -> List[HostSettings]:
        """The common settings, and those of each OpenNebula host with a file of its own that can be read."""
        try:
            names = [name[: -len("rc")] for name in sorted(os.listdir(self._hosts)) if name.endswith("rc")]  # noqa: PTH208
        except OSError:
            names = []
        found: List[HostSettings] = []
        for name in ("", *names):
            with contextlib.suppress(SettingsError):
                found.append(self.host(name))
        return found

    def template_defaults(self) -> Vectors:
        """The EH vectors of vmm_eh.conf, upper-case names.

        :raises SettingsError: the file has a syntax error
        """
        with self._lock:
            return self._defaults.value()

    def warnings(self) -> List[str]:
        """Sentences about settings that the administrator has to look at: files that every user can read, and lines
        that only a shell understands.
        """
        with self._lock:
            found: List[str] = []
            for watched in (*self._rc, *self._own.values()):
                given = self._readable(watched)
                if watched.mode & 0o004 and "EHAUTH" in given:
                    found.append(exposed(watched.path))
                if given.get("EHAUTH_FILE") and _is_open_to_all(given["EHAUTH_FILE"]):
                    found.append(exposed(given["EHAUTH_FILE"]))
                found += [shell_sentence(name, watched.path) for name in shell_names(given)]
            return found

    @staticmethod
    def _readable(watched: WatchedFile[Values]) -> Values:
        try:
            return watched.value()
        except SettingsError:
            return {}

    def _own_file(self, host: str) -> List[WatchedFile[Values]]:
        if not host or "/" in host or "\0" in host or host.startswith("."):
            return []
        if host not in self._own:
            self._own[host] = WatchedFile(f"{self._hosts}/{host}rc", parse_rc, {})
        return [self._own[host]]


def exposed(path: str) -> str:
    return f"{path} holds EHAUTH and every user can read it: chmod 600 {path}"


def _is_open_to_all(path: str) -> bool:
    """Return whether ``path`` is a regular file that every user can read."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o004)
