# SPDX-License-Identifier: GPL-2.0-or-later
"""The repositories that zypp knows: /etc/zypp/repos.d/*.repo, one section for each (libzypp, RepoFileReader.cc)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.zypp_config import ZyppConfig, is_true, read_ini

USUAL_PRIORITY = 99

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_I586 = ("i386", "i486", "i586", "i686", "athlon")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository; texts are untrusted."""

    alias: str
    name: str  # as ``zypper repos`` shows it
    enabled: bool
    priority: int  # from 1, the most wanted
    cache: Path  # libsolv's form of its metadata
    metadata: Path  # the directory with repodata/ in it


def read_repositories(config: ZyppConfig, *, release: str = "") -> tuple[Repository, ...]:
    """Return all repositories, the disabled ones too, by alias; ``release`` is the base product's version."""
    found: dict[str, Repository] = {}
    variables: Mapping[str, str] | None = None
    for path in sorted(config.repositories.glob("*.repo")):
        for alias, section in read_ini(path).items():
            name = section.get("name") or alias
            if "$" in name:
                variables = _variables(config, release) if variables is None else variables
                name = _fill_in(name, variables)
            folder = alias.replace("/", "_")
            found[alias] = Repository(
                alias=alias,
                name=name,
                enabled=is_true(section.get("enabled", "1")),
                priority=_priority(section.get("priority", "")),
                cache=config.solv_caches / folder / "solv",
                metadata=_below(config.metadata / folder, section.get("path", "")),
            )
    return tuple(found[alias] for alias in sorted(found))


def _priority(text: str) -> int:
    return (
        int(text) or USUAL_PRIORITY
        if text.isascii() and text.isdecimal() and len(text) < 9
        else USUAL_PRIORITY
    )


def _below(folder: Path, path: str) -> Path:
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return folder.joinpath(*parts)


def _variables(config: ZyppConfig, release: str) -> Mapping[str, str]:
    """Return what stands for $arch and so on (zypper(8), "Repository Management")."""
    architecture = config.architecture
    major, _, minor = release.partition(".")
    variables = {
        "arch": architecture,
        "basearch": "i386" if architecture in _I586 else architecture,
        "releasever": release,
        "releasever_major": major,
        "releasever_minor": minor,
    }
    try:
        for path in config.variables.iterdir():
            variables[path.name] = path.read_text(errors="replace").partition("\n")[0].strip()
    except OSError:  # no such directory: usual
        pass
    return variables


def _fill_in(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)
