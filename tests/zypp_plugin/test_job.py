# SPDX-License-Identifier: GPL-2.0-or-later
"""The job survives the way to the worker, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zypp_plugin.job import BadJob, Job, PackageStep

STEP = PackageStep(
    name="a", kind="userspace", action="+", stage="ok", evr="1-1", before=("0-1",), containers_before=("/x",)
)
JOB = Job(root="/", zypper=5, steps=(STEP, STEP), channel="00ff", problems=("a \udcff problem",))


def test_there_and_back() -> None:
    assert Job.decode(JOB.encode()) == JOB


def test_a_job_of_another_version() -> None:
    values = json.loads(JOB.encode())
    values["more"] = 1
    values["steps"][0]["more"] = 1
    del values["problems"]
    assert Job.decode(json.dumps(values).encode()) == replace(JOB, problems=())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"steps": 5}', b'{"steps": [{}]}', b"\xff"])
def test_what_is_no_job(data: bytes) -> None:
    with pytest.raises(BadJob, match="not a job"):
        Job.decode(data)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["steps", "root"]), inner),
    )
)
def test_any_json(value: object) -> None:
    with pytest.raises(BadJob):
        Job.decode(json.dumps(value).encode())
