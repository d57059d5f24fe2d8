# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/json.md, and what compares them with what commands really print."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@functools.cache
def examples() -> dict[str, dict[str, Any]]:
    """Return the JSON documents of docs/json.md by their schemas; fails on one that is no JSON."""
    text = (ROOT / "docs/json.md").read_text()
    documents = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    return {document["schema"].removeprefix("zypp-livepatch/"): document for document in documents}


def fields(value: object, at: str = "") -> dict[str, str]:
    """Return every field of a document, as a path such as ``.results[].pid``, with its kind of value.

    ``nothing`` is the kind of null and of an empty list: neither says what could be there.
    """
    if isinstance(value, dict):
        items = [fields(item, f"{at}.{key}") for key, item in value.items()]
        kind = "object"
    elif isinstance(value, list):
        items = [fields(item, f"{at}[]") for item in value]
        kind = "list" if value else "nothing"
    elif value is None:
        return {at: "nothing"}
    else:
        return {at: "number" if type(value) in {int, float} else type(value).__name__}
    found = {at: kind}
    for item in items:
        found |= {key: kind for key, kind in item.items() if found.get(key, "nothing") == "nothing"}
    return found


def contradictions(document: dict[str, Any]) -> list[str]:
    """Return how the document differs from the example of its schema, where both show something."""
    example = fields(examples()[document["schema"].removeprefix("zypp-livepatch/")])
    real = fields(document)

    def can_be_in(key: str, other: dict[str, str]) -> bool:
        return any(kind == "nothing" and key.startswith((f"{at}[]", f"{at}.")) for at, kind in other.items())

    found = [f"{key}: only documented" for key in example.keys() - real.keys() if not can_be_in(key, real)]
    found += [
        f"{key}: not documented" for key in real.keys() - example.keys() if not can_be_in(key, example)
    ]
    found += [
        f"{key}: {real[key]}, documented as {example[key]}"
        for key in example.keys() & real.keys()
        if example[key] != real[key] and "nothing" not in (example[key], real[key])
    ]
    return sorted(found)
