# SPDX-License-Identifier: GPL-2.0-or-later
"""Filling repositories of a libsolv pool from files: libsolv's own caches, or metadata in the form rpm-md.

Nothing is written: where zypp's cache is missing, damaged or older than the metadata that were downloaded last, the
metadata are read into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from host.errors import BadDataError

if TYPE_CHECKING:
    import solv

# Marks what a patch says not to use any more, as libsolv's repo2solv and libzypp do.
RETRACTED = "retracted-patch-package()"

_REPOMD = "repodata/repomd.xml"
_PRIMARY = ("primary", "primary_zck")
_UPDATES = ("updateinfo", "updateinfo_zck")
_HINT = "'zypper refresh --force' fetches it anew"


def read_cache(repo: solv.Repo, path: Path) -> bool:
    """Read a file of libsolv's into an empty repository; without one that can be read it stays empty."""
    with _opened(path) as file:
        if file is not None and repo.add_solv(file):
            return True
    repo.empty()
    return False


def fill(repo: solv.Repo, *, cache: Path, metadata: Path) -> None:
    """Fill an empty repository with what zypp last downloaded for it, from its cache if that is the same.

    Raises BadDataError when there are no metadata that can be read.
    """
    wanted = _checksums(metadata)
    # Repositories of other kinds than rpm-md have nothing to compare: their caches count as they are.
    if not (read_cache(repo, cache) and (not wanted or _listed(repo) in ((), wanted))):
        repo.empty()
        if not wanted:
            raise BadDataError(f"there are no metadata in {metadata}", hint="'zypper refresh' fetches them")
        _read_metadata(repo, metadata)
    _mark_retracted(repo)


def _checksums(metadata: Path) -> tuple[str, ...]:
    """Return the checksums that name what was downloaded, none where there is no repomd.xml to be read."""
    import solv

    pool = solv.Pool()  # its repositories do not keep it alive
    index = pool.add_repo("index")
    with _opened(metadata / _REPOMD) as file:
        if file is None or not index.add_repomdxml(file):
            return ()
    index.internalize()
    return _listed(index)


def _listed(repo: solv.Repo) -> tuple[str, ...]:
    import solv

    places = (match.parentpos() for match in _entries(repo, None))
    found = (place.lookup_checksum(solv.REPOSITORY_REPOMD_CHECKSUM) for place in places)
    return tuple(checksum.hex() for checksum in found if checksum is not None)


def _entries(repo: solv.Repo, kind: str | None) -> solv.Dataiterator:
    """Return the index's entries for one kind of files, or for all."""
    import solv

    found = repo.Dataiterator_meta(
        solv.REPOSITORY_REPOMD_TYPE, kind, solv.Dataiterator.SEARCH_STRING if kind else 0
    )
    found.prepend_keyname(solv.REPOSITORY_REPOMD)
    return found


def _read_metadata(repo: solv.Repo, metadata: Path) -> None:
    with _opened(metadata / _REPOMD) as file:
        if file is None or not repo.add_repomdxml(file):
            raise BadDataError(f"{metadata / _REPOMD} cannot be read: {repo.pool.errstr}", hint=_HINT)
    repo.internalize()
    primary = _path(repo, metadata, _PRIMARY)
    if primary is None:
        raise BadDataError(f"{metadata / _REPOMD} names no list of packages", hint=_HINT)
    with _opened(primary) as file:
        if file is None or not repo.add_rpmmd(file, None):
            reason = repo.pool.errstr if file is not None else _why_not_opened(primary)
            repo.empty()
            raise BadDataError(f"{primary} cannot be read: {reason}", hint=_HINT)
    updates = _path(repo, metadata, _UPDATES)
    if updates is not None:
        with _opened(updates) as file:
            if file is not None:
                repo.add_updateinfoxml(file)
    repo.internalize()


def _why_not_opened(path: Path) -> str:
    return f"unpacking {path.suffix} failed" if path.is_file() else "there is no such file"


def _path(repo: solv.Repo, metadata: Path, kinds: tuple[str, ...]) -> Path | None:
    """Return where the first of these kinds of files is that the index names and that was downloaded."""
    import solv

    for kind in kinds:
        for match in _entries(repo, kind):
            location = match.parentpos().lookup_str(solv.REPOSITORY_REPOMD_LOCATION)
            if location and ".." not in Path(location).parts:
                return metadata / str(location).lstrip("/")
    return None


def _mark_retracted(repo: solv.Repo) -> None:
    """Let packages that a patch took back say so; SUSE's libsolv has done that in its caches, others have not."""
    import solv

    pool = repo.pool
    patches = repo.Dataiterator(solv.UPDATE_STATUS, "retracted", solv.Dataiterator.SEARCH_STRING)
    conflicts = [
        str(conflict)
        for match in patches
        for conflict in match.solvable.lookup_deparray(solv.SOLVABLE_CONFLICTS)
    ]
    if conflicts:
        # A patch conflicts with what is older than its packages.
        for each in repo.solvables_iter():
            older = (f"{each.name}.{each.arch} < {each.evr}", f"{each.name} < {each.evr}")
            if any(text in conflicts for text in older):
                each.add_provides(pool.Dep(RETRACTED))


@contextmanager
def _opened(path: Path) -> Iterator[solv.SolvFp | None]:
    """Open a file for libsolv, which unpacks it by its name's ending; None where it cannot be opened."""
    import solv

    file = (solv.xfopen(str(path)) or _unpacked(path)) if path.is_file() else None
    try:
        yield file
    finally:
        if file is not None:
            file.close()


def _unpacked(path: Path) -> solv.SolvFp | None:
    """Open a file that was packed with zstd for a libsolv that was built without it, as PyPI's is."""
    import subprocess
    from tempfile import TemporaryFile

    import solv

    if path.suffix != ".zst":
        return None
    with TemporaryFile() as content:
        try:
            done = subprocess.run(
                ["zstd", "-d", "-c", "-q", path],
                stdin=subprocess.DEVNULL,
                stdout=content,
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            return None
        content.seek(0)
        return solv.xfopen_fd(path.stem, content.fileno()) if done.returncode == 0 else None
