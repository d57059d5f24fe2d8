# SPDX-License-Identifier: GPL-2.0-or-later
"""An overview for Prometheus: text that node_exporter's textfile collector reads.

Format: prometheus.io/docs/instrumenting/exposition_formats, text-based format 0.0.4.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from zypp_plugin.overview import Overview, Standing

_Sample = tuple[dict[str, str], float]


def text(overview: Overview, *, now: float) -> str:
    """Return the metrics; ``now`` is in seconds since the epoch."""
    return "".join(f"{line}\n" for line in _lines(overview, now))


def _lines(overview: Overview, now: float) -> Iterator[str]:
    processes = overview.processes
    yield from _metric(
        "status",
        "Whether the machine is covered by live patches: one of these is 1.",
        [({"status": each.value}, float(each is overview.standing)) for each in Standing],
    )
    yield from _metric(
        "processes",
        "Processes that use a library with a live patch; unseen ones may.",
        [
            ({"state": name}, getattr(processes, name))
            for name in ("covered", "patchable", "stuck", "unseen")
        ],
    )
    yield from _metric(
        "kernel_patch",
        "Live patches of the running kernel.",
        [({"patch": name, "state": state}, 1.0) for name, state in overview.kernel],
    )
    yield from _metric(
        "supported_until_timestamp_seconds",
        "First day on which a live patch package is not maintained any more.",
        [
            ({"package": each.package, "version": each.evr}, _seconds(each.until))
            for each in overview.supports
            if each.until
        ],
    )
    yield from _metric(
        "updates",
        "Live patch packages with an available update.",
        [({}, float(sum(bool(each.update) for each in overview.supports)))],
    )
    yield from _metric("reboot_needed", "Whether a reboot is asked for.", [({}, float(overview.reboot))])
    yield from _metric(
        "watcher_running", "Whether processes that start later are patched.", [({}, float(overview.watcher))]
    )
    yield from _metric("checked_timestamp_seconds", "When this was found out.", [({}, now)])


def _metric(name: str, help_text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    name = f"zypp_livepatch_{name}"
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels.items())
        yield f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"


def _escaped(word: str) -> str:
    clean = word.encode("utf-8", "backslashreplace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(day: datetime.date) -> float:
    return float((day - datetime.date(1970, 1, 1)).days * 86400)
