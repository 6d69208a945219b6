# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m eh_endpoint: the command line."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import sys
from pathlib import Path

from .api.accounts import Account, BadAccount, parse_account, read_accounts
from .api.api_platform import PLATFORMS

DESCRIPTION = "An ElasticHosts API server, with simulated guests or with real ones by libvirt."
EPILOG = """\
status: a browser finds a page at /, with the same account. It changes nothing.

accounts: give at least one, by --auth, --auth-file, --accounts or the environment variable EH_ENDPOINT_AUTH. A command
line can be read by every user of the machine, so outside of tests use a file with mode 0600 or the environment. The
file of --accounts is JSON and can limit what an account may have; beyond a limit the answer is 402 billing:
  {"accounts": [{"user": "UUID", "key": "KEY",
                 "quota": {"servers": 5, "cores": 8, "mhz": 8000, "mb": 8192, "gb": 100, "ips": 2, "vlans": 1}}]}

faults: rules in JSON that make chosen requests fail, for tests of clients; roles/eh_endpoint/README.md has them all:
  [{"path": "/servers/*/start", "count": 1, "fault": "status", "status": 500, "error": "failed"}]

The first line on standard output is `listening on http://HOST:PORT`, once the endpoint answers (with --control a second
one, `control on http://HOST:PORT`). Standard error gets a line per request. All state is in the state folder; a killed
endpoint comes back with what it had acknowledged.
"""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="eh_endpoint",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = options.add_argument
    add(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:8099", help="port 0 picks a free one (default: %(default)s)"
    )
    add("--state", metavar="DIR", type=Path, required=True, help="folder for the state and the drives")
    add("--auth", metavar="UUID:KEY", action="append", default=[], help="an account; may be given several times")
    add("--accounts", metavar="FILE", type=Path, help="accounts with their limits in JSON, see below")
    add("--auth-file", metavar="FILE", type=Path, help="accounts, one UUID:KEY per line; # begins a comment line")
    add(
        "--hypervisor",
        metavar="simulated|libvirt:URI",
        default="simulated",
        help="where guests run, like libvirt:qemu:///system (default: %(default)s)",
    )
    add(
        "--forward",
        choices=["nat", "route"],
        default="nat",
        help="libvirt: how guests reach other networks (default: %(default)s)",
    )
    add(
        "--vnc-listen",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="libvirt: where the consoles of guests listen (default: %(default)s)",
    )
    add(
        "--novnc",
        metavar="DIR",
        type=Path,
        help="libvirt: folder of the npm package @novnc/novnc, for consoles on the status page",
    )
    add("--tls-cert", metavar="FILE", type=Path, help="serve HTTPS with this certificate (PEM, with its chain)")
    add("--tls-key", metavar="FILE", type=Path, help="the key of the certificate")
    add("--platform", choices=sorted(PLATFORMS), default="new", help="generation of the API (default: %(default)s)")
    add(
        "--addresses",
        metavar="CIDR",
        help="IPv4 network of the guests (default: 198.18.0.0/15, with libvirt 198.18.0.0/22)",
    )
    add(
        "--acpi-delay",
        metavar="SECONDS",
        default="0.5",
        help="until a guest obeys a shutdown; `never` for guests that ignore it (default: %(default)s)",
    )
    add(
        "--address-delay",
        metavar="SECONDS",
        default="0",
        help="from the start of a server until its address shows (default: %(default)s)",
    )
    add(
        "--imaging-seconds",
        metavar="SECONDS",
        default="0",
        help="what copying an image onto a drive or folder takes at least (default: %(default)s)",
    )
    add(
        "--body-timeout",
        metavar="SECONDS",
        default="60",
        help="without a byte of a request's body, until its connection is closed and its drive is free again "
        "(default: %(default)s)",
    )
    add("--faults", metavar="FILE", type=Path, help="fault rules in JSON")
    add(
        "--control",
        metavar="HOST:PORT",
        help="also listen here for fault rules, the log of requests and the clock; asks for no key",
    )
    add("--control-open", action="store_true", help="let --control listen beyond loopback")
    add(
        "--request-log", metavar="FILE", type=Path, help="append a JSON line per request: method, path, status, account"
    )
    add("--sync", action="store_true", help="wait for the disk at every change, to survive a power cut as well")
    add("--quiet", action="store_true", help="no line per request on standard error")
    add("--exit-on-eof", action="store_true", help="end when standard input does, as with the program that started it")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parser()
    given = options.parse_args(arguments)
    from .serving import CannotServe, Options, serve  # after the options: --help and mistakes need no server

    try:
        host, port = _listen("--listen", given.listen)
        serve(
            Options(
                host=host,
                port=port,
                state=given.state,
                accounts=_accounts(given.auth, given.auth_file, given.accounts, os.environ.get("EH_ENDPOINT_AUTH", "")),
                platform=given.platform,
                libvirt=_libvirt(given.hypervisor),
                forward=given.forward,
                vnc_listen=_ip("--vnc-listen", given.vnc_listen),
                novnc=_novnc(given.novnc),
                tls=_tls(given.tls_cert, given.tls_key),
                addresses=_network(given.addresses, given.hypervisor),
                acpi_delay=None if given.acpi_delay == "never" else _seconds("--acpi-delay", given.acpi_delay),
                address_delay=_seconds("--address-delay", given.address_delay),
                imaging_seconds=_seconds("--imaging-seconds", given.imaging_seconds),
                body_timeout=_seconds("--body-timeout", given.body_timeout, least=0.1),
                faults=given.faults,
                control=None if given.control is None else _listen("--control", given.control),
                control_open=given.control_open,
                request_log=given.request_log,
                quiet=given.quiet,
                sync=given.sync,
                exit_on_eof=given.exit_on_eof,
            )
        )
    except (BadOption, BadAccount, CannotServe) as error:
        sys.stderr.write(f"eh_endpoint: {error}\n")
        return 2
    return 0


