# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration file that the package installs says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from host.config import Config, load

FILE = Path(__file__).parents[2] / "spec/config/zypp-livepatch.conf"
SETTING = re.compile(r"^#([a-z-]+) = ", re.MULTILINE)


def test_the_file_as_installed_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "usr/etc").mkdir(parents=True)
    (tmp_path / "usr/etc/zypp-livepatch.conf").write_text(FILE.read_text())
    assert load(root=str(tmp_path)) == Config()


def test_each_setting_is_shown_once_with_its_default(tmp_path: Path) -> None:
    text = FILE.read_text()
    names = [name.replace("-", "_") for name in SETTING.findall(text)]
    assert sorted(names) == sorted(field.name for field in fields(Config))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/zypp-livepatch.conf").write_text(SETTING.sub(r"\1 = ", text))
    assert load(root=str(tmp_path)) == Config()
