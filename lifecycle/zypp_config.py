# SPDX-License-Identifier: GPL-2.0-or-later
"""What zypp's configuration says about where its files are and what it may choose.

zypp.conf(5): ``[main]`` of /etc/zypp/zypp.conf, from libzypp 17.36 on also /usr/etc/zypp/zypp.conf and *.conf of
the directories zypp.conf.d. Paths are those inside of the root. What is missing or makes no sense keeps libzypp's
default, as in libzypp.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from host.config import files

_TRUE = ("yes", "true", "always", "on", "+")  # or a number but 0: libzypp, str::strToTrue
_LARGEST = 1 << 20  # bytes of a file


@dataclass(frozen=True, kw_only=True, slots=True)
class ZyppConfig:
    """Where zypp keeps what, and what its solver may do."""

    solv_caches: Path  # a directory for each repository, with a file "solv" in it
    metadata: Path  # a directory for each repository, as it was downloaded
    packages: Path  # where they are downloaded to
    repositories: Path  # *.repo
    locks: Path
    vendors: Path  # directory of files with classes of vendors
    variables: Path  # a file for each variable in the names of repositories
    architecture: str
    allow_vendor_change: bool
    only_requires: bool  # whether what packages recommend is left out
    multiversion: tuple[str, ...]  # names, or provides:CAPABILITY, of packages that stay beside newer ones


def read_zypp_config(
    root: str | os.PathLike[str] = "/", *, caches: str | os.PathLike[str] = ""
) -> ZyppConfig:
    """Read the configuration under a root; never raises for what stands in it.

    ``caches`` is the root that the caches lie under, where that is another one.
    """
    main: dict[str, str] = {}
    for path in files("zypp/zypp.conf", root=os.fspath(root)):
        main.update(read_ini(path).get("main", {}))
    top, cache_top = Path(root), Path(caches or root)

    def place(key: str, default: Path, top: Path = top) -> Path:
        path = main.get(key, "")
        return top / path.lstrip("/") if path.startswith("/") else default

    cache = place("cachedir", cache_top / "var/cache/zypp", cache_top)
    settings = place("configdir", top / "etc/zypp")
    return ZyppConfig(
        solv_caches=place("solvfilesdir", cache / "solv", cache_top),
        metadata=place("metadatadir", cache / "raw", cache_top),
        packages=place("packagesdir", cache / "packages", cache_top),
        repositories=place("reposdir", settings / "repos.d"),
        locks=place("locksfile.path", settings / "locks"),
        vendors=place("vendordir", settings / "vendors.d"),
        variables=place("varsdir", settings / "vars.d"),
        architecture=main.get("arch") or os.uname().machine,
        allow_vendor_change=is_true(main.get("solver.allowvendorchange", "")),
        only_requires=is_true(main.get("solver.onlyrequires", "")),
        multiversion=_multiversion(
            main.get("multiversion", ""), place("multiversiondir", settings / "multiversion.d")
        ),
    )


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """Return the sections of a file of zypp's; empty where it cannot be read. Keys are in lower case."""
    parser = configparser.ConfigParser(
        interpolation=None, default_section="", strict=False, allow_no_value=True, delimiters=("=",)
    )
    try:
        with path.open("rb") as file:
            parser.read_string(file.read(_LARGEST).decode(errors="surrogateescape"), source=str(path))
    except (OSError, configparser.Error):
        return {}
    return {
        section: {key: value or "" for key, value in parser.items(section)} for section in parser.sections()
    }


def is_true(text: str) -> bool:
    """Tell whether libzypp takes a value for yes."""
    word = text.strip().lower()
    return word in _TRUE or (word.isascii() and word.isdecimal() and word.strip("0") != "")


def _multiversion(setting: str, directory: Path) -> tuple[str, ...]:
    words = setting.replace(",", " ").split()
    try:
        for path in sorted(directory.iterdir()):
            lines = path.read_text(errors="replace").splitlines()
            words += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    except OSError:  # no such directory: usual
        pass
    return tuple(dict.fromkeys(words))
