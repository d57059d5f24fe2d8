# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import BadDataError
from lifecycle import ends
from lifecycle.products import FOLDER, Product, read_products

SLES = """<?xml version="1.0" encoding="UTF-8"?>
<product schemeversion="0">
  <vendor>SUSE</vendor>
  <name>SLES</name>
  <version>15.6</version>
  <endoflife></endoflife>
  <codestream>
    <name>SUSE Linux Enterprise Server 15</name>
    <endoflife>2028-07-31</endoflife>
  </codestream>
  <register><target>sle-15-x86_64</target><flavor/></register>
  <summary>SUSE Linux Enterprise Server 15 SP6</summary>
</product>
"""
MODULE = """<product><vendor>SUSE</vendor><name>sle-module-live-patching</name><version>15.6</version>
<endoflife>1785456000</endoflife><register><flavor>module</flavor></register>
<summary>Live Patching
  Module</summary></product>"""


def write(root: Path, name: str, content: str | bytes) -> None:
    directory = root / FOLDER
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)


def test_products_are_read_the_base_product_first(tmp_path: Path) -> None:
    write(tmp_path, "SLES.prod", SLES)
    write(tmp_path, "A.prod", MODULE)
    write(tmp_path, "README", "no product")
    (tmp_path / FOLDER / "baseproduct").symlink_to("SLES.prod")
    assert read_products(tmp_path) == (
        Product(
            name="SLES",
            version="15.6",
            summary="SUSE Linux Enterprise Server 15 SP6",
            vendor="SUSE",
            flavor="",
            base=True,
            end=ends.NOT_TOLD,
            codestream="SUSE Linux Enterprise Server 15",
            codestream_end=ends.on(datetime.date(2028, 7, 31)),
        ),
        Product(
            name="sle-module-live-patching",
            version="15.6",
            summary="Live Patching Module",
            vendor="SUSE",
            flavor="module",
            base=False,
            end=ends.on(datetime.date(2026, 7, 31)),
        ),
    )


@pytest.mark.parametrize(
    ("element", "end"),
    [
        ("", ends.NEVER),
        ("<endoflife/>", ends.NOT_TOLD),
        ("<endoflife> </endoflife>", ends.NOT_TOLD),
        ("<endoflife>0</endoflife>", ends.NOT_TOLD),
        ("<endoflife>2030-01-31</endoflife>", ends.on(datetime.date(2030, 1, 31))),
        ("<endoflife>2030-01-31T00:00:00Z</endoflife>", ends.on(datetime.date(2030, 1, 31))),
    ],
)
def test_no_end_is_another_answer_than_an_end_that_is_not_told(
    tmp_path: Path, element: str, end: ends.End
) -> None:
    write(tmp_path, "x.prod", f"<product><name>x</name>{element}</product>")
    assert [product.end for product in read_products(tmp_path)] == [end]


def test_no_folder_is_no_products(tmp_path: Path) -> None:
    assert read_products(tmp_path) == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not XML",
        "<product><name>x</name>",
        "<other><name>x</name></other>",
        "<product/>",
        "<product><name>x</name><endoflife>soon</endoflife></product>",
        "<product><name>x</name><endoflife>2030-13-01</endoflife></product>",
        f"<product><name>x</name><endoflife>{'9' * 30}</endoflife></product>",
        '<?xml version="1.0" encoding="no-such"?><product/>',
        " " * (2 << 20),
    ],
)
def test_a_file_that_is_no_product_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path, "bad.prod", content)
    with pytest.raises(BadDataError, match=r"bad\.prod"):
        read_products(tmp_path)


def test_entities_that_grow_for_ever_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    write(
        tmp_path,
        "bomb.prod",
        f'<!DOCTYPE product [<!ENTITY e0 "0123456789">{entities}]><product><name>&e9;</name></product>',
    )
    with pytest.raises(BadDataError, match=r"bomb\.prod"):
        read_products(tmp_path)


@given(
    content=st.binary(max_size=100)
    | st.text(max_size=60).map(lambda text: f"<product><name>{text}".encode())
)
def test_any_file_is_a_product_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "any-product"
    write(root, "any.prod", content)
    with pytest.raises(BadDataError):
        read_products(root)
