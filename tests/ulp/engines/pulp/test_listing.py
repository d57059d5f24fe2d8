# SPDX-License-Identifier: GPL-2.0-or-later
"""What is listed of processes with libpulp: real ones, pretended ones, hostile ones; nobody is stopped for it."""

from __future__ import annotations

import json
import math
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.containers import build_container
from tests.support.documentation import contradictions
from tests.support.images import loading
from tests.support.libpulp import apply, libpulp, needs_libpulp, padded_library, peer, preloaded, revert
from tests.support.livepatches import build_id, ten_functions, ulp
from tests.support.pretender import Patch, Unit, pretended
from tests.support.targets import caller, closure, compiled, held, running
from tests.support.users import NOBODY, ordinary_user
from ulp import container as containers
from ulp import holdings
from ulp.engines import Change, Settings
from ulp.engines.direct.engine import DirectEngine
from ulp.engines.pulp import abi
from ulp.result import Outcome

NAME = f"liblisting{os.getpid()}.so.0"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user or a chroot")


def listed(*pids: int) -> list[holdings.Holding]:
    found, unseen = holdings.applied(pids=pids, livepatchable=True)
    assert not unseen
    return list(found)


@pytest.fixture(name="library", scope="module")
def _library() -> Path:
    return padded_library(name=NAME)


@pytest.fixture(name="container", scope="module")
def _container(library: Path) -> Path:
    return two_functions(library.parent, library, name="livepatch1.so")


def two_functions(place: Path, library: Path, *, name: str) -> Path:
    return build_container(
        place,
        "long new_0(void) { return 200; }\nlong new_1(void) { return 201; }\n",
        target=library,
        functions={"answer_0": "new_0", "answer_1": "new_1"},
        comments="CVE-2024-1 and bsc#77",
        name=name,
    )


def pretended_patch(
    library: Path, path: Path, *, units: int = 2, patch_id: bytes = b"", **more: object
) -> Path:
    """A libpulp that says it has applied a container that is loaded with it."""
    patch = Patch(
        id=patch_id or containers.read(path).patch_id,
        library=f'"{library.name}"',
        container=f'"{path}"',
        units=[Unit(old=f"answer_{number}", new=f"new_{number}") for number in range(units)],
        time=1795222864,
    )
    functions = [f"{name}_{number}" for name in ("answer", "new") for number in range(2)]
    return pretended(patch, functions=functions, libraries=[library, path], **more)  # type: ignore[arg-type]


def test_names_and_labels_come_from_the_container(library: Path, container: Path) -> None:
    preload = pretended_patch(library, container)
    with loading(preload) as pid:
        (holding,) = listed(pid)
    (patch,) = holding.patches
    assert (patch.engine, patch.container, patch.library) == ("pulp", str(container), str(library))
    assert patch.build_id.hex() == build_id(library)
    assert (patch.functions, patch.labels) == (("answer_0", "answer_1"), ("CVE-2024-1", "bsc#77"))
    assert patch.time == 1795222864.0
    assert holding.has_libpulp and holding.libpulp is not None and holding.libpulp.version == "0.3.17"
    assert (holding.problem, holding.obstacle, holding.is_disabled_by_user) == ("", "", False)
    assert sorted(holding.livepatchable) == sorted(
        (str(path), build_id(path)) for path in (library, preload)
    )


@needs_root
def test_the_file_that_is_mapped_is_read_even_if_it_is_deleted(library: Path, tmp_path: Path) -> None:
    doomed = two_functions(tmp_path, library, name="doomed.so")
    with loading(pretended_patch(library, doomed)) as pid:
        doomed.unlink()
        (holding,) = listed(pid)
    assert holding.patches[0].functions == ("answer_0", "answer_1")
    assert holding.patches[0].labels == ("CVE-2024-1", "bsc#77")


