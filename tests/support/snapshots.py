# SPDX-License-Identifier: GPL-2.0-or-later
"""A transactional system: a read-only root on real btrfs, snapshots by real snapper, updates as tukit makes them.

The root is a snapshot on a loop device. Its /usr is laid over the machine's, so that programs run; what packages
bring goes into the snapshot alone. transactional-update itself is in none of Debian's packages; its part is
re-enacted: what it sets, what it calls, and which snapshot the next boot starts.
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

# What transactional-update 6 does for "--continue pkg": goes on from the default snapshot, lets zypper change a copy
# of it with what the running system has mounted, and makes that the default, or drops it.
_TRANSACTIONAL_UPDATE = r"""#!/bin/sh
set -eu
test -z "${TRANSACTIONAL_UPDATE:-}" || { echo "nested" >&2; exit 1; }
test "$1 $2 $3" = "--non-interactive --continue pkg"
shift 3
base=$(btrfs subvolume get-default / | sed 's|.*/[.]snapshots/\(.*\)/snapshot|\1|')
words="--cleanup-algorithm number --print-number"
number=$(snapper --no-dbus --config root create --from "$base" --read-write $words --description update)
root=/.snapshots/$number/snapshot
status=0
TRANSACTIONAL_UPDATE=true TRANSACTIONAL_UPDATE_ROOT=$root unshare --mount sh -eu -c '
    cd $TRANSACTIONAL_UPDATE_ROOT
    mount -t overlay overlay -o "lowerdir=/usr,upperdir=$PWD/usr,workdir=$PWD/.work" usr
    for each in proc dev sys; do mount --rbind /$each $each; done
    for each in var srv; do mount --rbind /$each $each; done
    mount -t tmpfs run run
    cd /
    exec zypper --non-interactive -R $TRANSACTIONAL_UPDATE_ROOT "$@"' zypper "$@" || status=$?
case $status in
0|102|103|106) ;;
*) snapper --no-dbus --config root delete "$number"; exit 1;;
esac
btrfs property set -ts "$root" ro true
btrfs subvolume set-default "$root"
"""

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
echo '<snapshot><type>single</type><num>1</num><date>2026-01-01 00:00:00</date></snapshot>' \
    > "$base/top/@/.snapshots/1/info.xml"
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
exec chroot . /bin/sh -c 'echo ready; exec cat'
"""


class Transactional(Sandbox):
    """The running system; only updates change it, and only for the next boot."""

    def snapshot(self) -> int:
        """Make a snapshot that can be written to and return its number."""
        words = ["snapper", "--no-dbus", "--config", "root", "create", "--read-write", "--print-number"]
        return int(self.run(*words, "--description", "update").output)

    @staticmethod
    def place(snapshot: int) -> str:
        """Return where a snapshot is."""
        return f"/.snapshots/{snapshot}/snapshot"

    def next_boot(self) -> int:
        """Return the number of the snapshot that the next boot starts."""
        return int(self.run("btrfs", "subvolume", "get-default", "/").output.split("/")[-2])

    def update(self, snapshot: int, *words: str, tukit: bool = True) -> Finished:
        """Let zypper change a snapshot: transactional-update pkg ...; ``tukit``: with its plugin."""
        root = self.place(snapshot)
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
        root = os.stat(f"/proc/{self.holder}/root")  # an update has a mount namespace of its own
        own = {self.holder, int(procfs.status(self.holder)["PPid"])}  # what holds the namespaces
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.samestat(os.stat(f"/proc/{pid}/root"), root) and int(pid) not in own:
                    found.append(pid)
            except OSError:
                continue
        return found

    def close(self, snapshot: int) -> None:
        """Let a snapshot be what the next boot starts."""
        root = self.place(snapshot)
        self.run("btrfs", "property", "set", "-ts", root, "ro", "true")
        self.run("btrfs", "subvolume", "set-default", root)


@contextmanager
def transactional(*, private: bool = False) -> Iterator[Transactional]:
    """Make a transactional system with the plugins installed, its root read-only."""
    places = list(dict.fromkeys([PROJECT, Path(sys.prefix), Path("/tmp")]))
    with sandbox(private=private, set_up=_SET_UP, places=places) as made:
        plugin = made.root / TUKIT.lstrip("/")
        plugin.symlink_to(Path(sys.prefix, "bin/zypp-livepatch-tukit"))
        made.write("/usr/sbin/transactional-update", _TRANSACTIONAL_UPDATE, mode=0o755)
        made.run("btrfs", "subvolume", "set-default", "/")
        made.run("btrfs", "property", "set", "-ts", "/", "ro", "true")
        machine = Transactional(
            holder=made.holder, repository=made.repository, work=made.work, private=private
        )
        try:
            yield machine
        finally:
            machine.wait_until_alone()
