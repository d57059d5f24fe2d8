# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files: which count, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.config import LONGEST_WAIT, Config, ConfigError, load


def write(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_without_files_the_defaults_hold(tmp_path: Path) -> None:
    config = load(root=str(tmp_path))
    assert config == Config()
    assert config.wait < 30  # libzypp's patience
    assert not config.process_one


def test_all_settings_can_be_changed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "etc/zypp-livepatch.conf",
        "[plugin]\nenabled = no\nwait = 2.5\nterminal = off\n"
        "[patch]\nprocess-one = yes\nconsistency = strict\ntries = 3\ntimeout = 7\n"
        "[kernel]\ntransition = 0\n[report]\nkeep = 5\n",
    )
    assert load(root=str(tmp_path)) == Config(
        enabled=False,
        wait=2.5,
        terminal=False,
        process_one=True,
        consistency="strict",
        tries=3,
        timeout=7.0,
        transition=0.0,
        keep=5,
    )


def test_the_administrator_is_stronger_than_the_vendor(tmp_path: Path) -> None:
    write(tmp_path, "usr/etc/zypp-livepatch.conf", "[plugin]\nwait = 1\n[report]\nkeep = 2\n")
    assert load(root=str(tmp_path)).wait == 1
    write(tmp_path, "etc/zypp-livepatch.conf", "[plugin]\nwait = 3\n")
    config = load(root=str(tmp_path))
    assert (config.wait, config.keep) == (3, Config().keep)  # a main file replaces the vendor's as a whole
    write(
        tmp_path, "usr/etc/zypp-livepatch.conf.d/50-vendor.conf", "[plugin]\nwait = 4\n[report]\nkeep = 9\n"
    )
    config = load(root=str(tmp_path))
    assert (config.wait, config.keep) == (4, 9)  # one of a directory changes what it names
    write(tmp_path, "etc/zypp-livepatch.conf.d/50-vendor.conf", "[plugin]\nwait = 5\n")
    config = load(root=str(tmp_path))
    assert (config.wait, config.keep) == (5, Config().keep)  # the same name hides
    write(tmp_path, "etc/zypp-livepatch.conf.d/10-early.conf", "[plugin]\nwait = 6\n")
    assert load(root=str(tmp_path)).wait == 5  # later names win
    (tmp_path / "etc/zypp-livepatch.conf.d/50-vendor.conf").unlink()
    (tmp_path / "etc/zypp-livepatch.conf.d/50-vendor.conf").symlink_to("/dev/null")
    assert load(root=str(tmp_path)).wait == 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[plugin]\nwait = soon\n", r"\[plugin\] wait is 'soon', but it takes a number from 0 to 25"),
        ("[plugin]\nwait = nan\n", "takes a number"),
        (f"[plugin]\nwait = {LONGEST_WAIT + 1}\n", "from 0 to 25"),
        ("[plugin]\nenabled = maybe\n", "takes yes or no"),
        ("[patch]\ntries = 1.5\n", "takes a whole number from 1"),
        ("[patch]\nconsistency = lax\n", "takes default or strict"),
        ("[plugin]\nwiat = 3\n", r"\[plugin\] has no setting wiat"),
        ("[plugins]\nwait = 3\n", r"no section \[plugins\]"),
        ("wait = 3\n", "not an INI file"),
        ("[plugin]\nwait\n", "not an INI file"),
        ("[plugin]\nwait = 1\nwait = 2\n", "not an INI file"),
        ("[plugin]\nwait = %(x)s\n", "takes a number"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, "etc/zypp-livepatch.conf", text)
    with pytest.raises(ConfigError, match=says) as raised:
        load(root=str(tmp_path))
    assert str(file) in raised.value.sentence
    assert "\n" not in raised.value.sentence


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, "etc/zypp-livepatch.conf", "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(root=str(tmp_path))


@given(st.text(max_size=60) | st.text("[]=plugin wat\n123.;#%", max_size=60))
def test_any_text_is_a_configuration_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("root")
    write(root, "etc/zypp-livepatch.conf", "").write_bytes(text.encode(errors="surrogateescape"))
    try:
        load(root=str(root))
    except ConfigError as error:
        assert "\n" not in error.sentence