@needs_root
def test_an_ordinary_user_sees_the_own_processes(library: Path, container: Path) -> None:
    environment = {"LD_PRELOAD": str(pretended_patch(library, container))}
    with running(caller(library), wrapper=NOBODY, environment=environment) as target:
        said = ulp("patches", "-p", str(target.pid), "--json", prefix=ordinary_user())
        assert said.status == 0, said
        (process,) = json.loads(said.stdout)["processes"]
        assert process["patches"][0]["functions"] == ["answer_0", "answer_1"]


@needs_root
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_chroot_that_has_all_files_of_its_own(library: Path, tmp_path: Path, user: str) -> None:
    """Outside of it there is no such container; nobody may not open map_files."""
    inside = two_functions(tmp_path, library, name="livepatch9.so")
    preload = pretended_patch(library, inside, name=f"libpulp.so.{user}")
    root = tmp_path / "root"
    for path in {*closure(caller(library)), *closure(preload)}:
        copy = root / str(path).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    environment = {"LD_PRELOAD": str(preload)}
    account = pwd.getpwnam(user)  # the root has no list of users
    wrapper = ["chroot", f"--userspec={account.pw_uid}:{account.pw_gid}", str(root)]
    with running(caller(library), wrapper=wrapper, environment=environment) as target:
        inside.unlink()
        prefix = ordinary_user() if user == "nobody" else ()
        said = ulp("patches", "-p", str(target.pid), prefix=prefix)
        assert (said.status, said.stderr) == (0, "")
        assert "      livepatch: livepatch9.so loaded on " in said.stdout
        assert "        bug labels: CVE-2024-1 bsc#77 \n" in said.stdout


def test_another_live_patch_in_the_file_is_not_believed(library: Path, container: Path) -> None:
    with loading(pretended_patch(library, container, patch_id=b"\7" * 32)) as pid:
        (holding,) = listed(pid)
    (patch,) = holding.patches
    values = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    places = {line.split()[2]: int(line.split()[0], 16) for line in values.splitlines() if " T " in line}
    assert patch.functions == tuple(f"{NAME}+{places[f'answer_{number}']:#x}" for number in range(2))
    assert patch.labels == () and patch.build_id.hex() == build_id(library)


def test_a_live_patch_without_functions_is_found_by_names(library: Path, container: Path) -> None:
    with loading(library, container, pretended_patch(library, container, units=0)) as pid:
        (holding,) = listed(pid)
    (patch,) = holding.patches
    assert patch.library == str(library) and patch.labels == ("CVE-2024-1", "bsc#77")


def test_what_lies_about_addresses_is_listed_by_the_names_it_gives() -> None:
    patch = Patch(
        library='"lib\\033[2J.so"', container='"/x\\nPID: 1, name: init"', units=(Unit(), Unit(old="-1"))
    )
    with loading(pretended(patch)) as pid:
        (holding,) = listed(pid)
        text = ulp("patches", "-p", str(pid), "-v", "-b").stdout
    (found,) = holding.patches
    assert (found.library, found.build_id) == ("lib\x1b[2J.so", b"")
    assert found.functions == ("lib\x1b[2J.so+0x1000", "lib\x1b[2J.so+0xffffffffffffffff")
    assert all(line.isprintable() for line in text.splitlines())
    assert text.count("PID: ") == 2 and text.startswith(f"PID: {pid}, name: python")
    assert "    in lib\\x1b[2J.so:\n      livepatch: x\\x0aPID: 1, name: init loaded on " in text


def test_without_a_time_the_line_ends_with_the_name(library: Path, container: Path) -> None:
    with loading(pretended_patch(library, container, version="0.2.8")) as pid:
        (holding,) = listed(pid)
        assert math.isnan(holding.patches[0].time)
        said = ulp("patches", "-p", str(pid))
        assert f"      livepatch: {container.name}\n        bug labels: CVE-2024-1 bsc#77 \n" in said.stdout
        assert "(version 0.2.8):\n" in said.stdout
        assert (
            json.loads(ulp("patches", "-p", str(pid), "--json").stdout)["processes"][0]["patches"][0]["time"]
            is None
        )


