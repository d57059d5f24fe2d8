# SPDX-License-Identifier: GPL-2.0-or-later
"""A sandbox whose root is a read-only btrfs snapshot, and what stands in for transactional-update there.

transactional-update itself is in none of Debian's packages. What it does around zypper for the command "pkg" is done
here with real snapshots: a snapshot of the running one with what the running system has mounted, zypper with the
snapshot as its root and the two variables set, and then the snapshot is the one that is booted next, or gone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sandbox import PROJECT, Sandbox

NEXT = "/.snapshots/2/snapshot"  # what a transaction makes

# What is no part of the snapshots: of the sandbox, or of this machine.
_MOUNTED = "dev proc sys run srv tmp root usr var/cache var/log"
_SET_UP = rf"""
set -eu
exec 3>&1 1>&2
image=/run/btrfs.image
truncate --size=256M $image
mkfs.btrfs --quiet $image
mkdir -p /run/top /run/system
mount -t btrfs -o loop $image /run/top
mkdir -p /run/top/.snapshots/1
btrfs --quiet subvolume create /run/top/.snapshots/1/snapshot
cd /run/top/.snapshots/1/snapshot
mkdir -p var/lib .snapshots "$@"
cp -a /etc .
cp -a /var/lib/rpm var/lib
for each in bin sbin lib lib32 lib64 libx32; do test ! -L /$each || cp -a /$each .; done
for each in {_MOUNTED}; do mkdir -p $each; done
btrfs property set . ro true
mount -t btrfs -o subvol=.snapshots/1/snapshot "$(losetup --noheadings --output NAME --associated $image)" /run/system
for each in {_MOUNTED} "$@"; do mount --rbind "/$each" "/run/system/$each"; done
mount --bind /run/top/.snapshots /run/system/.snapshots
cd /run/system
exec chroot . /bin/sh -c 'echo ready >&3; exec cat'
"""
_TRANSACTIONAL_UPDATE = rf"""#!/bin/sh
set -eu
test -z "${{TRANSACTIONAL_UPDATE:-}}" || {{ echo "nested" >&2; exit 1; }}
test "$1 $2 $3" = "--non-interactive --continue pkg"
shift 3
snapshot={NEXT}
mkdir -p ${{snapshot%/*}}
test -d $snapshot || btrfs --quiet subvolume snapshot /.snapshots/1/snapshot $snapshot
for each in {_MOUNTED}; do mount --rbind /$each $snapshot/$each; done
status=0
export TRANSACTIONAL_UPDATE=true TRANSACTIONAL_UPDATE_ROOT=$snapshot
zypper --non-interactive -R $snapshot "$@" || status=$?
for each in {_MOUNTED}; do umount --recursive --lazy $snapshot/$each; done
case $status in
0|102|103|106) exit 0;;
esac
btrfs --quiet subvolume delete $snapshot
exit 1
"""


class NoSnapshots(Exception):
    """This machine cannot make them; the text says why."""


@contextmanager
def transactional(system: Sandbox) -> Iterator[Sandbox]:
    """Give a sandbox as it would be on a transactional system; raises NoSnapshots."""
    system.write("/usr/sbin/transactional-update", _TRANSACTIONAL_UPDATE, mode=0o755)
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SET_UP, "snapshots"]
    # where our commands and their Python are
    places = dict.fromkeys(str(path)[1:] for path in (PROJECT, Path(sys.prefix), Path(sys.base_prefix)))
    holder = subprocess.Popen(
        system.argv([*words, *places]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout and holder.stderr
        if holder.stdout.readline() != "ready\n":
            raise NoSnapshots(holder.communicate()[1].strip())
        yield system.within(holder.pid, private=False)
    finally:
        if holder.stdin and not holder.stdin.closed:
            holder.communicate()
        system.run("rm", "-f", "/usr/sbin/transactional-update", "/run/btrfs.image")
