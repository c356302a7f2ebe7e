"""How many models were tried for a strategy, and what is left of a Sharpe ratio after so many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database.queries import query
from quant_mlops.errors import ModelNotFoundError, RegistryError
from quant_mlops.statistics import expected_maximum_sharpe, probabilistic_sharpe_from_moments
from quant_mlops.statistics.sharpe import SESSIONS_PER_YEAR

NEEDED = ("sharpe_ratio", "sharpe_skewness", "sharpe_kurtosis", "sessions")


@dataclass(frozen=True)
class TrialSummary:
    """The backtests that a strategy's models were chosen from.

    Attributes
    ----------
    trials : int
        Models of the strategy type that came of a completed training run and whose newest
        backtest has a Sharpe ratio. They are taken to be independent; models that resemble each
        other are fewer trials than that, so that the deflated ratio errs on the strict side.
    sharpe_variance : float
        Variance (n - 1) of their annualised Sharpe ratios, the unit that
        `deflated_sharpe_ratio` takes; NaN with fewer than two.
    """

    trials: int
    sharpe_variance: float


@dataclass(frozen=True)
class DeflatedSharpe:
    """A model's deflated Sharpe ratio and the trials it is deflated by; NaN if undefined."""

    deflated_sharpe: float
    trials: TrialSummary

    def metrics(self) -> dict[str, float]:
        """Return the values to log for the model, with dataset type backtest."""
        return {"deflated_sharpe": self.deflated_sharpe, "trials": float(self.trials.trials)}


def count_trials(
    connection: psycopg.Connection[TupleRow],
    strategy_type: str,
    *,
    including: UUID | None = None,
) -> TrialSummary:
    """Count the trials of a strategy type from the registry itself.

    Parameters
    ----------
    connection : psycopg.Connection
        Within a transaction no other registration of the type is counted or made until its end,
        so that of two models registered at once the second counts the first.
    strategy_type : str
    including : UUID, optional
        A model that counts though no training run made it, since it is the one in question.
    """
    connection.execute(query("lock_trials"), [strategy_type])
    parameters = {"strategy_type": strategy_type, "model_id": including}
    row = connection.execute(query("select_trials"), parameters).fetchone()
    assert row is not None
    return TrialSummary(int(row[0]), math.nan if row[1] is None else float(row[1]))


def deflated_sharpe(connection: psycopg.Connection[TupleRow], model_id: UUID) -> DeflatedSharpe:
    """Deflate a model's backtested Sharpe ratio by the trials there are by now.

    It is computed from what was logged with the backtest (`sharpe_ratio`, `sharpe_skewness`,
    `sharpe_kurtosis`, `sessions`), the model itself counting as a trial. What was logged when it
    was registered knew the trials of that time; every later one lowers the ratio. Log the result
    with `metrics()` to keep it.

    Parameters
    ----------
    connection : psycopg.Connection
    model_id : UUID

    Returns
    -------
    DeflatedSharpe
        Between 0 and 1. With one trial it is the probabilistic Sharpe ratio. NaN where the
        backtest has no Sharpe ratio or lacks one of those metrics.

    Raises
    ------
    ModelNotFoundError
    RegistryError
        The model has no strategy type, so that nobody knows what it was tried against.

    Notes
    -----
    Bailey and Lopez de Prado (2014), Journal of Portfolio Management 40(5), 94-107.
    """
    found = connection.execute(
        "SELECT name, version, strategy_type FROM models WHERE model_id = %s", [model_id]
    ).fetchone()
    if found is None:
        raise ModelNotFoundError(f"there is no model with id {model_id}")
    name, version, strategy_type = found
    if strategy_type is None:
        raise RegistryError(
            f"{name} v{version} has no strategy_type, so its trials cannot be counted; register "
            f"models with one"
        )
    summary = count_trials(connection, strategy_type, including=model_id)
    rows = connection.execute(query("select_metrics_of_models"), [[model_id]]).fetchall()
    stored = {metric: value for _, metric, dataset, value in rows if dataset == "backtest"}
    if any(stored.get(metric) is None for metric in NEEDED):
        return DeflatedSharpe(math.nan, summary)
    sharpe, skewness, kurtosis, sessions = (float(stored[metric]) for metric in NEEDED)
    # The law of the moments is stated for ratios of one session.
    scale = math.sqrt(SESSIONS_PER_YEAR)
    probability = probabilistic_sharpe_from_moments(
        sharpe / scale,
        benchmark=expected_maximum_sharpe(summary.trials, summary.sharpe_variance) / scale,
        observations=int(sessions),
        skewness=skewness,
        kurtosis=kurtosis,
    )
    return DeflatedSharpe(probability, summary)