@pytest.mark.parametrize(
    ("state", "line", "status"),
    [
        ({}, "enabled", "enabled"),
        ({"error": abi.DISABLED_BY_USER}, "disabled by user", "disabled-by-user"),
        (
            {"error": 282},
            "disabled (internal error: Libpulp initialization failure)",
            "internal-error",
        ),
        ({"error": 256}, "disabled (internal error: Unknown error)", "internal-error"),
        ({"error": -7}, "disabled (internal error: Unknown error -7)", "internal-error"),
        ({"error": None}, "enabled", "enabled"),
        ({"loaded": False}, "disabled (internal error: libpulp is not set up yet)", "internal-error"),
        (
            {"newest": "8"},
            "disabled (internal error: libpulp's list of live patches cannot be read: nothing can be read at 0x8)",
            "internal-error",
        ),
    ],
    ids=str,
)
def test_the_status_line(state: dict[str, object], line: str, status: str) -> None:
    with loading(pretended(**state)) as pid:  # type: ignore[arg-type]
        assert f"  Livepatching status: {line}\n" in ulp("patches", "-p", str(pid)).stdout
        (row,) = json.loads(ulp("patches", "-p", str(pid), "--json").stdout)["processes"]
        assert row["status"] == status and (row["obstacle"] in line) == (
            status != "disabled-by-user" or not row["obstacle"]
        )
        assert row["libpulp"]["error_state"] == (state.get("error") or 0)


def test_a_damaged_list_shows_in_its_own_line_only(library: Path, container: Path) -> None:
    with loading(pretended(newest="8")) as liar, loading(pretended_patch(library, container)) as honest:
        bad, good = listed(liar, honest)
        assert bad.patches == () and "cannot be read" in bad.problem
        assert len(good.patches) == 1 and good.problem == ""
        said = ulp("check", "-p", str(liar), container)
        assert said.status == 2
        said = ulp("check", "-p", str(honest), container)
        assert (said.status, said.stdout.count(f": APPLIED {container.name}\n")) == (0, 1)
    with loading(library, pretended(newest="8")) as liar:
        said = ulp("check", "-p", str(liar), container)
        assert said.status == 1
        assert (
            f"NOT APPLIED {container.name}: libpulp's list of live patches cannot be read: " in said.stdout
        )
        (finding,) = json.loads(ulp("check", "--json", "-p", str(liar), container).stdout)["findings"]
        assert finding["applied"] is False and "cannot be read" in finding["problem"]


@needs_libpulp
def test_both_tools_list_alike(library: Path) -> None:
    first, second = ten_functions(200, library=library), ten_functions(300, library=library)
    with preloaded(caller(library)) as target:
        for container in (first, second):
            apply(target, container)
        ours = ulp("patches", "-p", str(target.pid), "-b").stdout.splitlines()
        theirs = libpulp("patches", "-p", str(target.pid), "-b").stdout.splitlines()
        real = str(peer().library.resolve())
        assert sorted(ours) == sorted(line.replace(str(peer().library), real) for line in theirs)
        assert ours[:3] == theirs[:3] and ours[-1] == theirs[-1] == ""
        assert [line for line in ours if "livepatch: " in line] == [
            line for line in reversed(theirs) if "livepatch: " in line
        ]
        assert f"PID: {target.pid}," in ulp("patches").stdout
        assert ulp("patches", "--only-livepatched", "-bp", str(target.pid)).stdout.splitlines() == ours
        assert ulp("patches", "--all", "-p", str(target.pid)).stdout.count("    in ") >= 5
        for container, status in ((first, 0), (second, 0)):
            assert ulp("check", "-p", str(target.pid), container).status == status
        revert(target, first)
        assert ulp("check", "-p", str(target.pid), first).status == 1
        revert(target, second)
        said = ulp("patches", "-p", str(target.pid)).stdout
        assert "livepatch: " not in said and f"    in {library}:\n" in said
        assert ulp("patches", "--only-livepatched", "-p", str(target.pid)).stdout == ""


