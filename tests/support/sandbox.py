# SPDX-License-Identifier: GPL-2.0-or-later
"""A root of its own for real zypper: an overlay over this machine's root, in a private mount namespace.

libzypp loads commit plugins only for the root "/", so zypper runs chrooted. /proc is the machine's: a plugin
in the sandbox sees and changes the processes outside. All that is written goes to a tmpfs. One process holds
the namespace and ends when its standard input does; so nothing is left behind, even if the test is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import rpms

PROJECT = Path(__file__).resolve().parents[2]
PLUGIN = "usr/lib/zypp/plugins/commit/zypp-livepatch-commit"
REPORTS = "var/lib/zypp-livepatch/reports"

# $1: a directory to mount on; then the directories that must be seen although they are no part of the root's
# file system. The overlay's upper layer is a tmpfs: it could not be on another overlay, which a container's
# root is.
_SET_UP = r"""
set -eu
base=$1/mount
repository=$1/repository
shift
mount -t tmpfs -o mode=755 sandbox "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
for each in /dev /sys; do mount --rbind "$each" "$base/root$each"; done
if [ $$ = 1 ]; then mount -t proc proc "$base/root/proc"; else mount --rbind /proc "$base/root/proc"; fi
mount -t tmpfs -o mode=755 run "$base/root/run"
for each in "$@"; do
    mkdir -p "$base/root$each"
    mount --bind "$each" "$base/root$each"
done
mkdir -p "$base/root/srv/repository"
mount --bind "$repository" "$base/root/srv/repository"
cd "$base/root"
rm -rf var/lib/rpm var/cache/zypp var/lib/zypp var/log/zypper.log etc/zypp/repos.d etc/zypp/services.d
rm -rf usr/lib/zypp/plugins var/lib/zypp-livepatch etc/zypp-livepatch.conf etc/sysconfig/livepatching
mkdir -p var/lib/rpm etc/rpm etc/sysconfig usr/lib/zypp/plugins/commit etc/zypp/repos.d
echo '%_dbpath /var/lib/rpm' > etc/rpm/macros.zz-sandbox
exec chroot . /bin/sh -c 'echo ready; exec cat'
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a command in the sandbox did."""

    status: int
    output: str  # standard output
    errors: str  # standard error


class Sandbox:
    """A root with real zypper, an rpm database that has glibc in it, and a repository."""

    def __init__(self, *, holder: int, repository: Path, work: Path, private: bool) -> None:
        # --wd without a path: the holder's; a path would be looked up before the root is entered, and getcwd(3) fail
        self._enter = ["nsenter", f"--target={holder}", "--mount", "--root", "--wd"]
        self._enter += ["--pid", "--"] if private else ["--"]
        self.holder = holder
        self.work = work
        self.repository = repository
        self.root = Path(f"/proc/{holder}/root")  # the same files, seen from outside

    def within(self, holder: int, *, private: bool = True) -> Sandbox:
        """Return this sandbox as a process in it sees it; ``private``: one that has a process namespace of its own."""
        return Sandbox(holder=holder, repository=self.repository, work=self.work, private=private)

    def argv(self, words: Sequence[str | Path]) -> list[str]:
        """Return the words that run a command inside."""
        return [*self._enter, *map(str, words)]

    def run(
        self,
        *words: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> Finished:
        """Run a command inside; raises AssertionError if it fails, unless ``check`` is off."""
        done = subprocess.run(
            self.argv(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": "/root", **(env or {})},
        )
        finished = Finished(status=done.returncode, output=done.stdout, errors=done.stderr)
        if check and finished.status:
            raise AssertionError(
                f"{words} ended with {finished.status}:\n{finished.output}\n{finished.errors}"
            )
        return finished

    def zypper(self, *words: str, check: bool = True, env: Mapping[str, str] | None = None) -> Finished:
        """Run zypper without questions."""
        return self.run("zypper", "--non-interactive", *words, check=check, env=env)

    @contextmanager
    def locked(self, question: str, *, answer: str) -> Iterator[None]:
        """Let another zypper be at work, in a shell that was asked something and shows a line with the answer."""
        shell = subprocess.Popen(
            self.argv(["zypper", "--non-interactive", "shell"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": "/root"},
        )
        assert shell.stdin and shell.stdout
        try:
            shell.stdin.write(f"{question}\n")
            shell.stdin.flush()
            for line in shell.stdout:
                if answer in line:
                    break
            yield
        finally:
            shell.communicate("exit\n")

    def add_packages(self, *specs: rpms.Spec) -> None:
        """Build packages into the repository and let zypper see them."""
        rpms.build(specs, into=self.repository, work=self.work)
        self.refresh()

    def refresh(self) -> None:
        """Let zypper see what is in the repository."""
        rpms.repository(self.repository)
        self.zypper("--quiet", "refresh", "--force")

    def install_plugin(self) -> None:
        """Put the plugin where libzypp looks for it, and the commands where users do."""
        bin_directory = Path(sys.prefix, "bin")
        plugin = self.root / PLUGIN
        plugin.unlink(missing_ok=True)
        plugin.symlink_to(bin_directory / "zypp-livepatch-commit")
        for command in ("zypper-livepatch", "zypper-lifecycle", "ulp", "klp"):
            link = self.root / "usr/bin" / command
            link.unlink(missing_ok=True)
            link.symlink_to(bin_directory / command)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> Path:
        """Write a file inside and return where it is seen from outside."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def new_files(self) -> set[str]:
        """Return the path of every file and directory here that the machine's own root has not."""
        upper = f"{self.repository.parent}/mount/upper"
        words = ["nsenter", f"--target={self.holder}", "--mount", "--", "find", upper, "!", "-type", "c"]
        done = subprocess.run([*words, "-printf", "/%P\\n"], capture_output=True, text=True, check=True)
        written = {path for path in done.stdout.splitlines() if not os.path.lexists(path)}
        return written | set(self.run("find", "/run").output.splitlines())

    def log(self) -> str:
        """Return zypper's log."""
        return (self.root / "var/log/zypper.log").read_text(errors="replace")


