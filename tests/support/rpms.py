# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds RPM packages and repositories from files on the spot, with rpmbuild and createrepo_c."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE_DIRECTORY = "usr/lib64"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A package to be built; ``files`` maps paths inside of the package to the files on this machine."""

    name: str
    version: str = "1"
    release: str = "1"
    epoch: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)
    directories: Sequence[str] = ()  # that the package owns
    links: Mapping[str, str] = field(default_factory=dict)  # symbolic links: path -> where they lead
    modes: Mapping[str, int] = field(default_factory=dict)  # of files, where not 0o755
    tags: Sequence[str] = ()  # further lines of the preamble
    scripts: Mapping[str, str] = field(default_factory=dict)  # "post -p <lua>": text
    changelog: str = ""

    @property
    def evr(self) -> str:
        """[EPOCH:]VERSION-RELEASE."""
        return (
            f"{self.epoch}:{self.version}-{self.release}" if self.epoch else f"{self.version}-{self.release}"
        )

    @property
    def file_name(self) -> str:
        """The name of the RPM file."""
        return f"{self.name}-{self.version}-{self.release}.noarch.rpm"


def livepatch_spec(
    name: str, containers: Sequence[Path], *, version: str = "1", release: str = "1", **more: object
) -> Spec:
    """Return a package as SUSE's user-space live patches are laid out: /usr/lib64/NAME/VERSION/*.so."""
    directory = f"/{PACKAGE_DIRECTORY}/{name}"
    files = {f"{directory}/{version}/{path.name}": path for path in containers}
    directories = (directory, f"{directory}/{version}")
    return Spec(name=name, version=version, release=release, files=files, directories=directories, **more)  # type: ignore[arg-type]


def build(specs: Sequence[Spec], *, into: Path, work: Path) -> list[Path]:
    """Build packages into a directory and return their files; raises CalledProcessError with rpm's words."""
    into.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        _rpmbuild(_text(spec), into=into, top=work / f"{spec.name}-{spec.evr}".replace(":", "_"))
    return [into / spec.file_name for spec in specs]


def build_many(names: Sequence[str], *, into: Path, work: Path) -> list[Path]:
    """Build empty packages of version 1-1, thousands within seconds: they are all from one source."""
    into.mkdir(parents=True, exist_ok=True)
    head, _, files = _text(Spec(name=names[0])).partition("%install")
    more = [
        f"%package -n {name}\nSummary: A package for a test\n%description -n {name}\nA package.\n%files -n {name}"
        for name in names[1:]
    ]
    _rpmbuild("\n".join([head, *more, "%install", files]), into=into, top=work / "many")
    return [into / Spec(name=name).file_name for name in names]


def _rpmbuild(text: str, *, into: Path, top: Path) -> None:
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(parents=True)
    (top / "it.spec").write_text(text)
    subprocess.run(
        [
            "rpmbuild",
            "-bb",
            "--quiet",
            *("--define", f"_topdir {top}"),
            *("--define", f"_rpmdir {into}"),
            *("--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
            *("--define", f"_dbpath {top}/db"),
            *("--define", "debug_package %{nil}"),
            # containers stay as they are: nothing is stripped
            *("--define", "__os_install_post %{nil}"),
            *("--define", "_build_id_links none"),
            *("--define", "_binaries_in_noarch_packages_terminate_build 0"),
            *("--define", "clean_buildroot 1"),
            str(top / "it.spec"),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    shutil.rmtree(top)


def repository(directory: Path) -> Path:
    """Make or refresh the metadata of a directory of packages."""
    subprocess.run(
        ["createrepo_c", "--quiet", "--update", str(directory)], check=True, stdin=subprocess.DEVNULL
    )
    return directory


def _text(spec: Spec) -> str:
    install = [f"install -D -m 755 '{source}' '%{{buildroot}}{path}'" for path, source in spec.files.items()]
    scripts = [f"%{where}\n{text}\n" for where, text in spec.scripts.items()]
    return "\n".join(
        [
            f"Name: {spec.name}",
            *([f"Epoch: {spec.epoch}"] if spec.epoch else []),
            f"Version: {spec.version}",
            f"Release: {spec.release}",
            "Summary: A package for a test",
            "License: GPL-2.0-or-later",
            "BuildArch: noarch",
            "AutoReqProv: no",
            *spec.tags,
            "%description",
            "A package for a test.",
            "%install",
            "mkdir -p %{buildroot}",
            *(f"mkdir -p '%{{buildroot}}{path}'" for path in spec.directories),
            *install,
            *(f"mkdir -p $(dirname '%{{buildroot}}{path}')" for path in spec.links),
            *(f"ln -s '{target}' '%{{buildroot}}{path}'" for path, target in spec.links.items()),
            *scripts,
            "%files",
            *(f'%dir "{path}"' for path in spec.directories),
            *(f'%attr({spec.modes.get(path, 0o755):o}, root, root) "{path}"' for path in spec.files),
            *(f'"{path}"' for path in spec.links),
            *(["%changelog", spec.changelog] if spec.changelog else []),
            "",
        ]
    )
