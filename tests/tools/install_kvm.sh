#!/bin/sh
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a Debian machine ready for the tests with real guests: packages, libvirt's daemons where no service manager
# starts them, the kernel that the test's guest boots, and the virtual environment that the endpoint runs in.
# usage (as root): install_kvm.sh FOLDER
set -eu

folder=$1
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ "$(id -u)" -ne 0 ]; then
    echo "install_kvm: run it as root: it installs packages and starts libvirtd" >&2
    exit 1
fi

packages="qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients python3-libvirt python3-venv dnsmasq-base \
    iproute2 iptables busybox-static syslinux mtools dosfstools chromium"
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

# With a service manager these run already. Otherwise by hand, their log folders first.
if ! virsh --quiet --connect qemu:///system version >/dev/null 2>&1; then
    mkdir -p /var/log/libvirt/qemu /run/libvirt /var/lib/libvirt /var/cache/libvirt
    # As the service units of the distribution have it: the members of the group libvirt may use it.
    printf '%s\n' 'unix_sock_group = "libvirt"' 'unix_sock_rw_perms = "0770"' 'auth_unix_rw = "none"' \
        >"$folder/libvirtd.conf"
    virtlogd --daemon 2>/dev/null || true
    libvirtd --daemon --config "$(cd "$folder" && pwd)/libvirtd.conf"
    tries=0
    until virsh --quiet --connect qemu:///system version >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            echo "install_kvm: libvirtd does not answer at qemu:///system" >&2
            exit 1
        fi
        sleep 0.1
    done
fi

# The distribution's Python, for the distribution's binding of libvirt; what else the endpoint needs comes pinned.
if ! cmp -s "$root/roles/eh_endpoint/files/requirements.txt" "$folder/venv/requirements.txt"; then
    rm -rf "$folder/venv"
    /usr/bin/python3 -m venv --system-site-packages "$folder/venv"
    "$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --requirement "$root/roles/eh_endpoint/files/requirements.txt"
    cp "$root/roles/eh_endpoint/files/requirements.txt" "$folder/venv/requirements.txt"
fi

# The browser of the status page's test, and what the page needs beside the endpoint.
if [ ! -x "$folder/browser/bin/python" ]; then
    /usr/bin/python3 -m venv "$folder/browser"
    "$folder/browser/bin/python" -m pip install -qq --disable-pip-version-check playwright==1.65.2
fi
if [ ! -f "$folder/console/node_modules/@novnc/novnc/core/rfb.js" ]; then
    command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null
    npm install --silent --prefix "$folder/console" --ignore-scripts --no-audit --no-fund --no-save @novnc/novnc@1.7.0
fi
