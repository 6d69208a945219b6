#!/bin/sh
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a Debian machine ready for the tests with real guests: packages, the kernel that the test's guest boots, and
# the environments of the endpoint, the browser and the old clients: afterwards nothing is fetched any more.
# usage (as root): install_kvm.sh FOLDER
set -eu

folder=$1
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ "$(id -u)" -ne 0 ]; then
    echo "install_kvm: real guests need root: packages are installed, and libvirtd is started" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "install_kvm: real guests are tried on Debian only: there is no apt-get here" >&2
    exit 1
fi

packages="qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients python3-libvirt python3-venv python3-apt openssl dnsmasq-base \
    iproute2 iptables busybox-static syslinux mtools dosfstools btrfs-progs e2fsprogs chromium"
missing=
for package in $packages; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "install_kvm: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# The kernel is unpacked, not installed: this machine goes on booting its own.
mkdir -p "$folder"
if ! ls "$folder"/kernel/boot/vmlinuz-* >/dev/null 2>&1; then
    rm -rf "$folder/kernel" "$folder/deb"
    mkdir -p "$folder/deb" "$folder/kernel"
    package=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
    (cd "$folder/deb" && apt-get -qq -o APT::Sandbox::User=root download "$package")
    dpkg-deb --extract "$folder"/deb/*.deb "$folder/kernel"
    rm -rf "$folder/deb"
fi

# Where udev does not run nobody has applied its rule for this device. Without it libvirt asks QEMU again and again
# what it can do, for as long as its own view (root) and QEMU's (another user) differ.
if [ -c /dev/kvm ] && [ ! -d /run/udev ]; then
    chgrp kvm /dev/kvm
    chmod 660 /dev/kvm
fi

# The distribution's Python, for the distribution's binding of libvirt; what else the endpoint needs comes pinned.
if [ ! -d "$folder/wheels" ] || ! cmp -s "$root/roles/eh_endpoint/files/requirements.txt" "$folder/venv/requirements.txt"; then
    rm -rf "$folder/venv" "$folder/wheels"
    /usr/bin/python3 -m venv --system-site-packages "$folder/venv"
    "$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --requirement "$root/roles/eh_endpoint/files/requirements.txt"
    "$folder/venv/bin/python" -m pip download -qq --disable-pip-version-check --dest "$folder/wheels" \
        --requirement "$root/roles/eh_endpoint/files/requirements.txt"
    cp "$root/roles/eh_endpoint/files/requirements.txt" "$folder/venv/requirements.txt"
fi

# The browser of the status page's test, and what the page needs beside the endpoint.
if [ ! -x "$folder/browser/bin/python" ]; then
    /usr/bin/python3 -m venv "$folder/browser"
    "$folder/browser/bin/python" -m pip install -qq --disable-pip-version-check playwright==1.65.2
fi
if [ ! -f "$folder/console/node_modules/@novnc/novnc/core/rfb.js" ] || [ ! -d "$folder/npm" ]; then
    rm -rf "$folder/console"
    command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null
    npm install --silent --cache "$folder/npm" --prefix "$folder/console" --ignore-scripts --no-audit --no-fund --no-save @novnc/novnc@1.7.0
fi

"$root/.venv/bin/python" -m tests.old_clients.environment