@contextmanager
def sandbox(
    *, private: bool = False, plugin: bool = True, set_up: str = _SET_UP, places: Sequence[Path] = ()
) -> Iterator[Sandbox]:
    """Make a sandbox root, with the plugin and the commands of this checkout; needs root. Takes about 0.5 s.

    ``private`` gives it a process namespace, too: only processes that are started inside are seen and patched.
    Without ``plugin`` nothing of ours is there. ``set_up`` is the shell script that makes another root than an
    overlay, ``places`` are the machine's directories that are to be seen there, too.
    """
    base = Path(tempfile.mkdtemp(prefix="sandbox-"))
    holder = None
    try:
        for name in ("mount", "repository"):
            (base / name).mkdir()
        holder = subprocess.Popen(
            [
                "unshare",
                *(["--pid", "--fork", "--kill-child"] if private else []),
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                set_up,
                "sandbox",
                str(base),
                *map(str, places or _extra()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert holder.stdin and holder.stdout and holder.stderr
        if holder.stdout.readline() != "ready\n":
            holder.stdin.close()  # or it would never end
            raise RuntimeError(f"no sandbox: {holder.stderr.read()}")
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        made = Sandbox(
            holder=int(children[0]) if private else holder.pid,
            repository=base / "repository",
            work=base / "build",
            private=private,
        )
        _furnish(made)
        if plugin:
            made.install_plugin()
        yield made
    finally:
        if holder is not None:
            holder.communicate()
        shutil.rmtree(base)


def _extra() -> list[str]:
    """Return the directories that a plugin needs and that are on other file systems than the root."""
    device = Path("/").stat().st_dev
    wanted = dict.fromkeys(
        [PROJECT, Path(sys.prefix), Path(sys.base_prefix), Path("/usr"), Path("/var"), Path("/etc")]
    )
    return [str(path) for path in wanted if path.stat().st_dev != device]


def _furnish(made: Sandbox) -> None:
    # libzypp's /etc/zypp/systemCheck wants a glibc, or every transaction is a conflict
    [glibc] = rpms.build([rpms.Spec(name="glibc", version="2.38")], into=made.repository, work=made.work)
    made.run("rpm", "--install", f"/srv/repository/{glibc.name}")
    made.zypper("--quiet", "addrepo", "--no-gpgcheck", "file:///srv/repository", "test")
    made.refresh()
