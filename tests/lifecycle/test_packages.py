# SPDX-License-Identifier: GPL-2.0-or-later
"""The pool of a system: what is installed and offered, from caches and without them."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.rpmdb import DatabaseError, compare
from lifecycle.packages import Packages
from lifecycle.vendors import vendor_of
from tests.support import zypp_root
from tests.support.pools import pool
from tests.support.rpms import Spec
from tests.support.zypp_root import ZyppRoot

INSTALLED = (
    Spec(name="foo", version="1"),
    Spec(name="epoch", version="1.0", release="2", epoch=3, tags=["Vendor: SUSE"]),
    Spec(
        name="rich",
        tags=[
            "Provides: other = 1:2-3",
            "Requires: other >= 1",
            "Requires: (foo or bar)",
            "Conflicts: foo < 0.1",
            "Obsoletes: gone",
            "Recommends: nice",
            "Supplements: foo",
        ],
        files={"/usr/bin/rich": Path("/bin/true"), "/usr/share/rich": Path("/bin/true")},
    ),
)
OFFERED = (
    Spec(name="foo", version="1"),
    Spec(name="foo", version="10"),
    Spec(name="foo", version="2"),
    Spec(name="needs-file", tags=["Requires: /usr/bin/rich"]),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ZyppRoot:
    """A system that no test changes."""
    made = zypp_root.make(tmp_path_factory.mktemp("packages"))
    made.install(*INSTALLED)
    made.cache_installed()
    made.add_repository("wanted", Spec(name="foo", version="2"), settings="priority=50")
    made.add_repository("usual", *OFFERED, settings="name=The usual one")
    made.add_repository("off", Spec(name="foo", version="99"), settings="enabled=0")
    return made


@pytest.fixture
def system(tmp_path: Path) -> ZyppRoot:
    """A system of one test, with caches that are what they should be."""
    made = zypp_root.make(tmp_path)
    made.install(*INSTALLED)
    made.cache_installed()
    made.add_repository("usual", *OFFERED)
    return made


def read(system: ZyppRoot) -> Packages:
    return Packages(str(system.root))


def names(packages: Packages) -> list[str]:
    return [f"{package.name}-{package.evr}.{package.arch}" for package in packages.installed]


def editions(packages: Packages) -> list[str]:
    return [offer.edition for offer in packages.offers("foo")]


ALL = ["epoch-3:1.0-2.noarch", "foo-1-1.noarch", "rich-1-1.noarch"]


def test_what_is_installed_and_offered(built: ZyppRoot) -> None:
    packages = read(built)
    assert (names(packages), packages.problems) == (ALL, [])
    offers = [
        (offer.edition, offer.repository.name, offer.repository.priority) for offer in packages.offers("foo")
    ]
    assert offers == [
        ("10-1", "The usual one", 99),
        ("2-1", "wanted", 50),
        ("2-1", "The usual one", 99),
        ("1-1", "The usual one", 99),
    ]
    assert packages.offers("nothing") == ()
    assert {
        package.name: [each.alias for each in where] for package, where in packages.carriers.items()
    } == {"foo": ["usual"]}
    assert {each.alias: each.enabled for each in packages.repositories} == {
        "off": False,
        "usual": True,
        "wanted": True,
    }


def test_metadata_packed_with_zstd(system: ZyppRoot) -> None:
    """What createrepo_c 1.0 and later does; libsolv need not be able to unpack it."""
    repodata = system.metadata("usual") / "repodata"
    index = repodata / "repomd.xml"
    for packed in repodata.glob("*-primary.xml.gz"):
        subprocess.run(
            ["zstd", "-q", "-o", packed.with_suffix(".zst")], input=gzip.decompress(packed.read_bytes())
        )
        index.write_text(index.read_text().replace(packed.name, packed.with_suffix(".zst").name))
        packed.unlink()
    system.solv("usual").unlink()
    packages = read(system)
    assert (editions(packages), packages.problems) == (["10-1", "2-1", "1-1"], [])
    (zst,) = repodata.glob("*-primary.xml.zst")
    zst.write_bytes(zst.read_bytes()[:-9])
    assert "unpacking .zst failed" in read(system).problems[0]


def test_nothing_is_written(built: ZyppRoot) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = (
            Path(top, name) for top, _, files in os.walk(built.root) for name in files if "-shm" not in name
        )
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}

    before = state()
    read(built)
    assert state() == before


def facts(packages: Packages) -> dict[str, list[object]]:
    """All that the solver may want to know of what is installed."""
    import solv

    keys = (
        solv.SOLVABLE_PROVIDES,
        solv.SOLVABLE_REQUIRES,
        solv.SOLVABLE_CONFLICTS,
        solv.SOLVABLE_OBSOLETES,
        solv.SOLVABLE_RECOMMENDS,
        solv.SOLVABLE_SUPPLEMENTS,
    )
    return {
        each.name: [
            each.evr,
            each.arch,
            vendor_of(each),
            each.lookup_num(solv.SOLVABLE_BUILDTIME),
            *(
                sorted({str(dep) for dep in each.lookup_deparray(key)} - {"foo = 1-1", "rich = 1-1"})
                for key in keys
            ),
        ]
        for each in packages.pool.installed.solvables_iter()
    }


def test_headers_say_the_same_as_the_cache(system: ZyppRoot) -> None:
    def without_rpmlib(found: dict[str, list[object]]) -> str:
        return re.sub(r",? ?'rpmlib\([^']*'", "", str(sorted(found.items())))

    cached = facts(read(system))
    assert "(foo or bar)" in str(cached)
    system.solv("@System").unlink()
    assert without_rpmlib(facts(read(system))) == without_rpmlib(cached)


def test_files_of_headers_can_be_required(system: ZyppRoot) -> None:
    system.solv("@System").unlink()
    packages = read(system)
    [provider] = packages.pool.whatprovides(packages.pool.str2id("/usr/bin/rich"))
    assert provider.name == "rich"


@pytest.mark.parametrize("change", ["remove", "install", "update", "both"])
def test_a_cache_of_what_was_installed_before(system: ZyppRoot, change: str) -> None:
    expected = list(ALL)
    if change in ("remove", "both"):
        system.remove("epoch")
        expected.remove("epoch-3:1.0-2.noarch")
    if change in ("install", "both"):
        system.install(Spec(name="new", version="7"))
        expected.insert(-1, "new-7-1.noarch")
    if change == "update":
        system.remove("foo")
        system.install(Spec(name="foo", version="2"))
        expected[1] = "foo-2-1.noarch"
    packages = read(system)
    assert names(packages) == expected
    providers = packages.pool.whatprovides(packages.pool.str2id("epoch"))
    assert bool(providers) is ("epoch-3:1.0-2.noarch" in expected)


def test_a_cache_of_another_database(system: ZyppRoot, tmp_path: Path) -> None:
    other = zypp_root.make(tmp_path / "other")
    other.install(Spec(name="a"), Spec(name="foo", version="5"), Spec(name="b"), Spec(name="c"))
    system.solv("@System").write_bytes(other.cache_installed().read_bytes())
    assert names(read(system)) == ALL


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError):
        Packages(str(tmp_path))


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = pytest.mark.parametrize("damage", [remove, truncate, fill_with_zeros, make_directory])


@DAMAGES
def test_a_damaged_cache_is_done_without(system: ZyppRoot, damage: Callable[[Path], None]) -> None:
    damage(system.solv("usual"))
    damage(system.solv("@System"))
    packages = read(system)
    assert (names(packages), editions(packages)) == (ALL, ["10-1", "2-1", "1-1"])
    assert packages.problems == []


def test_metadata_that_are_newer_than_the_cache_count(system: ZyppRoot) -> None:
    old = system.solv("usual").read_bytes()
    system.add_repository("usual", Spec(name="foo", version="3"), cached=False)
    assert editions(read(system)) == ["3-1"]
    system.cache("usual")
    assert system.solv("usual").read_bytes() != old
    assert editions(read(system)) == ["3-1"]


def test_a_repository_that_is_not_rpm_md_has_its_cache_only(system: ZyppRoot) -> None:
    (system.metadata("usual") / "repodata/repomd.xml").unlink()
    assert editions(read(system)) == ["10-1", "2-1", "1-1"]


def test_a_repository_that_was_never_fetched_is_named(system: ZyppRoot) -> None:
    system.write("etc/zypp/repos.d/new.repo", "[new]\nname=Nothing here\n")
    packages = read(system)
    [problem] = packages.problems
    assert problem.startswith("the repository new is left out: there are no metadata in ")
    assert "'zypper refresh' fetches them" in problem
    assert editions(packages) == ["10-1", "2-1", "1-1"]


def primary(system: ZyppRoot) -> Path:
    [path] = (system.metadata("usual") / "repodata").glob("*primary.xml*")
    return path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove, "cannot be read: there is no such file"),
        (truncate, "cannot be read: "),
        (fill_with_zeros, "cannot be read: "),
    ],
)
def test_damaged_metadata_are_named(system: ZyppRoot, damage: Callable[[Path], None], words: str) -> None:
    remove(system.solv("usual"))
    damage(primary(system))
    packages = read(system)
    assert editions(packages) == []
    [problem] = packages.problems
    assert f"{primary_name(system)} {words}" in problem


def primary_name(system: ZyppRoot) -> str:
    text = (system.metadata("usual") / "repodata/repomd.xml").read_text()
    found = re.search(r'"(repodata/[0-9a-f]+-primary\.xml[.a-z]*)"', text)
    assert found
    return str(system.metadata("usual") / found[1])


def test_an_index_that_names_no_list_of_packages(system: ZyppRoot) -> None:
    remove(system.solv("usual"))
    index = system.metadata("usual") / "repodata/repomd.xml"
    index.write_text(index.read_text().replace('type="primary"', 'type="secondary"'))
    [problem] = read(system).problems
    assert f"{index} names no list of packages" in problem


def add_updateinfo(system: ZyppRoot, text: str) -> None:
    """Add a list of patches to a repository's metadata."""
    directory = system.metadata("usual") / "repodata"
    packed = gzip.compress(text.encode())
    name = f"{hashlib.sha256(packed).hexdigest()}-updateinfo.xml.gz"
    (directory / name).write_bytes(packed)
    index = directory / "repomd.xml"
    entry = (
        f'<data type="updateinfo"><checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>'
        f'<location href="repodata/{name}"/></data></repomd>'
    )
    index.write_text(index.read_text().replace("</repomd>", entry))


@pytest.mark.parametrize("status", ["retracted", "stable"])
@pytest.mark.parametrize("cached", [True, False])
def test_what_a_patch_took_back(system: ZyppRoot, status: str, cached: bool) -> None:
    add_updateinfo(
        system,
        f'<updates><update status="{status}" type="security" version="1"><id>SUSE-1</id><title>x</title>'
        '<pkglist><collection><package name="foo" version="10" release="1" epoch="0" arch="noarch">'
        "<filename>foo-10-1.noarch.rpm</filename></package></collection></pkglist></update></updates>",
    )
    if cached:
        system.cache("usual")
    retracted = {offer.edition for offer in read(system).offers("foo") if offer.retracted}
    assert retracted == ({"10-1"} if status == "retracted" else set())


version = st.text("0123456789abz.~^", min_size=1, max_size=6).filter(lambda text: text[0] not in "~^")
evr = st.builds("{}{}-{}".format, st.sampled_from(["", "1:", "2:"]), version, version)


@given(left=evr, right=evr)
def test_versions_are_compared_as_rpm_does(left: str, right: str) -> None:
    made = pool(one=[("a", left), ("b", right)])
    first, second = made.solvables_iter()
    assert first.evrcmp(second) == compare(left, right)
