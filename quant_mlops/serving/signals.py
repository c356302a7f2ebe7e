"""Stored predictions as a matrix of sessions by names."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from quant_mlops.database import Database
from quant_mlops.database.binary_copy import stream_arrays
from quant_mlops.database.queries import query

Sessions = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SignalMatrix:
    """Signals of consecutive sessions.

    Attributes
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
    entities : tuple of str, length N, sorted
    signals : ndarray of float64, shape (S, N)
        NaN where there is no prediction.
    model_ids : list of UUID or None, length S
        Model behind each session's predictions.
    """

    sessions: Sessions
    entities: tuple[str, ...]
    signals: Floats
    model_ids: list[UUID | None]

    def align(self, tickers: tuple[str, ...], values: Floats) -> Floats:
        """Return values by ticker in the order of the entities, NaN for one that is not there."""
        column = {ticker: i for i, ticker in enumerate(tickers)}
        places = np.array([column.get(entity, -1) for entity in self.entities], dtype=np.int64)
        there = places >= 0
        aligned = np.full((len(values), len(self.entities)), np.nan)
        aligned[:, there] = values[:, places[there]]
        return aligned


def read_signals(database: Database, strategy_id: str, sessions: Sessions) -> SignalMatrix | None:
    """Read the predictions of consecutive sessions; None if there are none at all."""
    parameters = {
        "strategy_id": strategy_id,
        "first": sessions[0].item(),
        "last": sessions[-1].item(),
    }
    with database.transaction() as connection:
        rows = list(stream_arrays(connection, query("select_signals"), parameters))
        models = connection.execute(query("select_predicting_models"), parameters).fetchall()
    if not rows:
        return None
    # The server's collation must not show in any result.
    rows.sort(key=lambda row: row[0])
    days = sessions.astype(np.int64)
    signals = np.full((len(sessions), len(rows)), np.nan)
    for column, (_, day, values) in enumerate(rows):
        signals[np.searchsorted(days, day), column] = values
    by_session = dict(models)
    return SignalMatrix(
        sessions=sessions,
        entities=tuple(row[0] for row in rows),
        signals=signals,
        model_ids=[by_session.get(day.item()) for day in sessions],
    )
