# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the command line. An option that cannot be used ends the program with one sentence and status 2."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from .api.accounts import Account, BadAccount, parse_account, read_accounts
from .api.api_platform import PLATFORMS

DESCRIPTION = "An ElasticHosts API server, with simulated guests or with real guests run by libvirt."
EPILOG = """\
backups: python -m eh_endpoint backup --state DIR --to DIR, and restore --state DIR --from DIR.

status: a browser shows a page at /, with the same account. The page changes nothing.

accounts: give at least one, by --auth, --auth-file, --accounts or the environment variable EH_ENDPOINT_AUTH. A command
line can be read by every user of the machine, so outside of tests use a file with mode 0600 or the environment. The
file of --accounts is JSON and can limit what an account may have; beyond a limit the reply is 402 billing:
  {"accounts": [{"user": "UUID", "key": "KEY",
                 "quota": {"servers": 5, "cores": 8, "mhz": 8000, "mb": 8192, "gb": 100, "ips": 2, "vlans": 1}}]}

faults: rules in JSON that make chosen requests fail, for tests of clients; roles/eh_endpoint/README.md has them all:
  [{"path": "/servers/*/start", "count": 1, "fault": "status", "status": 500, "error": "failed"}]

The first line on standard output is `listening on http://HOST:PORT`, printed when the endpoint accepts requests (with
--control a second line, `control on http://HOST:PORT`). Standard error gets a line per request. All state is in the
state folder; after a crash or kill the endpoint starts again with everything that it had acknowledged.
"""


class Options(argparse.Namespace):
    """The values of the options, by the names of the options. Times in seconds, sizes in bytes.

    hypervisor: URI of the libvirt that runs guests, empty for simulated guests. tls: files of a certificate and of its
    key. acpi_delay: None for guests that ignore a shutdown.
    """

    listen: tuple[str, int]
    state: Path
    accounts: Sequence[Account]
    hypervisor: str
    forward: str
    vnc_listen: str
    novnc: Path | None
    tls: tuple[Path, Path] | None
    origin: str | None
    platform: str
    addresses: ipaddress.IPv4Network
    acpi_delay: float | None
    address_delay: float
    imaging_seconds: float
    auth_timeout: float
    keep_alive_timeout: float
    body_timeout: float
    faults: Path | None
    control: tuple[str, int] | None
    control_open: bool
    request_log: Path | None
    reserve: int
    sync: bool
    quiet: bool
    exit_on_eof: bool


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Parse a command line, by default that of the process. Ends the process when it cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments, Options())
    try:
        from_environment = _accounts(os.environ.get("EH_ENDPOINT_AUTH", "").split())
        options.accounts = _merged([*options.auth, *from_environment, *options.auth_file, *options.accounts])
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    if options.addresses is None:
        options.addresses = ipaddress.IPv4Network("198.18.0.0/22" if options.hypervisor else "198.18.0.0/15")
    if options.hypervisor and options.addresses.prefixlen < 20:
        parser.error(f"--addresses {options.addresses} is too large for real guests: at most a /20 network is possible")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key are given together or not at all")
    options.tls = None if options.tls_cert is None else (options.tls_cert, options.tls_key)
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="eh_endpoint",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--state", metavar="DIR", type=Path, required=True, help="folder of the state and the drives")
    add("--auth", metavar="UUID:KEY", type=_account, action="append", default=[], help="an account; can be repeated")
    for name, metavar, kind, default, text in _VALUES:
        shown = " (default: %(default)s)" if isinstance(default, str) else ""
        add(name, metavar=metavar, type=kind, default=default, help=text + shown)
    for name, words, text in _CHOICES:
        add(name, choices=words, default=words[0], help=f"{text} (default: %(default)s)")
    for name, text in _FLAGS:
        add(name, action="store_true", help=text)
    return parser


# ---- argparse types: argparse shows the text of an ArgumentTypeError; other errors would repeat the value, a key too


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT, like 127.0.0.1:8099")
    return host.strip("[]"), int(port)


def _libvirt_uri(text: str) -> str:
    """Return the URI of a libvirt, empty for simulated guests."""
    name, _colon, uri = text.partition(":")
    if text != "simulated" and (name != "libvirt" or not uri):
        raise argparse.ArgumentTypeError(f"{text!r} is neither simulated nor of the form libvirt:qemu:///system")
    return uri


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form https://HOST or https://HOST:PORT, without a path"
        )
    return text


def _novnc(text: str) -> Path:
    folder = Path(text)
    if not (folder / "core" / "rfb.js").is_file():
        raise argparse.ArgumentTypeError(f"{text} has no core/rfb.js: unpack the npm package @novnc/novnc there")
    if importlib.util.find_spec("wsproto") is None:
        raise argparse.ArgumentTypeError(
            "it needs the Python package wsproto: install roles/eh_endpoint/files/requirements.txt"
        )
    return folder


