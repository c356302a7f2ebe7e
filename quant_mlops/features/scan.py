"""Answering a spine by reading each series once: collapse it, then look all its times up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query
from quant_mlops.database.side_by_side import Connection, read_side_by_side
from quant_mlops.features.answers import Answers
from quant_mlops.features.spine import Spine
from quant_mlops.features.vintage import Vintage, series_of_vintage


def answer_by_scan(
    database: Database,
    spine: Spine,
    bounds: Mapping[str, Any],
    answers: Answers,
    *,
    vintage: Vintage,
    readers: int = 1,
) -> None:
    """Find the answer to every question by one pass over the series of the spine's entities.

    Memory is that of the answers and, for each reader, of one series.

    Parameters
    ----------
    database : Database
    spine : Spine
    bounds : mapping
        What is pushed down into the query: `names, versions, first, last, knowledge_time`.
    answers : Answers
        Filled; two readers never write the same row.
    vintage : {"as_known", "first", "latest"}
    readers : int
        Connections that read at once, each a share of the entities.
    """
    entities = list(spine.questions)

    def share(part: Sequence[str]) -> Any:
        return lambda connection: _read(connection, part, spine, bounds, answers, vintage)

    read_side_by_side(
        database,
        [share(entities[nth::readers]) for nth in range(readers) if entities[nth::readers]],
    )


def _read(
    connection: Connection,
    entities: Sequence[str],
    spine: Spine,
    bounds: Mapping[str, Any],
    answers: Answers,
    vintage: Vintage,
) -> None:
    parameters = {**bounds, "entities": list(entities)}
    holds_documents: list[tuple[str, str]] = []
    for entity, name, event, ingest, numbers, documents in stream_arrays(
        connection, query("select_feature_series"), parameters
    ):
        if documents:
            holds_documents.append((entity, name))
            continue
        asked = spine.questions[entity]
        found = series_of_vintage(event, ingest, vintage).at(asked.times, oldest=asked.oldest)
        answers.give_numbers(name, asked.rows, np.append(numbers, np.nan)[found])
    for entity, name, event, ingest, numbers, texts in _document_series(
        connection, holds_documents, parameters
    ):
        asked = spine.questions[entity]
        found = series_of_vintage(event, ingest, vintage).at(asked.times, oldest=asked.oldest)
        answers.give_numbers(name, asked.rows, np.append(numbers, np.nan)[found])
        documents = [*texts, None]
        answers.give_documents(name, asked.rows.tolist(), [documents[place] for place in found])


def _document_series(
    connection: Connection, series: Sequence[tuple[str, str]], parameters: Mapping[str, Any]
) -> Iterator[tuple[Any, ...]]:
    if not series:
        return
    version = dict(zip(parameters["names"], parameters["versions"], strict=True))
    yield from stream_arrays(
        connection,
        query("select_document_series"),
        {
            **parameters,
            "entities": [entity for entity, _ in series],
            "names": [name for _, name in series],
            "versions": [version[name] for _, name in series],
        },
    )
