# SPDX-License-Identifier: GPL-2.0-or-later
"""MD4 against the test suite of RFC 1320, appendix A.5, and against the padding's edges."""

from __future__ import annotations

import string
import subprocess

import pytest

from ulp.md4 import md4

RFC_1320 = {
    "": "31d6cfe0d16ae931b73c59d7e0c089c0",
    "a": "bde52cb31de33e46245e05fbdbd6fb24",
    "abc": "a448017aaf21d8525fc10ae87aa6729d",
    "message digest": "d9130a8164549fe818874806e1c7014b",
    string.ascii_lowercase: "d79e1c308aa5bbcdeea8ed63df412da9",
    string.ascii_uppercase + string.ascii_lowercase + string.digits: "043f8582f241db351ce627e153e7f0e4",
    "1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}


@pytest.mark.parametrize(("text", "digest"), RFC_1320.items())
def test_vectors_of_the_rfc(text: str, digest: str) -> None:
    assert md4(text.encode()).hex() == digest


@pytest.mark.parametrize("length", [1, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_lengths_around_a_block_agree_with_openssl(length: int) -> None:
    data = bytes(at % 251 for at in range(length))
    command = ["openssl", "dgst", "-provider", "legacy", "-md4", "-binary"]
    assert md4(data) == subprocess.run(command, input=data, capture_output=True, check=True).stdout
