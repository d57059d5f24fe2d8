# SPDX-License-Identifier: GPL-2.0-or-later
"""Repository metadata in the form rpm-md without the packages: as many as a distribution has, within seconds."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

_NAMESPACES = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A package that is to be listed."""

    name: str
    version: str = "1"
    release: str = "1"
    epoch: int = 0
    arch: str = "noarch"
    vendor: str = ""
    requires: Sequence[str] = ()  # names of capabilities
    provides: Sequence[str] = ()
    obsoletes: Sequence[str] = ()


def write(directory: Path, entries: Iterable[Entry]) -> Path:
    """Make the metadata of a repository in a directory, and return that."""
    repodata = directory / "repodata"
    repodata.mkdir(parents=True, exist_ok=True)
    packages = [_package(entry) for entry in entries]
    text = f'<?xml version="1.0"?>\n<metadata {_NAMESPACES} packages="{len(packages)}">{"".join(packages)}</metadata>'
    packed = gzip.compress(text.encode(), 1, mtime=0)
    for old in repodata.iterdir():
        old.unlink()
    digest = hashlib.sha256(packed).hexdigest()
    (repodata / f"{digest}-primary.xml.gz").write_bytes(packed)
    (repodata / "repomd.xml").write_text(
        f'<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>'
        f'<data type="primary"><checksum type="sha256">{digest}</checksum>'
        f'<open-checksum type="sha256">{hashlib.sha256(text.encode()).hexdigest()}</open-checksum>'
        f'<location href="repodata/{digest}-primary.xml.gz"/><timestamp>1</timestamp>'
        f"<size>{len(packed)}</size><open-size>{len(text)}</open-size></data></repomd>"
    )
    return directory


def _package(entry: Entry) -> str:
    name, version, release = map(escape, (entry.name, entry.version, entry.release))
    label = f"{entry.name}-{entry.epoch}:{entry.version}-{entry.release}.{entry.arch}-{entry.vendor}"
    me = f'<rpm:entry name="{name}" flags="EQ" epoch="{entry.epoch}" ver="{version}" rel="{release}"/>'
    return (
        f'<package type="rpm"><name>{name}</name><arch>{entry.arch}</arch>'
        f'<version epoch="{entry.epoch}" ver="{version}" rel="{release}"/>'
        f'<checksum type="sha256" pkgid="YES">{hashlib.sha256(label.encode()).hexdigest()}</checksum>'
        f"<summary>The package {name}</summary>"
        f"<description>What the package {name} is good for, in a sentence or two, as most have it.</description>"
        f'<packager/><url>https://example.com/</url><time file="1" build="1"/>'
        f'<size package="1000" installed="1000" archive="1000"/>'
        f'<location href="{name}-{version}-{release}.{entry.arch}.rpm"/><format>'
        f"<rpm:license>MIT</rpm:license><rpm:vendor>{escape(entry.vendor)}</rpm:vendor>"
        f"<rpm:group>Unspecified</rpm:group><rpm:buildhost>localhost</rpm:buildhost>"
        f"<rpm:sourcerpm>{name}-{version}-{release}.src.rpm</rpm:sourcerpm>"
        f"<rpm:provides>{me}{''.join(_entries(entry.provides))}</rpm:provides>"
        f"<rpm:requires>{''.join(_entries(entry.requires))}</rpm:requires>"
        f"<rpm:obsoletes>{''.join(_entries(entry.obsoletes))}</rpm:obsoletes>"
        f"<file>/usr/bin/{name}</file></format></package>"
    )


def _entries(names: Iterable[str]) -> Iterator[str]:
    return (f'<rpm:entry name="{escape(name)}"/>' for name in names)
