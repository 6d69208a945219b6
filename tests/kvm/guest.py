# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small guest of our own, from Debian's kernel and busybox: boots from its drive, asks for its address by DHCP,
answers on TCP, and powers off on ACPI."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

PORT = 7777
ANSWER = "elastichosts guest"
SIZE = 24 << 20
"""bytes of the image; a multiple of 4 MiB, as the cloud's drives are"""
_MODULES = ("acpi/button", "input/evdev", "net/ethernet/intel/e1000/e1000")

_INIT = f"""\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do insmod "$module"; done
for event in /dev/input/event*; do
    # The power button says something: that is all it ever says.
    (dd if="$event" of=/dev/null bs=24 count=1 2>/dev/null && poweroff -f) &
done
ip link set lo up
ip link set eth0 up
(while ! udhcpc -i eth0 -n -q -t 5 -T 1 -s /dhcp; do sleep 1; done) &
nc -ll -p {PORT} -e /answer
"""
_DHCP = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev eth0
[ -z "$router" ] || ip route add default via "$router"
"""
_ANSWER = f"""\
#!/bin/sh
echo "{ANSWER} $(cat /sys/class/net/eth0/address) $(cut -d. -f1 /proc/uptime)"
"""
_BOOT = "DEFAULT guest\nLABEL guest\n  LINUX vmlinuz\n  INITRD initrd\n  APPEND quiet tsc=reliable panic=1\n"


def build(folder: Path, kernel: Path) -> Path:
    """The raw image, made in a folder from an unpacked kernel package."""
    image = folder / "guest.raw"
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    for number, module in enumerate(_MODULES):
        found = next(kernel.glob(f"lib/modules/*/kernel/drivers/{module}.ko"))
        shutil.copy(found, root / "modules" / f"{number}-{found.name}")
    for name, text in (("init", _INIT), ("dhcp", _DHCP), ("answer", _ANSWER)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["/bin/busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=root, capture_output=True, check=True
    ).stdout
    (folder / "initrd").write_bytes(gzip.compress(archive, 1))
    (folder / "syslinux.cfg").write_text(_BOOT)
    with image.open("wb") as file:
        file.truncate(SIZE)
    vmlinuz = next(kernel.glob("boot/vmlinuz-*"))
    for command in (
        ["mkfs.vfat", str(image)],
        ["syslinux", "--install", str(image)],
        ["mcopy", "-i", str(image), str(vmlinuz), "::vmlinuz"],
        ["mcopy", "-i", str(image), str(folder / "initrd"), "::initrd"],
        ["mcopy", "-i", str(image), str(folder / "syslinux.cfg"), "::syslinux.cfg"],
    ):
        subprocess.run(command, capture_output=True, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return image


FILLER = (
    bytes.fromhex(
        "fa 31c0 8ed8 8ed0 bc007c fb"  # no stack to speak of
        "be307c b443 b000 b280 cd13"  # the BIOS writes 64 sectors as the packet at 7c30 says
        "8306387c40 83163a7c00 ebe9"  # on, 64 sectors further
    ).ljust(0x30, b"\0")
    + bytes.fromhex("1000 4000 0080 0000 0008000000000000").ljust(512 - 0x30 - 2, b"\0")
    + b"\x55\xaa"
)
"""A boot sector that fills its disk from the first mebibyte on, as fast as it can."""
