#!/bin/sh
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs a command with a libvirt of its own, after install_kvm.sh. Daemons, guests, bridges and files of libvirt live in
# namespaces that end with the command, however it ends: a killed run leaves nothing behind, two runs do not meet, a
# libvirt that the machine has is not touched, and no packet of a guest gets out.
# usage (as root): with_libvirt.sh COMMAND...
set -eu

if [ "$(id -u)" -ne 0 ]; then
    echo "with_libvirt: run it as root: it starts libvirtd" >&2
    exit 1
fi
if [ "${EH_ROOM:-}" != made ]; then
    EH_ROOM=made exec unshare --net --mount --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi

unset EH_ROOM
ip link set lo up
# Where daemons of a service manager would be found, the guests and networks that this machine may have, the place of
# the tests' drives, and what apt knows of packages that could not be fetched in here.
mount -t tmpfs -o mode=755 room /run
# What a role installs, and the user that it makes, are seen in here only.
for folder in /etc /opt /var/lib; do
    mkdir -p "/run/room$folder/upper" "/run/room$folder/work"
    mount -t overlay -o "lowerdir=$folder,upperdir=/run/room$folder/upper,workdir=/run/room$folder/work" room "$folder"
done
for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/lib/apt/lists /var/tmp; do
    mount -t tmpfs -o mode=755 room "$folder"
done
mkdir -p /run/lock /run/libvirt /var/log/libvirt/qemu
# As the service units of the distribution have it: the members of the group libvirt may use it.
printf '%s\n' 'unix_sock_group = "libvirt"' 'unix_sock_rw_perms = "0770"' 'auth_unix_rw = "none"' >/run/libvirtd.conf
virtlogd --daemon
libvirtd --daemon --config /run/libvirtd.conf
tries=0
until virsh --quiet --connect qemu:///system version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        echo "with_libvirt: libvirtd does not answer at qemu:///system; its log says:" >&2
        cat /var/log/libvirt/libvirtd.log >&2 2>/dev/null || true
        exit 1
    fi
    sleep 0.1
done
# Not by exec: this shell is the init of its namespace and takes in what daemons leave.
"$@"