class BadOption(ValueError):
    """An option that cannot be used; the text is one sentence that names it."""


def _listen(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadOption(f"{name} {text!r} is not of the form HOST:PORT, like 127.0.0.1:8099")
    return host.strip("[]"), int(port)


def _libvirt(text: str) -> str:
    """The URI of a libvirt, empty for simulated guests."""
    if text == "simulated":
        return ""
    name, _colon, uri = text.partition(":")
    if name != "libvirt" or not uri:
        raise BadOption(f"--hypervisor {text!r} is neither simulated nor of the form libvirt:qemu:///system")
    return uri


def _ip(name: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadOption(f"{name} {text!r} is not an IP address") from None


def _novnc(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    if not (folder / "core" / "rfb.js").is_file():
        raise BadOption(f"--novnc {folder} has no core/rfb.js: unpack the npm package @novnc/novnc there")
    if importlib.util.find_spec("wsproto") is None:
        raise BadOption("--novnc needs the Python package wsproto: install roles/eh_endpoint/files/requirements.txt")
    return folder


def _tls(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if (certificate is None) != (key is None):
        raise BadOption("--tls-cert and --tls-key are given together or not at all")
    return None if certificate is None or key is None else (certificate, key)


def _network(given: str | None, hypervisor: str) -> ipaddress.IPv4Network:
    simulated = hypervisor == "simulated"
    text = given or ("198.18.0.0/15" if simulated else "198.18.0.0/22")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadOption(f"--addresses {text!r} is not an IPv4 network like 198.18.0.0/15: {error}") from None
    if network.prefixlen > 29:
        raise BadOption(f"--addresses {text} is too small: a /29 or larger network is needed")
    if network.prefixlen < 20 and not simulated:
        raise BadOption(f"--addresses {text} is too large for real guests: at most a /20 network is possible")
    return network


def _seconds(name: str, text: str, least: float = 0) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds < 1e9:
        raise BadOption(f"{name} {text!r} is not a number of seconds" + (f" from {least:g} on" if least else ""))
    return seconds


def _accounts(options: list[str], lines_file: Path | None, file: Path | None, environment: str) -> tuple[Account, ...]:
    lines = [*options, *environment.split()]
    if lines_file is not None:
        text = _text("--auth-file", lines_file)
        lines += [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    given = [Account(user, key, {}) for user, key in map(parse_account, lines)]
    if file is not None:
        try:
            given += read_accounts(_text("--accounts", file))
        except BadAccount as error:
            raise BadOption(f"--accounts {file}: {error}") from None
    if not given:
        raise BadOption("no account is given: use --auth UUID:KEY, --auth-file, --accounts or EH_ENDPOINT_AUTH")
    accounts: dict[str, Account] = {}
    for account in given:
        if accounts.setdefault(account.user, account).key != account.key:
            raise BadOption(f"user {account.user} is given with two different keys")
        if account.quota:
            accounts[account.user] = account
    return tuple(accounts.values())


def _text(name: str, file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadOption(f"{name} {file} cannot be read: {reason}") from None


if __name__ == "__main__":
    sys.exit(main())