@needs_libpulp
def test_disabling_hides_nothing_that_is_applied(library: Path) -> None:
    """libpulp's own check says "not yet applied" of such a process."""
    container = ten_functions(200, library=library)
    with preloaded(caller(library)) as target:
        apply(target, container)
        assert libpulp("set_patchable", "-p", str(target.pid), "disable").returncode == 0
        said = ulp("patches", "-p", str(target.pid)).stdout
        assert (
            "  Livepatching status: disabled by user\n" in said and f"livepatch: {container.name} " in said
        )
        assert ulp("check", "-p", str(target.pid), container).status == 0


@needs_libpulp
def test_what_libpulps_own_tool_misses(library: Path, tmp_path: Path) -> None:
    """Libraries with the newer hash table only, and functions that begin with endbr64."""
    gnu = padded_library("-Wl,--hash-style=gnu", name=f"libgnu{os.getpid()}.so.0")
    endbr = padded_library("-fcf-protection=full", name=f"libendbr{os.getpid()}.so.0")
    with preloaded(caller(gnu)) as one, preloaded(caller(endbr)) as two:
        for target, path in ((one, gnu), (two, endbr)):
            assert f"    in {path}:\n" in ulp("patches", "-p", str(target.pid)).stdout
            assert str(path) not in libpulp("patches", "-p", str(target.pid)).stdout


@needs_libpulp
def test_json_and_both_engines_in_one_process(library: Path) -> None:
    padless = compiled(
        "long other(void);\nlong other(void) { return 7; }\n",
        "-fPIC",
        "-shared",
        "-Wl,--build-id",
        name="libother.so",
    )
    environment = {"LD_PRELOAD": f"{peer().library}:{padless}"}
    direct = build_container(
        library.parent,
        "long newer(void) { return 8; }\n",
        target=padless,
        functions={"other": "newer"},
        name="other.so",
    )
    pulp = ten_functions(200, library=library)
    with running(caller(library), environment=environment) as target:
        apply(target, pulp)
        result = DirectEngine().change(target.pid, Change(apply=containers.read(direct)), Settings())
        assert result.outcome == Outcome.SUCCESS, result
        document = json.loads(ulp("patches", "--json", "-p", str(target.pid)).stdout)
        assert contradictions(document) == []
        (process,) = document["processes"]
        assert {(patch["engine"], patch["container"]) for patch in process["patches"]} == {
            ("direct", str(direct)),
            ("pulp", str(pulp)),
        }
        assert process["libpulp"] == {
            "path": str(peer().library.resolve()), "version": "0.3.17", "error_state": 0
        }  # fmt: skip
        (found,) = [patch for patch in process["patches"] if patch["engine"] == "pulp"]
        assert found["library"] == str(library) and len(found["functions"]) == 10


@needs_libpulp
def test_nobody_is_stopped(library: Path) -> None:
    """Another tracer holds the process all the time: who wanted to stop it, too, would fail."""
    container = ten_functions(200, library=library)
    with preloaded(caller(library)) as target:
        apply(target, container)
        with held(target.pid) as tracer:
            assert target.tracer() == tracer
            assert f"livepatch: {container.name} " in ulp("patches", "-p", str(target.pid)).stdout
            assert ulp("check", "-p", str(target.pid), container).status == 0


@needs_libpulp
def test_a_process_whose_main_thread_has_exited(library: Path) -> None:
    with preloaded(caller(library), "main-exits") as target:
        target.until(lambda: target.threads().get(target.pid) == "Z", "end of the main thread")
        document = json.loads(ulp("patches", "--json", "-p", str(target.pid)).stdout)
        (process,) = document["processes"]
        assert process["status"] == "enabled" and process["libpulp"]["version"] == "0.3.17"
        assert str(library) in {row["path"] for row in process["libraries"]}