def _bytes(text: str) -> int:
    number = text.rstrip("KMGT")
    if not (number.isascii() and number.isdigit() and len(number) < 16 and len(text) - len(number) < 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in bytes, like 256M or 0")
    return int(number) << 10 * " KMGT".index(text[len(number) :] or " ")


def _seconds(least: float = 0) -> Callable[[str], float]:
    def seconds(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value < 1e9:
            from_least = f" from {least:g} on" if least else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds{from_least}")
        return value

    return seconds


def _seconds_or_never(text: str) -> float | None:
    return None if text == "never" else _seconds()(text)


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 network like 198.18.0.0/15: {error}") from None
    if network.prefixlen > 29:
        raise argparse.ArgumentTypeError(f"{text} is too small: a /29 or larger network is needed")
    return network


# ---- accounts


def _account(text: str) -> Account:
    try:
        return Account(*parse_account(text), {})
    except BadAccount as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _accounts(lines: Sequence[str]) -> list[Account]:
    return [_account(line) for line in lines]


def _auth_file(file: str) -> list[Account]:
    return _accounts([line for line in _text(file).splitlines() if line.strip() and not line.startswith("#")])


def _accounts_file(file: str) -> list[Account]:
    try:
        return read_accounts(_text(file))
    except BadAccount as error:
        raise argparse.ArgumentTypeError(f"{file}: {error}") from None


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise argparse.ArgumentTypeError(f"{file} cannot be read: {reason}") from None


def _merged(given: Sequence[Account]) -> list[Account]:
    """Return every account once; the last limits of a user apply."""
    accounts: dict[str, Account] = {}
    for account in given:
        if accounts.setdefault(account.user, account).key != account.key:
            raise argparse.ArgumentTypeError(f"user {account.user} is given with two different keys")
        if account.quota:
            accounts[account.user] = account
    if not accounts:
        raise argparse.ArgumentTypeError(
            "no account is given: use --auth UUID:KEY, --auth-file, --accounts or EH_ENDPOINT_AUTH"
        )
    return list(accounts.values())


_VALUES: tuple[tuple[str, str, Callable[[str], object], object, str], ...] = (
    ("--listen", "HOST:PORT", _host_and_port, "127.0.0.1:8099", "address of the API; port 0 picks a free port"),
    ("--accounts", "FILE", _accounts_file, [], "accounts with their limits in JSON, see below"),
    ("--auth-file", "FILE", _auth_file, [], "accounts, one UUID:KEY per line; # begins a comment line"),
    ("--hypervisor", "simulated|libvirt:URI", _libvirt_uri, "simulated", "where guests run, like libvirt:qemu:///system"),
    ("--vnc-listen", "ADDRESS", _ip_address, "127.0.0.1", "libvirt: address on which the consoles of guests listen"),
    ("--novnc", "DIR", _novnc, None, "libvirt: folder of the npm package @novnc/novnc; shows consoles on the page"),
    ("--tls-cert", "FILE", Path, None, "serve HTTPS with this certificate (PEM, with its chain)"),
    ("--tls-key", "FILE", Path, None, "the key of the certificate"),
    ("--origin", "ORIGIN", _origin, None,
     "the address of the pages for browsers where a proxy ends TLS, like https://zone.example.org (default: by Host)"),
    ("--addresses", "CIDR", _network, None,
     "IPv4 network of the guests (default: 198.18.0.0/15, with libvirt 198.18.0.0/22)"),
    ("--acpi-delay", "SECONDS", _seconds_or_never, "0.5",
     "time from a shutdown call until a simulated guest is off; `never` for guests that ignore the call"),
    ("--address-delay", "SECONDS", _seconds(), "0", "time from the start of a server until info shows its address"),
    ("--imaging-seconds", "SECONDS", _seconds(), "0", "minimum duration of a copy onto a drive or folder"),
    ("--auth-timeout", "SECONDS", _seconds(least=0.1), "30",
     "time from a connection to its first request with a valid key before the connection is closed"),
    ("--keep-alive-timeout", "SECONDS", _seconds(least=1), "75",
     "time from a reply to the whole head of the next request before the connection is closed"),
    ("--body-timeout", "SECONDS", _seconds(least=0.1), "60",
     "time to wait for the next byte of a request body before the connection is closed"),
    ("--faults", "FILE", Path, None, "fault rules in JSON"),
    ("--control", "HOST:PORT", _host_and_port, None,
     "second port for fault rules, the log of requests and the clock; without authentication"),
    ("--reserve", "SIZE", _bytes, "256M",
     "space on the disk that is kept for the state, so that drives can be destroyed when they have filled the disk"),
    ("--request-log", "FILE", Path, None, "append a JSON line per request: method, path, status, account"),
)  # fmt: skip
"""Options with a value: name, placeholder, type, default, help."""
_CHOICES = (
    ("--forward", ("nat", "route"), "libvirt: how guests reach other networks"),
    ("--platform", tuple(PLATFORMS), "generation of the API"),
)
_FLAGS = (
    ("--control-open", "allow --control on addresses other than loopback"),
    ("--sync", "wait for the disk at every change, so that it survives a power failure"),
    ("--quiet", "no line per request on standard error"),
    ("--exit-on-eof", "end at the end of standard input, with the program that started it"),
)
