# SPDX-License-Identifier: GPL-2.0-or-later
"""A sandbox that systemd has booted: real systemd as process 1 of the sandbox, with nothing but itself to run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sandbox import Sandbox

SYSTEMD = Path("/lib/systemd/systemd")
_PATIENCE = 20.0  # seconds

# In namespaces of its own for everything but the network. Devices are few, so that nothing can be done to others;
# the cgroup is an empty one, seen as the root. Units of the distribution that are started by default are taken
# away: what is left is systemd's own machinery.
_BOOT = r"""
set -eu
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 dev /mnt
for each in null zero full random urandom tty; do
    touch "/mnt/$each"
    mount --bind "/dev/$each" "/mnt/$each"
done
mkdir /mnt/pts /mnt/shm /run/lock
mount --move /mnt /dev
mount -t devpts -o newinstance,ptmxmode=666 pts /dev/pts
ln -s pts/ptmx /dev/ptmx
if [ "$1" = 1 ]; then
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup /sys/fs/cgroup
fi
rm -rf /lib/systemd/system/sysinit.target.wants /lib/systemd/system/local-fs.target.wants
rm -rf /etc/systemd/system/sysinit.target.wants /lib/systemd/system/basic.target.wants
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
printf '[Unit]\nDefaultDependencies=no\n' > /etc/systemd/system/bare.target
export container=sandbox
exec /lib/systemd/systemd --unit=bare.target --show-status=no
"""


class NotBooted(Exception):
    """systemd cannot run in a namespace of this machine."""


@contextmanager
def booted(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Boot systemd in a sandbox; gives the sandbox as it is seen from inside of that. Raises NotBooted."""
    if not SYSTEMD.exists():
        raise NotBooted("systemd is not installed")
    hierarchy = Path("/sys/fs/cgroup/systemd")
    version = "1" if hierarchy.is_dir() else "2"
    group = (hierarchy if version == "1" else Path("/sys/fs/cgroup")) / f"sandbox-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NotBooted(f"no cgroup can be made: {error}") from error
    namespaces = ["--cgroup", "--ipc", "--mount", "--pid", "--uts", "--propagation", "private"]
    boot = ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", _BOOT, "boot", version]
    process = subprocess.Popen(
        # the first shell moves itself into the cgroup before the namespace makes that the root
        ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "enter", *sandbox.argv(boot)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    first = 0
    try:
        end = time.monotonic() + _PATIENCE
        while not first or not _runs(inside := sandbox.within(first)):
            found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            first = int(found[0]) if found else 0
            if process.poll() is not None or time.monotonic() > end:
                raise NotBooted("systemd does not come up")
            time.sleep(0.05)
        yield inside
    finally:
        if first:
            os.kill(first, signal.SIGKILL)  # unshare heeds no other signal than its child's end
        process.kill()
        process.communicate()
        _remove(group)


def _runs(inside: Sandbox) -> bool:
    done = inside.run("systemctl", "is-system-running", check=False)
    return done.output.strip() in ("running", "degraded")


def _remove(group: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while group.exists():
        for path, _, _ in os.walk(group, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:  # its last process is still about to go
                assert time.monotonic() < end, f"{group} does not become empty"
                time.sleep(0.02)
