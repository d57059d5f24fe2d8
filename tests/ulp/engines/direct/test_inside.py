# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call can be in the middle of: all code of a live patch that is taken back, and none of its data."""

from __future__ import annotations

from tests.support.livepatches import SUCCESS, change, live_patch
from tests.support.targets import answers_library, caller, running
from ulp.engines.direct import record as records
from ulp.engines.direct.inside import ranges
from ulp.process import Process

SOURCE = """
static long data[600] = {1};
static __attribute__((noipa)) long helper(long n) { return data[n]; }
long new_0(void) { return helper(0) + 200; }
long new_1(void) { return data[1]++ + 201; }
"""


def test_the_code_of_a_live_patch_counts_and_its_data_do_not() -> None:
    container = live_patch(
        answers_library(), SOURCE, {"answer_0": "new_0", "answer_1": "new_1"}, name="inside1.so"
    )
    with running(caller(answers_library())) as target:
        assert change(target, container) == SUCCESS
        with Process(target.pid, images={}) as process:
            (record,) = records.read_all(process.memory, process.mappings)
            found = ranges(process, functions=(), reverted=[record])
            new = {item.name: item.new for item in record.description.diversions}
            (code,) = [m for m in process.mappings if m.start <= new["answer_0"] < m.end]
            # addresses of functions are pointers to them; all else is inside of one
            assert {code.start, code.end - 1} | set(new.values()) == {
                address
                for address in (code.start, code.end - 1, *new.values())
                if (found.name_at(address) is None) == (address in new.values())
            }
            assert found.name_at(new["answer_1"] + 1) == "answer_1"
            assert not any(found.name_at(a) for a in range(code.end, record.description.end, 8))
            assert not any(found.name_at(a) for a in range(record.address, code.start, 8))
