# SPDX-License-Identifier: GPL-2.0-or-later
"""A transactional system: a read-only root on real btrfs, snapshots by real snapper, updates as tukit makes them.

The root is a snapshot on a loop device. Its /usr is laid over the machine's, so that programs run; what packages
bring goes into the snapshot alone. transactional-update's own part is re-enacted: what it sets, what it calls.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host import procfs
from tests.support.sandbox import PROJECT, Finished, Sandbox, sandbox

TUKIT = "/usr/lib/tukit/plugins/zypp-livepatch"

# as the sandbox's, with other file systems; the loop device goes with the last mount
_SET_UP = r"""
set -eu
base=$1/mount
repository=$1/repository
shift
mount -t tmpfs -o mode=755 sandbox "$base"
truncate -s 500M "$base/disk"
mkfs.btrfs --quiet "$base/disk" >/dev/null
mkdir "$base/top" "$base/root"
mount -o loop "$base/disk" "$base/top"
device=$(findmnt --noheadings --output SOURCE "$base/top")
for each in @ @/.snapshots @/var; do btrfs subvolume create "$base/top/$each" >/dev/null; done
mkdir "$base/top/@/.snapshots/1"
btrfs subvolume create "$base/top/@/.snapshots/1/snapshot" >/dev/null
umount "$base/top"
mount -t btrfs -o loop,subvol=@/.snapshots/1/snapshot "$base/disk" "$base/root"
device=$(findmnt --noheadings --output SOURCE "$base/root" | sed 's/\[.*//')
cd "$base/root"
mkdir -p usr .work etc var proc sys dev run tmp root srv/repository .snapshots
for each in bin sbin lib lib32 lib64 libx32; do [ ! -L "/$each" ] || cp -P "/$each" .; done
cp -a /etc/. etc/
mount -t btrfs -o subvol=@/.snapshots "$device" .snapshots
mount -t btrfs -o subvol=@/var "$device" var
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$base/root/usr,workdir=$base/root/.work" usr
for each in /dev /sys; do mount --rbind "$each" "$base/root$each"; done
if [ $$ = 1 ]; then mount -t proc proc proc; else mount --rbind /proc proc; fi
mount -t tmpfs -o mode=755 run run
for each in "$@"; do
    mkdir -p "$base/root$each"
    mount --bind "$each" "$base/root$each"
done
mount --bind "$repository" srv/repository
rm -rf usr/lib/zypp/plugins etc/zypp/repos.d etc/zypp/services.d etc/zypp-livepatch.conf etc/sysconfig/livepatching
mkdir -p usr/lib/sysimage/rpm etc/rpm etc/sysconfig usr/lib/zypp/plugins/commit etc/zypp/repos.d
mkdir -p usr/lib/tukit/plugins var/cache var/lib var/log etc/snapper/configs etc/default
echo '%_dbpath /usr/lib/sysimage/rpm' > etc/rpm/macros.zz-sandbox
printf 'SUBVOLUME="/"\nFSTYPE="btrfs"\n' > etc/snapper/configs/root
echo 'SNAPPER_CONFIGS="root"' > etc/default/snapper
printf '#!/bin/sh\n' > usr/sbin/transactional-update
chmod 755 usr/sbin/transactional-update
exec chroot . /bin/sh -c 'echo ready; exec cat'
"""


class Transactional(Sandbox):
    """The running system; only updates change it, and only for the next boot."""

    def snapshot(self) -> int:
        """Make a snapshot that can be written to and return its number."""
        words = ["snapper", "--no-dbus", "--config", "root", "create", "--read-write", "--print-number"]
        return int(self.run(*words, "--description", "update").output)

    def update(self, snapshot: int, *words: str, tukit: bool = True) -> Finished:
        """Let zypper change a snapshot: transactional-update pkg ...; ``tukit``: with its plugin."""
        root = f"/.snapshots/{snapshot}/snapshot"
        command = ["zypper", "-R", root, "--non-interactive", *words]
        if tukit:
            self.run(TUKIT, "callExt-pre", root, str(snapshot), *command)
        done = self.run(*command, env={"TRANSACTIONAL_UPDATE": "true", "TRANSACTIONAL_UPDATE_ROOT": root})
        if tukit:
            done = self.run(TUKIT, "callExt-post", root, str(snapshot), *command)
        return done

    def wait_until_alone(self) -> None:
        """Wait for workers that are still at it: Linux 6.18 keeps the loop device where one of them ends last."""
        end = time.monotonic() + 60
        while self._others() and time.monotonic() < end:
            time.sleep(0.05)

    def _others(self) -> list[str]:
        namespace = os.readlink(f"/proc/{self.holder}/ns/mnt")
        own = {self.holder, int(procfs.status(self.holder)["PPid"])}  # what holds the namespaces
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/mnt") == namespace and int(pid) not in own:
                    found.append(pid)
            except OSError:
                continue
        return found

    def close(self, snapshot: int) -> None:
        """Let a snapshot be what the next boot starts."""
        root = f"/.snapshots/{snapshot}/snapshot"
        self.run("btrfs", "property", "set", "-ts", root, "ro", "true")
        self.run("btrfs", "subvolume", "set-default", root)


@contextmanager
def transactional(*, private: bool = False) -> Iterator[Transactional]:
    """Make a transactional system with the plugins installed, its root read-only."""
    places = list(dict.fromkeys([PROJECT, Path(sys.prefix), Path("/tmp")]))
    with sandbox(private=private, set_up=_SET_UP, places=places) as made:
        plugin = made.root / TUKIT.lstrip("/")
        plugin.symlink_to(Path(sys.prefix, "bin/zypp-livepatch-tukit"))
        made.run("btrfs", "property", "set", "-ts", "/", "ro", "true")
        machine = Transactional(
            holder=made.holder, repository=made.repository, work=made.work, private=private
        )
        try:
            yield machine
        finally:
            machine.wait_until_alone()
