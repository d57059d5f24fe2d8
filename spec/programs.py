# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that users call, for man pages and completions: all is read from the commands themselves.

What no command can know is added here: the section of the manual, files, environment, related pages.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import klp.cli
import ulp.cli
import zypp_plugin.cli
from host import config, exclusions, sysconfig
from host.arguments import Parser
from host.command_line import load
from klp import sysfs
from lifecycle import data, products
from ulp import installed
from ulp.watch import presence
from zypp_plugin import archive

Entry = tuple[str, str]  # what is named, and what it is

_CONFIGURATION = (
    f"/etc/{config.NAME}, /etc/{config.NAME}.d/*.conf",
    f"What the administrator has set; /usr/etc/{config.NAME} shows every setting with its default.",
)
_DOCUMENTS = (
    "/usr/share/doc/packages/zypp-livepatch/",
    "Among others json.md, the schemas of --json, and exit-status.md.",
)
_COLOURS = (
    ("NO_COLOR", "If it is set and not empty, nothing is coloured unless --color=yes says so."),
    ("TERM", "With dumb, output is that for a file: no colours, no progress bar."),
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program, and its page of the manual."""

    name: str  # of the page, and of the file that is run
    section: int
    called: str  # what is typed before the command's name
    package: str  # of the commands
    commands: tuple[str, ...]
    files: tuple[Entry, ...] = ()
    environment: tuple[Entry, ...] = _COLOURS
    see_also: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        """Whether there is one command only, which nobody types."""
        return self.name == f"{self.called}-{self.commands[0]}"

    def summary(self) -> str:
        """Return what the program is, in one line."""
        return self.parsers()[0].summary if self.single else self._document.summary

    def description_blocks(self) -> Sequence[str]:
        """Return what there is to say about the program as a whole."""
        return self.parsers()[0].description_blocks if self.single else self._document.description_blocks

    def parsers(self) -> list[Parser]:
        """Return the parsers of the commands, in the order in which they are listed."""
        return [load(self.called, self.package, command)[1] for command in self.commands]

    @property
    def _document(self) -> Parser:
        room = importlib.import_module(self.package.partition(".")[0])
        return Parser(command=self.called, document=room.__doc__ or "")


PROGRAMS = (
    Program(
        name="ulp",
        section=1,
        called="ulp",
        package="ulp.commands",
        commands=ulp.cli.COMMANDS,
        files=(
            (f"/{installed.DIRECTORY}/PACKAGE/", "The live patches of a package."),
            (f"/{installed.MOVED}/", "Copies of them on transactional systems."),
            (presence.FILE, "What a running ulp watch says of itself; locked as long as it runs."),
            _CONFIGURATION,
            _DOCUMENTS,
        ),
        environment=(
            *_COLOURS,
            (
                "NOTIFY_SOCKET",
                "Where ulp watch tells systemd that it listens, and what it has done (sd_notify(3)).",
            ),
        ),
        see_also=("klp(1)", "proc(5)", "ptrace(2)", "zypper(8)", "zypper-livepatch(8)"),
    ),
    Program(
        name="klp",
        section=1,
        called="klp",
        package="klp.commands",
        commands=klp.cli.COMMANDS,
        files=(
            (f"/{sysfs.DIRECTORY}/", "The kernel's live patches, and whether each is in transition."),
            ("/proc/PID/task/TID/patch_state", "Where a thread stands in a transition."),
            ("/proc/sys/kernel/tainted, /dev/kmsg", "What the kernel says of its own troubles."),
            _CONFIGURATION,
            (
                f"/{sysconfig.LIVEPATCHING}",
                "Whether kernel live patches are loaded when they are installed.",
            ),
            _DOCUMENTS,
        ),
        see_also=("ulp(1)", "rpm(8)", "zypper(8)", "zypper-livepatch(8)"),
    ),
    Program(
        name="zypper-lifecycle",
        section=8,
        called="zypper",
        package="lifecycle.commands",
        commands=("lifecycle",),
        files=(
            *(
                (f"/{folder}/NAME.lifecycle", "Until when packages of the product NAME are maintained.")
                for folder in data.FOLDERS
            ),
            (f"/{products.FOLDER}/*.prod", "The products that are installed, with their ends of support."),
            ("/etc/zypp/repos.d/*.repo", "The repositories."),
            ("/var/cache/zypp/", "What zypper knows of them; it is only read."),
            ("/etc/zypp/locks", "Packages that are not updated."),
            (
                "/var/lib/lifecycle/status.xml",
                "Where the weekly report of SUSE keeps what it has told (--save, --diff).",
            ),
            _DOCUMENTS,
        ),
        see_also=("zypper(8)", "zypper-livepatch(8)"),
    ),
    Program(
        name="zypper-livepatch",
        section=8,
        called="zypper livepatch",
        package="zypp_plugin.commands",
        commands=zypp_plugin.cli.COMMANDS,
        files=(
            (f"/{archive.DIRECTORIES[0]}/", f"The reports; {archive.LAST} is the newest."),
            (f"/{archive.DIRECTORIES[1]}/", "The reports since the last boot that found no room there."),
            _CONFIGURATION,
            (
                f"/{exclusions.DIRECTORY}/*.conf",
                "Processes and packages that are left out: lines such as user = oracle or unit = postgresql*.service.",
            ),
            (f"/{sysconfig.LIVEPATCHING}", "Packages whose live patches are not to be applied."),
            ("/var/log/zypper.log", "What the commit plugin had to say."),
            _DOCUMENTS,
        ),
        see_also=("klp(1)", "ulp(1)", "journalctl(1)", "zypper(8)", "zypper-lifecycle(8)"),
    ),
)
