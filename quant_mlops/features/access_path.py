"""Whether a spine is answered by probes or by a scan, and by how many readers.

A probe costs the same however long the history is; a scan costs what it reads, whatever is
asked. Measured on plain PostgreSQL 18 and two cores: a probe 55 us, an event read as part of an
array 0.55 us, a scan's start 3 ms. The rows that a scan would read are the planner's own estimate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.spine import Spine

PROBE_SECONDS = 55e-6
EVENT_SECONDS = 0.55e-6
SCAN_SECONDS = 3e-3
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
    events = float(row[0][0]["Plan"]["Plan Rows"]) if row else 0.0
    if probes <= MOST_PROBES and probes * PROBE_SECONDS < SCAN_SECONDS + events * EVENT_SECONDS:
        return AccessPath(probes=True)
    worth = 1 + int(events // EVENTS_A_READER)
    readers = min(READERS, os.cpu_count() or 1, len(spine.questions), worth)
    return AccessPath(probes=False, readers=readers)
