"""Answering a spine by looking each question up in the primary key of the stored rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.database.side_by_side import Connection, read_side_by_side
from quant_mlops.features.answers import Answers
from quant_mlops.features.spine import Spine
from quant_mlops.features.vintage import Vintage
from quant_mlops.instants import from_microseconds

BATCH = 5_000


def answer_by_probes(
    database: Database,
    spine: Spine,
    bounds: Mapping[str, Any],
    answers: Answers,
    *,
    vintage: Vintage,
) -> None:
    """Find the answer to every question by a probe for each feature.

    Parameters
    ----------
    database : Database
    spine : Spine
    bounds : mapping
        `names, versions, knowledge_time`.
    answers : Answers
        Filled.
    vintage : {"as_known", "first", "latest"}
    """
    statement = query("select_first_prints" if vintage == "first" else "select_known_values")
    questions = list(spine.rows())
    names = bounds["names"]

    def read(connection: Connection) -> None:
        for start in range(0, len(questions), BATCH):
            entities, rows, times, oldest = zip(*questions[start : start + BATCH], strict=True)
            moments = [from_microseconds(time) for time in times]
            known_by = bounds["knowledge_time"]
            parameters = {
                **bounds,
                "entities": list(entities),
                "times": moments,
                "seen_by": [
                    known_by if vintage == "latest" else min(moment, known_by) for moment in moments
                ],
                "oldest": [from_microseconds(event) for event in oldest],
            }
            for question, feature, number, text in connection.execute(statement, parameters):
                row, name = rows[question], names[feature]
                if text is not None:
                    answers.give_documents(name, [row], [text])
                elif number is not None:
                    answers.give_numbers(name, np.array([row]), np.array([number]))

    read_side_by_side(database, [read])
