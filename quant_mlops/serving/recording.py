"""Storing single predictions: a prediction is a fact, and what was decided first stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database.queries import query
from quant_mlops.serving.prediction import Prediction

Connection = psycopg.Connection[TupleRow]


def record_predictions(
    connection: Connection, predictions: Sequence[Prediction], *, label: Callable[[UUID], str]
) -> list[Prediction]:
    """Store predictions of one decision time, and return what is on record for each name.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode: what is returned as stored is on disk.
    predictions : sequence of Prediction
        Of one strategy and one decision time by one model, each name once.
    label : callable
        Returns the name and version of a model that is on record.

    Returns
    -------
    list of Prediction
        In the same order. Where another signal or model is on record for the time, its signal,
        model and digest take the place of those computed, which go to `recomputed`.
    """
    complete = [p for p in predictions if not p.missing]
    stored: set[str] = set()
    if complete:
        rows = connection.execute(
            query("insert_predictions"),
            {
                "strategy_id": complete[0].strategy_id,
                "event_time": complete[0].as_of_time,
                "session": complete[0].session,
                "model_id": complete[0].model_id,
                "entities": [p.entity_key for p in complete],
                "signals": [p.signal for p in complete],
                "digests": [p.feature_digest for p in complete],
            },
            prepare=True,
        ).fetchall()
        stored = {entity for (entity,) in rows}
    others = [p.entity_key for p in predictions if p.entity_key not in stored]
    on_record = _on_record(connection, predictions[0], others) if others else {}
    return [
        replace(p, stored=True)
        if p.entity_key in stored
        else _settled(p, on_record.get(p.entity_key), label)
        for p in predictions
    ]


def _on_record(
    connection: Connection, like: Prediction, entities: list[str]
) -> dict[str, tuple[UUID, float, str]]:
    """Return what is stored; a statement of its own, to see what others stored meanwhile."""
    rows = connection.execute(
        query("select_predictions_on_record"),
        {
            "strategy_id": like.strategy_id,
            "entities": entities,
            "event_time": like.as_of_time,
        },
        prepare=True,
    ).fetchall()
    return {entity: (model_id, signal, digest) for entity, model_id, signal, digest in rows}


def _settled(
    made: Prediction, found: tuple[UUID, float, str] | None, label: Callable[[UUID], str]
) -> Prediction:
    if found is None or found == (made.model_id, made.signal, made.feature_digest):
        return made
    model_id, signal, digest = found
    return replace(
        made,
        signal=signal,
        model_id=model_id,
        model_label=label(model_id),
        feature_digest=digest,
        recomputed=made.computed,
    )
