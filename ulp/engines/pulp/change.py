# SPDX-License-Identifier: GPL-2.0-or-later
"""One change of one process through its libpulp: a container is applied first, then older live patches come off.

In this order nothing has to be undone but the container: libpulp refuses only to apply.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from host import procfs
from ulp.arch import x86_64_pulp as arch
from ulp.container import Container
from ulp.engines import Consistency, EngineName
from ulp.engines.attempt import Attempt, Busy
from ulp.engines.pulp import abi, leftover, library, recover, state, wire
from ulp.engines.pulp.call import find_place
from ulp.engines.pulp.library import Libpulp
from ulp.engines.pulp.operation import Operation, Step
from ulp.engines.pulp.state import Patch
from ulp.engines.target import find_target, placed, size_of
from ulp.image import PAGE, Image
from ulp.memory import Unwritable
from ulp.process import Object, Process
from ulp.result import Reason, Refusal, Result
from ulp.standstill.busy import Watch
from ulp.standstill.ranges import Ranges
from ulp.standstill.stop import Momentary, Pause
from ulp.standstill.tracing import run_tracing

_MOST_FUNCTIONS: Final = 10_000  # whose writes leave room for the stack of a call in the queue's memory


class _Plan(NamedTuple):
    """All that is decided before the stop."""

    steps: tuple[Step, ...]
    reverted: tuple[Patch, ...]
    ranges: Ranges
    entries: frozenset[int]  # of the functions that change
    inside: tuple[int, ...]  # where no thread may go on


class PulpChange(Attempt):
    """A change of a process through libpulp; ``make`` makes it and never raises for what the process is or does."""

    engine = "pulp"

    def _begin(self) -> None:
        pass

    def _give_up(self, process: Process) -> None:
        pass

    def _once(self, process: Process) -> Result:
        try:
            libpulp = usable(process, self._images)
        except (Refusal, Momentary) as error:
            # what fails in a process is of no interest where it holds nothing of what is to be taken back
            if self._change.apply is None and error.reason in {Reason.LIBPULP, Reason.LOADING}:
                unusable = library.find(process.memory, process.mappings, self._images)
                if unusable and not any(map(self._is_to_revert, state.patches(process.memory, unusable))):
                    return self._result(Reason.NOT_APPLIED)
            raise
        objects = process.linked_objects()
        plan = self._plan(process, libpulp, objects)
        if isinstance(plan, Result):
            return plan
        watch = Watch(process, ranges=plan.ranges, inside=plan.inside)

        def refuse_calls() -> None:
            if self._settings.consistency is Consistency.STRICT and watch.calls:
                calls = watch.sorted_calls
                raise Busy(f"thread {calls[0].thread} is inside {calls[0].function}", calls)

        operation = Operation(
            process,
            libpulp,
            plan.steps,
            objects=objects,
            place=find_place(process, objects, libpulp.symbols[abi.INSTRUCTIONS]),
            entries=plan.entries,
            watch=watch,
            before=refuse_calls,
            suspend_seccomp=self._settings.suspend_seccomp,
        )
        pause = run_tracing(lambda: operation.run(deadline=self._deadline, cancelled=self._cancelled))
        return self._done(plan, pause, watch)

    def _plan(self, process: Process, libpulp: Libpulp, objects: Sequence[Object]) -> _Plan | Result:
        """Decide everything and refuse what cannot be done, while nothing has been touched."""
        container = self._change.apply
        patches = state.patches(process.memory, libpulp)
        target = None
        if container is not None:
            target = find_target(process, container, objects)
            self._library = target.path
        reverted = tuple(patch for patch in patches if self._is_to_revert(patch))
        steps = []
        functions: list[tuple[int, int, str]] = []
        if container is not None and target is not None:
            if any(patch.patch_id == container.patch_id for patch in patches):
                if not reverted:
                    return self._result(Reason.ALREADY_APPLIED)
            else:
                functions += _functions(process, container, target)
                _refuse_other_library(process, container, target, objects)
                _refuse_hidden(process, container, or_absent=self._settings.engine is not EngineName.PULP)
                undo = wire.to_revert(
                    patch_id=container.patch_id, container=container.path, library=container.target_name
                )
                steps.append(Step(wire.to_apply(container), undo, container.patch_id))
        elif not reverted:
            return self._result(Reason.NOT_APPLIED)
        for patch in reverted:
            metadata = wire.to_revert(
                patch_id=patch.patch_id, container=patch.container, library=patch.library
            )
            steps.append(Step(metadata, b"", patch.patch_id))
            functions += ((old, 0, "") for old, _ in patch.units)
        if self._settings.dry_run:
            return self._answer(Reason.WOULD_CHANGE, reverted)
        _prepare_pages(process, functions)
        return _Plan(
            steps=tuple(steps),
            reverted=reverted,
            # a word that is the function's address itself is a pointer to it, not a call inside of it
            ranges=Ranges((start + 1, max(size - 1, 0), name) for start, size, name in functions),
            entries=frozenset(start for start, _, _ in functions),
            inside=tuple(address for start, _, _ in functions for address in arch.inside(start)),
        )

    def _is_to_revert(self, patch: Patch) -> bool:
        change = self._change
        container = change.apply
        if container is not None and patch.patch_id == container.patch_id:
            return False
        library = os.path.basename(patch.library)
        return (
            patch.patch_id in change.revert
            or (change.revert_library != "" and change.revert_library == library)
            or (change.revert_target and container is not None and container.target_name == library)
        )

    def _done(self, plan: _Plan, pause: Pause, watch: Watch) -> Result:
        if self._change.apply is None:
            reason = Reason.REVERTED
        else:
            reason = Reason.REPLACED if plan.reverted else Reason.APPLIED
        return self._answer(reason, plan.reverted)._replace(
            pause=pause.whole,
            longest_pause=pause.whole,  # of the thread that calls
            threads=pause.threads,
            busy=watch.sorted_calls,
        )

    def _answer(self, reason: Reason, reverted: Sequence[Patch]) -> Result:
        container = self._change.apply
        return self._result(reason)._replace(
            library=self._library or (reverted[0].library if reverted else ""),
            reverted=tuple(os.path.basename(patch.container) for patch in reverted),
            functions=tuple(unit.old_name for unit in container.units) if container is not None else (),
        )


def usable(process: Process, images: dict[bytes, Image]) -> Libpulp:
    """Return the libpulp of a process that takes live patches, with what a killed tool has left in it finished.

    Raises Refusal and Momentary.
    """
    libpulp = library.find(process.memory, process.mappings, images)
    if libpulp is None:
        raise Refusal(Reason.NO_LIBPULP)
    if not libpulp.loaded:
        raise Momentary(Reason.LOADING, "its libpulp is not set up yet")
    if abi.INSTRUCTIONS not in libpulp.symbols or abi.ERROR_STATE not in libpulp.symbols:
        raise Refusal(Reason.LIBPULP, f"its libpulp {libpulp.version or '(no version)'} is too old for ulp")
    if leftover.is_there(process.memory, libpulp):
        recover.finish(process, libpulp)
        libpulp = libpulp._replace(error_state=0)
    if libpulp.error_state == abi.DISABLED_BY_USER:
        raise Refusal(Reason.DISABLED)
    if libpulp.error_state:
        raise Refusal(Reason.LIBPULP, f"its libpulp has failed: {abi.sentence(libpulp.error_state)}")
    return libpulp


def _functions(process: Process, container: Container, target: Object) -> list[tuple[int, int, str]]:
    """Return (address, size, name) of the functions that are replaced; raises Refusal."""
    found = []
    for unit in (placed(unit, target) for unit in container.units):
        address = target.bias + unit.old_address
        if not arch.is_patchable(process.memory.read(address, 6)):
            raise Refusal(
                Reason.FUNCTION_NOT_PATCHABLE,
                f"{unit.old_name} has no room for libpulp's jump (-fpatchable-function-entry=16,14)",
            )
        found.append((address, size_of(unit, target), unit.old_name))
    if len(found) > _MOST_FUNCTIONS:
        raise Refusal(Reason.UNSUPPORTED_CONTAINER, f"it replaces more than {_MOST_FUNCTIONS} functions")
    return found


def _refuse_other_library(
    process: Process, container: Container, target: Object, objects: Sequence[Object]
) -> None:
    """Raise Refusal when libpulp would take another object for the target.

    It takes the first in the dynamic linker's list whose name contains the target's, and the program when the target's
    name is the program's; it compares no build-id (dl_find_symbol() in libpulp's lib/symbol_loader.c).
    """
    names = [_linked_name(process, item) for item in objects]
    first_word = procfs.read(f"/proc/{process.pid}/task/{process.tid}/cmdline").partition(b"\0")[0]
    program = os.path.basename(os.fsdecode(first_word))
    wanted = "" if container.target_name == program else container.target_name
    chosen = next((item for item, name in zip(objects, names, strict=True) if wanted in name), None)
    if chosen is None or chosen.bias != target.bias:
        other = chosen.path if chosen is not None else "nothing"
        raise Refusal(
            Reason.LIBPULP, f"libpulp would take {other} for {container.target_name}, not {target.path}"
        )


def _linked_name(process: Process, item: Object) -> str:
    """Return the name by which the dynamic linker knows an object (l_name of its struct link_map)."""
    return os.fsdecode(process.memory.string(item.linked_name)) if item.linked_name else ""


def _refuse_hidden(process: Process, container: Container, *, or_absent: bool) -> None:
    """Raise Refusal when the process would find another file than the container's under its path.

    ``or_absent``: or none. libpulp fails cleanly then, but leaves a message in the process.
    """
    path = f"/proc/{process.pid}/root{container.path}"
    try:
        with open(path, "rb") as file:
            same = file.read(len(container.image) + 1) == container.image
    except OSError as error:
        if not or_absent:
            return
        raise Refusal(
            Reason.NOT_VISIBLE, f"the process does not see {container.path} ({error.strerror})"
        ) from error
    if not same:
        raise Refusal(Reason.NOT_VISIBLE, f"the process sees another file at {container.path}")


def _prepare_pages(process: Process, functions: Sequence[tuple[int, int, str]]) -> None:
    """Write what is at the entries once more, while the process runs: the kernel copies the pages, or refuses.

    Raises Refusal (memory-sealed).
    """
    entries = (range(address - arch.PAD, address - arch.PAD + arch.LONGEST) for address, _, _ in functions)
    in_pages = {at // PAGE: entry for entry in entries for at in (entry[0], entry[-1])}
    try:
        for entry in set(in_pages.values()):  # one of each page
            process.memory.write(entry.start, process.memory.read(entry.start, len(entry)))
    except Unwritable as error:
        raise Refusal(
            Reason.MEMORY_SEALED, f"the kernel refuses to write into the process's code ({error})"
        ) from error
