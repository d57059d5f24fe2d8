# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON for machines: an envelope with a named, versioned schema around every answer (docs/json.md)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from host.terminal import visible

NAME = "zypp-livepatch"


def document(command: str, fields: Mapping[str, object], *, version: int = 1) -> dict[str, object]:
    """Return the fields in their envelope; ``version`` rises when a field changes meaning or goes away."""
    return {"schema": f"{NAME}/{command}", "version": version, **fields}


def dumps(value: object, *, indent: int | None = None) -> str:
    r"""Return the value as JSON in ASCII; a byte that is no UTF-8 (a PEP 383 surrogate) becomes ``\xff``.

    Lone surrogates are no Unicode text, and strict parsers refuse a whole document for one (RFC 8259, 8.2).
    """
    import json

    text = json.dumps(value, indent=indent, allow_nan=False)
    if "\\ud" not in text:  # no surrogate, paired or alone: nearly always
        return text
    return json.dumps(_decodable(value), indent=indent, allow_nan=False)


def write(
    command: str, fields: Mapping[str, object], *, version: int = 1, stream: TextIO | None = None
) -> None:
    """Print the document: indented on a terminal, one line elsewhere."""
    stream = stream or sys.stdout
    indent = 2 if stream.isatty() else None
    stream.write(dumps(document(command, fields, version=version), indent=indent) + "\n")


def _decodable(value: object) -> object:
    if isinstance(value, str):
        return "".join(visible(each) if "\ud800" <= each <= "\udfff" else each for each in value)
    if isinstance(value, Mapping):
        return {_decodable(key): _decodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_decodable(item) for item in value]
    return value
