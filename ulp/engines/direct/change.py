# SPDX-License-Identifier: GPL-2.0-or-later
"""One change of one process, from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ulp.arch.x86_64_detour import inside
from ulp.engines import Consistency
from ulp.engines.attempt import Attempt, Busy
from ulp.engines.direct import commit, prepare, recover
from ulp.engines.direct import record as records
from ulp.engines.direct.commit import Transaction
from ulp.engines.direct.inject import PlaceTaken, map_block, unmap_block
from ulp.engines.direct.inside import ranges
from ulp.engines.direct.prepare import Prepared
from ulp.engines.direct.presence import lost
from ulp.engines.direct.record import Record, State
from ulp.engines.direct.suspended import SuspendedCalls
from ulp.engines.target import find_target
from ulp.memory import MemoryGone, Unwritable
from ulp.process import Loading, Object, Process
from ulp.result import BusyCall, Reason, Refusal, Result
from ulp.standstill.borrow import DirtyCave
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import Momentary, Pause, while_standing
from ulp.standstill.tracing import run_tracing
from ulp.tracee import Gone


class _Plan(NamedTuple):
    """All that is decided before the stop."""

    transaction: Transaction
    reverted: tuple[Record, ...]
    prepared: Prepared | None
    ranges: Ranges
    mapping_pause: float


class OneChange(Attempt):
    """A change of a process from outside; ``make`` makes it and never raises for what the process is or does."""

    engine = "direct"

    def _begin(self) -> None:
        self._refused_places: set[int] = set()
        self._mapped: Prepared | None = None
        self._target: Object | None = None

    def _give_up(self, process: Process) -> None:
        """Unmap what was mapped in vain. Where that fails too, a later command uses it: nothing leads to it."""
        prepared = self._mapped
        if prepared is not None and prepared.block is not None:
            block = prepared.block
            with suppress(Refusal, Momentary, DirtyCave, Gone, MemoryGone, Unwritable, OSError):
                run_tracing(
                    lambda: unmap_block(
                        process, block, prepared.objects, suspend_seccomp=self._settings.suspend_seccomp
                    )
                )

    def _once(self, process: Process) -> Result:
        found = records.read_all(process.memory, process.mappings)
        if recover.interrupted(found):
            recover.finish_all(process)
            found = records.read_all(process.memory, process.mappings)
        found = self._without_lost(process, found)
        active = [record for record in found if record.state is State.ACTIVE]
        self._target = None
        try:
            plan = self._plan(process, found, active)
        except Refusal as refusal:
            if self._is_unloaded(process):
                raise Loading from refusal  # unloaded meanwhile: what was read of it is not to be believed
            raise
        if isinstance(plan, Result):
            return plan
        pause, calls = self._commit(process, plan)
        return self._done(plan, pause, calls)

    def _is_unloaded(self, process: Process) -> bool:
        return self._target is not None and not self._target.is_mapped(process.memory)

    def _without_lost(self, process: Process, found: Sequence[Record]) -> tuple[Record, ...]:
        """Return the records with those inactive whose library the process has unloaded; so they are from now on."""
        active = [record for record in found if record.state is State.ACTIVE]
        unused = lost(process.memory, active, lambda: process.mappings)
        if not self._settings.dry_run:
            for record in unused:
                records.write_state(process.memory, record.address, State.INACTIVE)
        return tuple(
            record._replace(state=State.INACTIVE) if record in unused else record for record in found
        )

    def _plan(self, process: Process, found: Sequence[Record], active: Sequence[Record]) -> _Plan | Result:
        """Decide everything, map the container's memory and fill it; nothing leads to it yet."""
        container = self._change.apply
        if not process.is_64_bit():
            raise Refusal(Reason.OTHER_ARCHITECTURE, "the program is not for x86_64")
        linked = process.linked_objects()
        target = None
        if container is not None:
            target = find_target(process, container, linked)
            self._library = target.path
            self._target = target
        reverted = self._to_revert(active)
        if container is None:
            if not reverted:
                return self._result(Reason.NOT_APPLIED)
        elif any(r.description.patch_id == container.patch_id for r in active if r not in reverted) or (
            [r.description.patch_id for r in reverted] == [container.patch_id]
        ):
            return self._result(Reason.ALREADY_APPLIED)
        elif not container.units:
            if not reverted:
                return self._result(Reason.NOTHING_TO_CHANGE)
            container = None
        prepared = None
        pause = 0.0
        if container is not None and target is not None:
            prepared = prepare.prepare(
                process,
                container,
                target=target,
                linked=linked,
                active=active,
                reverted=reverted,
                spare=[
                    record
                    for record in found
                    if record.state in {State.PREPARED, State.INACTIVE}
                    and record.description.patch_id == container.patch_id
                ],
                refused_places=self._refused_places,
            )
        if self._settings.dry_run:
            self._check_order(process, active, reverted, prepared)
            return self._answer(Reason.WOULD_CHANGE, plan_of=(reverted, prepared))
        if prepared is not None:
            pause = self._fill(process, prepared, sequence=max((r.sequence for r in found), default=0) + 1)
        transaction = self._check_order(process, active, reverted, prepared)
        anchor_size = next((r.size for r in found if r.address == transaction.anchor), 0) or self._size_of(
            prepared
        )
        records.write_journal(process.memory, transaction.anchor, anchor_size, transaction.journal)
        commit.prepare_pages(process.memory, transaction)
        return _Plan(
            transaction=transaction,
            reverted=reverted,
            prepared=prepared,
            ranges=ranges(
                process, functions=prepared.functions if prepared is not None else (), reverted=reverted
            ),
            mapping_pause=pause,
        )

    @staticmethod
    def _size_of(prepared: Prepared | None) -> int:
        assert prepared is not None and prepared.block is not None
        return prepared.block.regions[0].size

    def _to_revert(self, active: Sequence[Record]) -> tuple[Record, ...]:
        change = self._change
        container = change.apply

        def wanted(record: Record) -> bool:
            description = record.description
            library = os.path.basename(description.library.removesuffix(" (deleted)"))
            return (
                description.patch_id in change.revert
                or (
                    change.revert_library != ""
                    and change.revert_library in {library, description.target_name}
                )
                or (
                    change.revert_target
                    and container is not None
                    and description.build_id == container.build_id
                )
            )

        return tuple(record for record in active if wanted(record))

    @staticmethod
    def _check_order(
        process: Process, active: Sequence[Record], reverted: Sequence[Record], prepared: Prepared | None
    ) -> Transaction:
        return commit.plan(
            process.memory,
            active=active,
            revert=reverted,
            apply=prepared.description.diversions if prepared is not None else (),
            # the journal goes where there is most room
            anchor=prepared.record
            if prepared is not None
            else max(reverted, key=lambda record: record.size).address,
            anchor_state=State.PREPARED,
        )

    def _fill(self, process: Process, prepared: Prepared, *, sequence: int) -> float:
        """Map the container where it is not there yet, and write its contents and its record."""
        pause = 0.0
        memory = process.memory
        if prepared.block is not None:
            block = prepared.block
            try:
                pause = run_tracing(
                    lambda: map_block(
                        process, block, prepared.objects, suspend_seccomp=self._settings.suspend_seccomp
                    )
                )
            except PlaceTaken:
                self._refused_places.add(prepared.record)
                raise
            self._mapped = prepared
        for address, data in prepared.contents:
            memory.write(address, data)
        records.write(memory, prepared.record, prepared.description, sequence=sequence)
        return pause

    def _commit(self, process: Process, plan: _Plan) -> tuple[Pause, tuple[BusyCall, ...]]:
        strict = self._settings.consistency is Consistency.STRICT
        watch = Watch(
            process,
            ranges=plan.ranges,
            inside=[
                address
                for write in plan.transaction.journal.writes
                for address in inside(write.entry, pad=write.pad)
            ],
        )

        suspended = SuspendedCalls(process, plan.ranges) if strict else None

        def act() -> None:
            if self._is_unloaded(process):
                raise Loading  # another build may lie in its place, with the same bytes where they change
            if suspended is not None:
                _refuse_calls(watch, suspended)
            commit.carry_out(process.memory, plan.transaction)

        pause = run_tracing(
            lambda: while_standing(
                process.pid, look=watch.look, act=act, suspend_seccomp=self._settings.suspend_seccomp
            )
        )
        return pause, watch.sorted_calls

    def _done(self, plan: _Plan, pause: Pause, calls: tuple[BusyCall, ...]) -> Result:
        if plan.prepared is None:
            reason = Reason.REVERTED
        else:
            reason = Reason.REPLACED if plan.reverted else Reason.APPLIED
        return self._answer(reason, plan_of=(plan.reverted, plan.prepared))._replace(
            pause=pause.whole + plan.mapping_pause,
            longest_pause=max(pause.running, plan.mapping_pause),
            threads=pause.threads,
            busy=calls,
        )

    def _answer(
        self,
        reason: Reason,
        *,
        plan_of: tuple[Sequence[Record], Prepared | None],
    ) -> Result:
        reverted, prepared = plan_of
        if prepared is not None:
            functions = tuple(function.name for function in prepared.functions)
        else:
            functions = tuple(item.name for record in reverted for item in record.description.diversions)
        return self._result(reason)._replace(
            library=self._library or (reverted[0].description.library if reverted else ""),
            reverted=tuple(os.path.basename(record.description.container) for record in reverted),
            functions=functions,
        )


def _refuse_calls(watch: Watch, suspended: SuspendedCalls) -> None:
    """Raise Busy when any stack holds a function that is to change."""
    if watch.calls:
        calls = watch.sorted_calls
        raise Busy(f"thread {calls[0].thread} is inside {calls[0].function}", calls)
    call = suspended.still_there(watch.stacks)
    if call is not None:
        function, address = call
        raise Busy(f"a stack that no thread is on (at {address:#x}) holds a call inside {function}")
