"""Whether a spine is answered by probes or by a scan, and by how many readers.

A probe costs the same however long the history is; a scan costs what it reads, whatever is
asked. Measured on two cores: in a plain table of PostgreSQL 18 a probe costs 55 us, an event read
as part of an array 0.55 us, a scan's start 3 ms. In compressed chunks of TimescaleDB 2.28 a probe
unpacks a batch, 110 us, while a scan unpacks all of it anyway, 0.35 us an event, and its start is
that of a dozen chunks, 8 ms. What a scan would read, and of which kind, is the planner's own
estimate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.spine import Spine


@dataclass(frozen=True)
class Costs:
    """Seconds of a probe, of an event that is scanned, and of a scan's start."""

    probe: float
    event: float
    start: float


PLAIN = Costs(probe=55e-6, event=0.55e-6, start=3e-3)
COMPRESSED = Costs(probe=110e-6, event=0.35e-6, start=8e-3)
# What reads compressed chunks has had two names.
READS_COMPRESSED = {"ColumnarScan", "DecompressChunk"}
# Beyond these no estimate is worth its own cost: it would say the same.
MOST_PROBES = 50_000
FEWEST_PROBES = 50
# A further connection costs milliseconds, and the work of one core of the server.
READERS = 2
EVENTS_A_READER = 250_000


@dataclass(frozen=True)
class AccessPath:
    """How stored rows are reached: by probes, or by a scan with one or more readers."""

    probes: bool
    readers: int = 1


def choose_access_path(database: Database, spine: Spine, bounds: Mapping[str, Any]) -> AccessPath:
    """Return the cheaper way to answer a spine by the costs above.

    Parameters
    ----------
    database : Database
    spine : Spine
    bounds : mapping
        `names, first, last`.
    """
    probes = len(spine) * len(bounds["names"])
    if probes <= FEWEST_PROBES:
        return AccessPath(probes=True)
    row = database.fetch_one(
        query("estimate_feature_rows"), {**bounds, "entities": list(spine.questions)}
    )
    plan: Mapping[str, Any] = row[0][0]["Plan"] if row else {"Plan Rows": 0}
    events = float(plan["Plan Rows"])
    costs = COMPRESSED if _reads_compressed(plan) else PLAIN
    if probes <= MOST_PROBES and probes * costs.probe < costs.start + events * costs.event:
        return AccessPath(probes=True)
    worth = 1 + int(events // EVENTS_A_READER)
    readers = min(READERS, os.cpu_count() or 1, len(spine.questions), worth)
    return AccessPath(probes=False, readers=readers)


def _reads_compressed(plan: Mapping[str, Any]) -> bool:
    """Return whether any node of a plan does."""
    if plan.get("Custom Plan Provider") in READS_COMPRESSED:
        return True
    return any(map(_reads_compressed, plan.get("Plans", ())))
