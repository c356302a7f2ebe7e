"""Joining features to a spine of entities and times: what was known of each at each of them.

Two ways give the same answers. Probes look each question up in the primary key; a scan reads
every series that is asked for once, as arrays, and answers all its questions by binary search.
`access_path` says which one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.errors import FeatureStoreError
from quant_mlops.features.access_path import AccessPath, choose_access_path
from quant_mlops.features.age_limit import EARLIEST
from quant_mlops.features.answers import Answers
from quant_mlops.features.probe import answer_by_probes
from quant_mlops.features.scan import answer_by_scan
from quant_mlops.features.spine import Spine
from quant_mlops.features.vintage import Vintage, require_vintage
from quant_mlops.instants import from_microseconds


def point_in_time_table(
    database: Database,
    spine: Spine,
    features: Mapping[str, int],
    *,
    knowledge_time: datetime,
    vintage: Vintage = "as_known",
    since: datetime | None = None,
    numbers_only: bool = False,
    access_path: AccessPath | None = None,
) -> pa.Table:
    """Return the spine's table with a column for each feature as it was known at each row's time.

    Parameters
    ----------
    database : Database
    spine : Spine
    features : mapping of str to int
        Version of each feature, in the order of the columns.
    knowledge_time : datetime
        Aware; rows with a later ingest time are treated as not written.
    vintage : {"as_known", "first", "latest"}
    since : datetime, optional
        Aware; an event time before which no answer lies, as the caller knows. A scan begins
        there, and one that is too late loses answers.
    numbers_only : bool
        Whether a JSON document counts as missing.
    access_path : AccessPath, optional
        How to read; by default what the cost rule says.

    Returns
    -------
    pyarrow.Table
        Columns of doubles, null where nothing was known or the value is known to be missing.
        A feature with a JSON document among its answers is a column of JSON text instead.

    Raises
    ------
    FeatureStoreError
        A column of the spine is named like a feature, or there is no such vintage.
    """
    require_vintage(vintage)
    taken = [name for name in features if name in spine.table.column_names]
    if taken:
        raise FeatureStoreError(
            f"the spine has a column named like the feature {', '.join(taken)}; rename or drop it"
        )
    answers = Answers(len(spine), features)
    if len(spine) and features:
        first = from_microseconds(EARLIEST if spine.first_event is None else spine.first_event)
        bounds = {
            "names": list(features),
            "versions": list(features.values()),
            "first": first if since is None else max(first, since),
            "last": from_microseconds(spine.last_time),
            "knowledge_time": knowledge_time,
        }
        path = access_path or choose_access_path(database, spine, bounds)
        if path.probes:
            answer_by_probes(database, spine, bounds, answers, vintage=vintage)
        else:
            answer_by_scan(database, spine, bounds, answers, vintage=vintage, readers=path.readers)
    table = spine.table
    for name, column in answers.columns(numbers_only=numbers_only):
        table = table.append_column(name, column)
    return table
