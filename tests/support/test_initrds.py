# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import gzip

from tests.support.initrds import archive, packed


def test_an_archive_is_what_linux_reads() -> None:
    """By the numbers of Documentation/driver-api/early-userspace/buffer-format.rst."""
    content = archive({"init": b"#!/bin/sh\n"})
    assert content.startswith(b"070701" + b"00000001" + b"000081a4")
    assert content[54:62] == b"0000000a" and content[94:102] == b"00000005"
    assert content[110:128] == b"init\0\0#!/bin/sh\n\0\0"
    assert content[128:134] == b"070701" and b"TRAILER!!!\0" in content
    assert len(content) % 512 == 0
    assert gzip.decompress(packed(content, "gzip")) == content
    assert packed(content, "") == content
